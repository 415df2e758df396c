package warden_test

import (
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/warden/wardentest"
)

// The whole suite of the process sandbox, through a helper: who uses a box cannot tell where its runners are started. Packages container and
// wasm have the same test of theirs.
//
// Proves: SB-L1, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	rt, err := python.Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	parent := sandboxtest.CgroupParent(t)
	sandboxtest.Run(t, sandboxtest.Config{
		Open: func(dir string) (sandbox.Sandbox, error) {
			return wardentest.Open("process", process.Config{RuntimeDir: dir, CgroupParent: parent, StartTimeout: sandboxtest.Patience()})
		},
		Program: sandboxtest.PythonProgram(t, rt), Leftovers: sandboxtest.Leftovers(parent), DiesWithSupervisor: true, ClearsUp: true,
	})
}
