package container

import (
	"context"
	"os"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/warden"
	"github.com/msup/msup/sandbox/warden/wardentest"
	"github.com/msup/msup/supervisor/pack"
)

// kind is what the helpers of this test binary open.
const kind = "container"

func TestMain(m *testing.M) {
	warden.Init(map[string]warden.Opener{kind: wardentest.Opener(func(ctx context.Context, p suiteParams) (sandbox.Sandbox, error) {
		return p.open(ctx)
	})})
	os.Exit(m.Run())
}

// suiteParams say which sandbox the suite is run against.
type suiteParams struct {
	Address, Dir, Parent, Image string
	Shim                        ShimMode
}

func (p suiteParams) open(ctx context.Context) (sandbox.Sandbox, error) {
	return Open(ctx, Config{Daemon: DaemonConfig{Address: p.Address, CallTimeout: callTimeout()}, RuntimeDir: p.Dir, CgroupParent: p.Parent, Image: p.Image, Shim: p.Shim})
}

// addressEnv tells child supervisors which containerd to use.
const addressEnv = "MSUP_TEST_CONTAINERD"

// conformance is the suite's configuration for this sandbox. One containerd serves the test and the child supervisors that
// it kills, as a system's would: so this shows the way by an address, and a Reap in a containerd that never ended.
func conformance(t *testing.T, change func(*suiteParams)) sandboxtest.Config {
	t.Helper()
	address := os.Getenv(addressEnv)
	if address == "" {
		address = engine(t).Address()
		t.Setenv(addressEnv, address)
	}
	p := suiteParams{Address: address, Parent: sandboxtest.CgroupParent(t)}
	if change != nil {
		change(&p)
	}
	return sandboxtest.Config{
		Open: func(dir string) (sandbox.Sandbox, error) {
			p := p
			p.Dir = dir
			return p.open(t.Context())
		},
		Program: program(t), Leftovers: sandboxtest.Leftovers(p.Parent),
	}
}

// The same with one shim for all, which ends and is made anew with every case.
//
// Proves: SB-L3, SB-6, SB-8
func TestConformanceSharedShim(t *testing.T) {
	sandboxtest.Run(t, conformance(t, func(p *suiteParams) { p.Shim = ShimShared }))
}

// Proves: SB-L3, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	sandboxtest.Run(t, conformance(t, nil))
}

// outside are the cases that happen outside of a container, or after its program has said all that it had to say. They take half of the
// suite's time, and TestConformance shows them.
func outside() map[string]string {
	const why = "the program makes no difference to it"
	return map[string]string{"ForeignPeerRefused": why, "ConnectTimeout": why, "LogFloodBounded": why, "JobFillsItsFolder": why, "BadSpecs": why,
		"ParallelStarts": why, "ReapAfterSupervisorKill": why, "ReapSparesTheLiving": why}
}

// The suite with a native binary, which has the binds that a strategy with runtime rust_native gets.
//
// Proves: SB-L3, NN-1, NN-2, SB-2, SB-3, SB-4, SB-8
func TestConformanceNative(t *testing.T) {
	cfg := conformance(t, nil)
	cfg.Program, cfg.Without = sandboxtest.NativeProgram(t, pack.NativeBinds()), outside()
	sandboxtest.Run(t, cfg)
}

// The suite through the helper that keeps root: who uses a box cannot tell where its runners are started.
//
// Proves: SB-L3, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformanceHelper(t *testing.T) {
	cfg := conformance(t, nil)
	p := suiteParams{Address: os.Getenv(addressEnv), Parent: sandboxtest.CgroupParent(t)}
	cfg.Open = func(dir string) (sandbox.Sandbox, error) {
		p := p
		p.Dir = dir
		return wardentest.Open(kind, p)
	}
	cfg.DiesWithSupervisor, cfg.ClearsUp = true, true
	cfg.Without = map[string]string{"LogFloodBounded": "a helper's lines are the same for every sandbox, and package warden floods them",
		"CPUQuota": "1.5 s of waiting for a wall that the helper has no part in"}
	sandboxtest.Run(t, cfg)
}
