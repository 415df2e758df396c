package sandboxtest

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
)

//go:embed testdata
var testdata embed.FS

// programsEnv tells child supervisors where the programs are, so that a killed one leaves no copy behind.
const programsEnv = "MSUP_SANDBOXTEST_PROGRAMS"

// NativeEnv names a native binary of the programs for machines without rustc: scripts/test-cgroup2's.
const NativeEnv = "MSUP_SANDBOXTEST_NATIVE"

// target is where a sandbox shows the programs.
const target = "/app"

// PythonProgram runs the programs of testdata/probe.py with an interpreter of the host. They are copied to a folder that
// every user may read, wherever the repository is.
func PythonProgram(t *testing.T, rt python.Runtime) func(name string, args ...string) sandbox.Spec {
	t.Helper()
	return interpreted(rt, folder(t), "probe.py")
}

// SharedProgram runs the same programs as threads of a process, with an interpreter that has the SDK.
func SharedProgram(t *testing.T, rt python.Runtime) func(name string, args ...string) sandbox.Spec {
	t.Helper()
	return interpreted(rt, folder(t), "sharedprobe.py")
}

func interpreted(rt python.Runtime, dir, script string) func(name string, args ...string) sandbox.Spec {
	return func(name string, args ...string) sandbox.Spec {
		return sandbox.Spec{
			Argv:  rt.Argv(append([]string{filepath.Join(target, script), name}, args...)...),
			Env:   rt.Env,
			Binds: append(slices.Clone(rt.Binds), sandbox.Bind{Source: dir, Target: target, NoExec: true}),
		}
	}
}

// NativeProgram runs the programs of testdata/probe.rs, compiled for this machine: what a strategy with runtime rust_native is. binds show it
// the loader and the libraries that such a strategy gets (pack.NativeBinds).
func NativeProgram(t *testing.T, binds []sandbox.Bind) func(name string, args ...string) sandbox.Spec {
	t.Helper()
	dir := folder(t)
	native(t, dir)
	return func(name string, args ...string) sandbox.Spec {
		return sandbox.Spec{
			Argv:  append([]string{filepath.Join(target, "probe"), name}, args...),
			Binds: append(slices.Clone(binds), sandbox.Bind{Source: dir, Target: target}),
		}
	}
}

// native puts the binary into the folder of the programs.
func native(t *testing.T, dir string) {
	t.Helper()
	binary := filepath.Join(dir, "probe")
	if _, err := os.Stat(binary); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if made := os.Getenv(NativeEnv); made != "" {
		b, err := os.ReadFile(made)
		if err == nil {
			err = os.WriteFile(binary, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	// A second of rustc, and nothing to keep; through cargo it would need a folder beside the sources.
	out, err := exec.Command("rustc", "--edition", "2021", "-O", "-o", binary, filepath.Join(dir, "probe.rs")).CombinedOutput()
	if err != nil {
		t.Fatalf("compile the native programs (rustc is needed; make setup installs it): %v\n%s", err, out)
	}
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
}

// folder holds the programs of one test.
func folder(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(programsEnv); dir != "" {
		return dir
	}
	dir := openFolder(t)
	files, err := fs.Sub(testdata, "testdata")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("write the programs: %w", err))
	}
	t.Setenv(programsEnv, dir)
	return dir
}

// openFolder makes a folder whose path leaves room for sockets, and which everybody may read, for the time of a test.
func openFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "st")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
