package folder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/sandbox"
)

// A bind leads where its links lead; what a runner could not read, or must not see, is refused with what to do.
//
// Proves: SB-3, SB-8
func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(os.Mkdir(at("open"), 0o755), os.Mkdir(at("closed"), 0o700), os.WriteFile(at("file"), nil, 0o644), os.Chmod(at("file"), 0o600),
		os.Symlink("open", at("link")), syscall.Mkfifo(at("pipe"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok, err := Resolve(sandbox.Bind{Source: at("link"), Target: "/x"}, true); err != nil || !ok || got != (Bound{Target: "/x", Source: at("open"), Dir: true}) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if got, ok, err := Resolve(sandbox.Bind{Source: at("file")}, false); err != nil || !ok || got != (Bound{Target: at("file"), Source: at("file")}) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if got, ok, err := Resolve(sandbox.Bind{Source: at("none"), Optional: true}, true); err != nil || ok {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	for source, says := range map[string]string{at("none"): "name an existing file", "/": "host's root", at("pipe"): "bind files and folders only",
		at("closed"): "chmod -R o+rX", at("file"): "chmod -R o+rX"} {
		_, ok, err := Resolve(sandbox.Bind{Source: source, Target: "/x"}, true)
		var refused *sandbox.Error
		if ok || !errors.As(err, &refused) || refused.Reason != sandbox.ReasonSpec || refused.Remedy == "" || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", source, err)
		}
	}
}
