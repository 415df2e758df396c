package thread

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Proves: SB-L0, NN-2, SB-1, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	parent := os.Getenv("MSUP_TEST_THREAD_PARENT") // the same for the child supervisors of one test binary
	if parent == "" {
		parent = fmt.Sprintf("msup-thread-%d", os.Getpid())
		t.Setenv("MSUP_TEST_THREAD_PARENT", parent)
	}
	sandboxtest.Run(t, sandboxtest.Config{
		Shared: true, DiesWithSupervisor: true,
		Open:    func(dir string) (sandbox.Sandbox, error) { return open(dir, parent, strict) },
		Program: sandboxtest.SharedProgram(t, interpreter(t)),
		Leftovers: func(dir string) ([]string, error) {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return nil, err
			}
			for _, layout := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1 and hybrid, v2
				groups, err := filepath.Glob(layout + parent + "/*/*/")
				if err != nil {
					return nil, err
				}
				left = append(left, groups...)
			}
			return left, nil
		},
	})
}
