package wasm

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/warden/wardentest"
)

// owned closes the process sandbox with the Wasm sandbox on it.
type owned struct {
	*Sandbox
	process *process.Sandbox
}

func (o owned) Close() error { return errors.Join(o.Sandbox.Close(), o.process.Close()) }

// suiteParams say which sandbox the suite is run against.
type suiteParams struct{ Dir, Parent, Store string }

func (p suiteParams) open() (sandbox.Sandbox, error) {
	walls, err := process.New(process.Config{RuntimeDir: p.Dir, CgroupParent: p.Parent, StartTimeout: sandboxtest.Patience()})
	if err != nil {
		return nil, err
	}
	box, err := Open(Config{Process: walls, StoreDir: p.Store, CompileTimeout: sandboxtest.Patience()})
	if err != nil {
		return nil, errors.Join(err, walls.Close())
	}
	return owned{box, walls}, nil
}

// Proves: SB-L2, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) { sandboxtest.Run(t, conformance(t, suiteParams.open)) }

// The same suite without root: control groups are missing then, and a limit on the address space stands in for memory.
//
// Proves: SB-L2, SB-2, SB-3
func TestConformanceUnprivileged(t *testing.T) {
	if sandboxtest.AsNobody(t) {
		sandboxtest.Run(t, conformance(t, suiteParams.open))
	}
}

// The suite through the helper that keeps root: who uses a box cannot tell where its runners are started.
//
// Proves: SB-L2, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformanceHelper(t *testing.T) {
	cfg := conformance(t, func(p suiteParams) (sandbox.Sandbox, error) { return wardentest.Open(kind, p) })
	cfg.ClearsUp = true
	sandboxtest.Run(t, cfg)
}

// storeEnv tells child supervisors where the modules are compiled into.
const storeEnv = "MSUP_TEST_WASM_STORE"

func conformance(t *testing.T, start func(suiteParams) (sandbox.Sandbox, error)) sandboxtest.Config {
	t.Helper()
	p := suiteParams{Parent: sandboxtest.CgroupParent(t), Store: os.Getenv(storeEnv)}
	if p.Store == "" {
		var err error
		if p.Store, err = os.MkdirTemp("", "wstore"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(p.Store); err != nil {
				t.Error(err)
			}
		})
		t.Setenv(storeEnv, p.Store)
	}
	compiler := open(t, func(c *Config) { c.StoreDir = p.Store })
	compiled := func(name string, args ...string) (Compiled, error) {
		module, err := sandboxtest.GuestProgram(name, args...)
		if err != nil {
			return Compiled{}, err
		}
		return compiler.Compile(context.Background(), module)
	}
	return sandboxtest.Config{
		Guest: true, DiesWithSupervisor: true, Leftovers: sandboxtest.Leftovers(p.Parent),
		Open: func(dir string) (sandbox.Sandbox, error) {
			p := p
			p.Dir = dir
			return start(p)
		},
		Program: func(name string, args ...string) sandbox.Spec {
			c, err := compiled(name, args...)
			if err != nil {
				panic(err)
			}
			return Spec(sandbox.Spec{}, c)
		},
		Refuse: func(name string) error {
			_, err := compiled(name)
			return err
		},
	}
}
