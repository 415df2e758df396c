package thread

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// owned closes the process sandbox with the shared one on it.
type owned struct {
	*Sandbox
	process *process.Sandbox
}

func (o owned) Close() error { return errors.Join(o.Sandbox.Close(), o.process.Close()) }

// interpreter is one that has the SDK.
func interpreter(t *testing.T) python.Runtime {
	t.Helper()
	name := os.Getenv("MSUP_PYTHON")
	if name == "" {
		var err error
		if name, err = filepath.Abs("../../.venv/bin/python3"); err != nil {
			t.Fatal(err)
		}
	}
	rt, err := python.Discover(t.Context(), name)
	if err != nil {
		t.Fatalf("%v (make setup makes .venv; MSUP_PYTHON names another interpreter that has the SDK)", err)
	}
	return rt
}

func open(dir, parent string, change func(*Config)) (sandbox.Sandbox, error) {
	p, err := process.New(process.Config{RuntimeDir: dir, CgroupParent: parent})
	if err != nil {
		return nil, err
	}
	cfg := Config{Process: p}
	change(&cfg)
	box, err := Open(cfg)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return owned{box, p}, nil
}

// A process may have no more than one of its instances, so that the suite meets the ceilings that it asks for.
func strict(cfg *Config) {
	cfg.Ceiling = sandbox.Limits{MemoryBytes: 1, CPUQuota: 0.01, PIDs: 1, OpenFiles: 1, TmpBytes: 1, TmpInodes: 1}
}

// conformance runs the suite against threads of one interpreter.
func conformance(t *testing.T, rt python.Runtime) {
	t.Helper()
	parent := sandboxtest.CgroupParent(t)
	sandboxtest.Run(t, sandboxtest.Config{
		Shared: true, DiesWithSupervisor: true,
		Open:    func(dir string) (sandbox.Sandbox, error) { return open(dir, parent, strict) },
		Program: sandboxtest.SharedProgram(t, rt), Leftovers: sandboxtest.Leftovers(parent),
	})
}

// Proves: SB-L0, NN-2, SB-1, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) { conformance(t, interpreter(t)) }

// The same suite without root: control groups are missing then, and rlimits stand in. Nobody has a copy of the SDK, since the repository may
// lie below a closed home.
//
// Proves: SB-L0, SB-2, SB-3
func TestConformanceUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		dir := copySDK(t)
		sandboxtest.AsNobody(t, sdkEnv+"="+dir, "MSUP_PYTHON="+anybodys(t, dir))
		return
	}
	rt := interpreter(t)
	if dir := os.Getenv(sdkEnv); dir != "" {
		rt.Binds = append(rt.Binds, sandbox.Bind{Source: dir, Target: "/sdk"})
		rt.Env = append(rt.Env, "PYTHONPATH=/sdk")
	}
	conformance(t, rt)
}

// sdkEnv tells nobody where the copy of the SDK is.
const sdkEnv = "MSUP_TEST_SDK"

// copySDK copies the SDK, and the one library that it needs, to where everybody may read them.
func copySDK(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(interpreter(t).Interpreter, "-c", `import os, msup, msgspec; print(os.path.dirname(msup.__file__), os.path.dirname(msgspec.__file__), sep="\n")`).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tsdk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	err = os.Chmod(dir, 0o755)
	for source := range strings.Lines(string(out)) {
		source = strings.TrimSpace(source)
		err = errors.Join(err, sandboxtest.CopySources(filepath.Join(dir, filepath.Base(source)), source))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// anybodys is an interpreter that nobody may run, and that takes the SDK's library: the system's, or the one behind the virtual environment.
func anybodys(t *testing.T, sdk string) string {
	t.Helper()
	behind, err := filepath.EvalSymlinks(interpreter(t).Interpreter)
	if err != nil {
		t.Fatal(err)
	}
	var tried []string
	for _, name := range []string{"/usr/bin/python3", behind} {
		cmd := exec.Command(name, "-c", "import msup.shared")
		cmd.Env, cmd.Dir = []string{"PYTHONPATH=" + sdk}, "/"
		cmd.SysProcAttr = sandboxtest.Nobody()
		out, err := cmd.CombinedOutput()
		if err == nil {
			return name
		}
		tried = append(tried, fmt.Sprintf("%s: %v\n%s", name, err, out))
	}
	t.Fatalf("no interpreter of this host runs the SDK as nobody: install python3 in /usr/bin in the version that .venv has\n%s", strings.Join(tried, "\n"))
	return ""
}
