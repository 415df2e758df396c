package process

import (
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/supervisor/pack"
)

// conformance runs the suite against this sandbox, with a group of its own.
func conformance(t *testing.T, program func(name string, args ...string) sandbox.Spec) {
	t.Helper()
	parent := sandboxtest.CgroupParent(t)
	sandboxtest.Run(t, sandboxtest.Config{
		Open: func(dir string) (sandbox.Sandbox, error) {
			return New(Config{RuntimeDir: dir, CgroupParent: parent, StartTimeout: sandboxtest.Patience()})
		},
		Program: program, DiesWithSupervisor: true, Leftovers: sandboxtest.Leftovers(parent),
	})
}

func interpreted(t *testing.T, interpreter string) func(name string, args ...string) sandbox.Spec {
	t.Helper()
	rt, err := python.Discover(t.Context(), interpreter)
	if err != nil {
		t.Fatal(err)
	}
	return sandboxtest.PythonProgram(t, rt)
}

// Proves: SB-L1, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	conformance(t, interpreted(t, "python3"))
}

// The same suite without root: control groups are missing then, rlimits stand in, and Walls says so. Under root the test
// binary runs itself again as nobody, with the system's interpreter, since root's own may lie below a closed home.
//
// Proves: SB-L1, SB-2, SB-3
func TestConformanceUnprivileged(t *testing.T) {
	if sandboxtest.AsNobody(t) {
		conformance(t, interpreted(t, "/usr/bin/python3"))
	}
}

// The whole suite with a native binary, which has the binds that a strategy with runtime rust_native gets.
//
// Proves: SB-L1, NN-1, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformanceNative(t *testing.T) {
	conformance(t, sandboxtest.NativeProgram(t, pack.NativeBinds()))
}
