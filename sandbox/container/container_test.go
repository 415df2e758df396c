package container

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// addressEnv tells child supervisors which containerd to use.
const addressEnv = "MSUP_TEST_CONTAINERD"

// conformance is the suite's configuration for this sandbox. One containerd serves the test and the child supervisors that
// it kills, as a system's would: so this shows the way by an address, and a Reap in a containerd that never ended.
func conformance(t *testing.T) sandboxtest.Config {
	t.Helper()
	address := os.Getenv(addressEnv)
	if address == "" {
		address = engine(t).Address()
		t.Setenv(addressEnv, address)
	}
	parent := testParent(t)
	return sandboxtest.Config{
		Open: func(dir string) (sandbox.Sandbox, error) {
			return Open(t.Context(), Config{Daemon: DaemonConfig{Address: address, CallTimeout: callTimeout()}, RuntimeDir: dir, CgroupParent: parent})
		},
		Program: program(t),
		Leftovers: func(dir string) ([]string, error) {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return nil, err
			}
			groups, err := filepath.Glob("/sys/fs/cgroup/*/" + parent + "/*/*")
			return append(left, groups...), err
		},
	}
}

// The same with one shim for all, which ends and is made anew with every case.
//
// Proves: SB-L3, SB-6, SB-8
func TestConformanceSharedShim(t *testing.T) {
	cfg := conformance(t)
	cfg.Open = func(dir string) (sandbox.Sandbox, error) {
		return Open(t.Context(), Config{Daemon: DaemonConfig{Address: os.Getenv(addressEnv), CallTimeout: callTimeout()}, RuntimeDir: dir, CgroupParent: testParent(t), Shim: ShimShared})
	}
	sandboxtest.Run(t, cfg)
}

// Proves: SB-L3, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	sandboxtest.Run(t, conformance(t))
}
