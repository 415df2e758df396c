package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/msup/msup/sandbox"
)

// Bound is a bind that was looked at: where it leads on the host, and what is there.
type Bound struct {
	Target, Source string // Source has no links in it
	Dir            bool
}

// Resolve looks at a bind (SB-3). foreign says that the runner has a user id of its own: what that cannot read is refused here, where the
// cause can still be told. It returns false for an optional one that is not there.
func Resolve(b sandbox.Bind, foreign bool) (Bound, bool, error) {
	if b.Target == "" {
		b.Target = filepath.Clean(b.Source)
	}
	fail := func(err error, remedy string) (Bound, bool, error) {
		return Bound{}, false, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "bind " + b.Source + " on " + b.Target, Err: err, Remedy: remedy}
	}
	source, err := filepath.EvalSymlinks(b.Source)
	if errors.Is(err, fs.ErrNotExist) && b.Optional {
		return Bound{}, false, nil
	}
	if err != nil {
		return fail(err, "name an existing file or folder")
	}
	st, err := os.Stat(source)
	if err != nil {
		return fail(err, "name an existing file or folder")
	}
	need := os.FileMode(0o004)
	if st.IsDir() {
		need = 0o005
	}
	switch {
	case source == "/":
		return fail(errors.New("this is the host's root"), "bind only what the runner needs")
	case !st.IsDir() && !st.Mode().IsRegular():
		return fail(fmt.Errorf("it is a %s", st.Mode().Type()), "bind files and folders only")
	case foreign && st.Mode().Perm()&need != need:
		return fail(fmt.Errorf("mode %v is not readable for the runner's own user id", st.Mode().Perm()),
			"make it and all below world-readable: chmod -R o+rX "+source)
	}
	return Bound{Target: b.Target, Source: source, Dir: st.IsDir()}, true, nil
}
