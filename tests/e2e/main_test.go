package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/msup/msup/sandbox/image"
)

// built is what all stories share.
var built struct {
	root   string // of the repository
	msup   string // the program
	python string // the interpreter with the SDK
	store  string // of packages; content-addressed, so that stories cannot disturb each other through it
	races  string // where every process writes the data races that it finds
}

func TestMain(m *testing.M) {
	code, err := prepareAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func prepareAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for the program: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // one story runs the program as nobody
		return 1, fmt.Errorf("opening the program's folder: %w", err)
	}
	if err := build(dir); err != nil {
		return 1, err
	}
	before := groups()
	code = m.Run()
	for group := range groups() {
		if !before[group] && abandoned(group) {
			err = errors.Join(err, fmt.Errorf("left behind: control group %s", group))
		}
	}
	reports, globErr := filepath.Glob(built.races + ".*")
	for _, report := range reports {
		text, readErr := os.ReadFile(report)
		err = errors.Join(err, readErr, fmt.Errorf("a data race:\n%s", text))
	}
	return code, errors.Join(err, globErr)
}

func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	built.root, built.msup = root, filepath.Join(dir, "msup")
	built.store, built.races = filepath.Join(dir, "store"), filepath.Join(dir, "race")
	if built.python = os.Getenv("MSUP_PYTHON"); built.python == "" {
		built.python = filepath.Join(root, ".venv", "bin", "python3")
	}
	if _, err := os.Stat(built.python); err != nil {
		return fmt.Errorf("%w (make setup makes .venv; MSUP_PYTHON names another interpreter that has the SDK)", err)
	}
	args := []string{"build", "-o", built.msup}
	if raceDetector {
		args = append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", append(args, "./cmd/msup")...)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}

// groups are the control groups of runners under msup's own top group, in every hierarchy.
func groups() map[string]bool {
	found := map[string]bool{}
	for _, pattern := range []string{"/sys/fs/cgroup/msup/*/r*", "/sys/fs/cgroup/*/msup/*/r*", "/sys/fs/cgroup/*/msup-r*", "/sys/fs/cgroup/*/msup-compute/r*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // the patterns stand above
		}
		for _, path := range paths {
			found[path] = true
		}
	}
	return found
}

// abandoned reports whether a group has no record any more: nobody would ever remove it.
func abandoned(group string) bool {
	_, err := os.Stat(filepath.Join(runtimeDir(""), filepath.Base(group)+".json"))
	return errors.Is(err, os.ErrNotExist)
}

// runtimeDir is where the program keeps the records of its runners.
func runtimeDir(xdg string) string {
	if os.Geteuid() == 0 {
		return "/run/msup"
	}
	return filepath.Join(xdg, "msup")
}

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: commands, Setup: setup, RequireUniqueNames: true})
}

// setup gives a script its environment: nothing of the caller's own reaches the program but PATH.
func setup(env *testscript.Env) error {
	runtime := filepath.Join(env.WorkDir, ".run")
	for _, dir := range []string{runtime, filepath.Join(env.WorkDir, ".tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// The supervisor gives up root: what it goes on with has to be within its reach, as /tmp and most state directories are.
	if err := errors.Join(os.Chmod(filepath.Dir(env.WorkDir), 0o711), os.Chmod(env.WorkDir, 0o755), os.Chmod(filepath.Join(env.WorkDir, ".tmp"), os.ModeSticky|0o777)); err != nil {
		return err
	}
	env.Setenv("ROOT", built.root)
	env.Setenv("MSUP", built.msup)
	env.Setenv("MSUP_PYTHON", built.python)
	env.Setenv("MSUP_STORE", built.store)
	env.Setenv("XDG_RUNTIME_DIR", runtime)
	env.Setenv("MSUP_ISOLATION", "L1")        // what most stories tell does not depend on the walls; those that do say --isolation
	env.Setenv("MSUP_PRIVILEGES", "separate") // no story is told by a supervisor that quietly keeps root
	env.Setenv("MSUP_IMAGES", image.DefaultDir())
	for name, folder := range map[string]string{"RUSTUP_HOME": ".rustup", "CARGO_HOME": ".cargo", "MSUP_TOOLCHAINS": ".cache/msup/toolchain"} {
		place := os.Getenv(name)
		if home, err := os.UserHomeDir(); place == "" && err == nil {
			place = filepath.Join(home, folder)
		}
		env.Setenv(name, place) // compilers are the machine's, whatever HOME a story has
	}
	env.Setenv("MSUP_WASM_RUST", os.Getenv("MSUP_WASM_RUST"))
	env.Setenv("MSUP_LEASE_DIR", filepath.Join(env.WorkDir, ".leases")) // stories run at once, with the same ids
	// Without it every process with the race detector sleeps for a second when it ends.
	env.Setenv("GORACE", "atexit_sleep_ms=0 log_path="+built.races)
	env.Values[programsKey{}] = &programs{byName: map[string]*program{}}
	env.Defer(func() { env.Values[programsKey{}].(*programs).killAll() })
	return nil
}
