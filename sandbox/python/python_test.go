package python

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
)

// Proves: NN-1, NN-7
func TestDiscoverBindsWhatTheInterpreterNeeds(t *testing.T) {
	rt, err := Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(rt.Interpreter, "-I", "-c", "import os, json; print(os.path.realpath(json.__file__))").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{rt.Interpreter, strings.TrimSpace(string(out)), "/usr/lib"} {
		if !covered(rt.Binds, path) {
			t.Errorf("%s is not bound: %+v", path, rt.Binds)
		}
	}
	for _, want := range []string{"PYTHONHASHSEED=0", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1"} {
		if !slices.Contains(rt.Env, want) {
			t.Errorf("environment lacks %s", want)
		}
	}
	if argv := rt.Argv("-m", "x"); slices.Contains(argv, "-I") || slices.Contains(argv, "-E") {
		t.Errorf("%v makes Python ignore PYTHONHASHSEED", argv)
	}
}

// Two starts hash alike, with the environment and the arguments that runners get.
//
// Proves: NN-7
func TestHashesAreTheSameAtEveryStart(t *testing.T) {
	rt, err := Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for range 2 {
		argv := rt.Argv("-c", "print(hash('msup'), list({'a', 'b', 'c', 'd'}))")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = rt.Env
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, string(out))
	}
	if seen[0] != seen[1] {
		t.Errorf("%q and %q", seen[0], seen[1])
	}
}

// Proves: NN-1
func TestDiscoverVirtualEnvironment(t *testing.T) {
	base, err := Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	venv := filepath.Join(t.TempDir(), "venv")
	if out, err := exec.Command(base.Interpreter, "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rt, err := Discover(t.Context(), filepath.Join(venv, "bin", "python3"))
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(base.Interpreter) // python3 may itself be a virtual environment's
	if err != nil {
		t.Fatal(err)
	}
	if rt.Prefix != venv || !covered(rt.Binds, venv) || !covered(rt.Binds, real) || rt.Interpreter != filepath.Join(venv, "bin", "python3") {
		t.Errorf("runtime %+v", rt)
	}
}

// Proves: NN-1
func TestDiscoverRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, interpreter := range map[string]string{
		"missing":  filepath.Join(dir, "none"),
		"a shim":   write("shim", "#!/bin/sh\necho relative/python\n"),
		"fails":    write("fails", "#!/bin/sh\necho broken >&2; exit 3\n"),
		"too much": write("much", "#!/bin/sh\nhead -c 3000000 /dev/zero\n"),
		"no path":  "",
	} {
		if _, err := Discover(t.Context(), interpreter); err == nil || !strings.Contains(err.Error(), "ython") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := binds(answer{Prefixes: []string{"/"}}); err == nil {
		t.Error("the root as a prefix is accepted")
	}
	linked := Runtime{Interpreter: filepath.Join(dir, "link"), Binds: []sandbox.Bind{{Source: dir}}}
	if err := os.Symlink("/proc/self/exe", linked.Interpreter); err != nil {
		t.Fatal(err)
	}
	if err := linked.checkLinks(); err == nil || !strings.Contains(err.Error(), "/proc/self/exe") {
		t.Errorf("a link out of the binds: %v", err)
	}
}

// What is done for the sake of a fast start is over when the strategy's own modules load.
//
// Proves: NN-1, NN-6
func TestARunnerStarts(t *testing.T) {
	rt, err := Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args []string) (string, int) {
		t.Helper()
		argv := rt.Argv(args...)
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = rt.Env
		out, err := cmd.CombinedOutput()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run(Runner()); code != 78 || !strings.Contains(out, "IMPORT_FAILED: the environment variable MSUP_PACKAGE_HASH is not set") {
		t.Errorf("without an environment it ended with %d and said %q", code, out)
	}
	script, found := strings.CutSuffix(startRunner, "main()\n")
	if !found {
		t.Fatal("the runner is not started at the end")
	}
	if out, code := run([]string{"-c", script + `print(gc.isenabled(), "typing_extensions" in sys.modules, "msup.runner" in sys.modules)`}); code != 0 || out != "True False True\n" {
		t.Errorf("the strategy would find %q", out)
	}
}
