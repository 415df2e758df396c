package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// owned closes the process sandbox with the Wasm sandbox on it.
type owned struct {
	*Sandbox
	process *process.Sandbox
}

func (o owned) Close() error { return errors.Join(o.Sandbox.Close(), o.process.Close()) }

// Proves: SB-L2, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) { conformance(t) }

// The same suite without root: control groups are missing then, and a limit on the address space stands in for memory. Under
// root the test binary runs itself again as nobody.
//
// Proves: SB-L2, SB-2, SB-3
func TestConformanceUnprivileged(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 {
		conformance(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestConformanceUnprivileged$", "-test.v")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestConformanceUnprivileged/SystemCallsRefused") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func conformance(t *testing.T) {
	// The child supervisors of the suite share store and control group with this process.
	shared := func(key string, make func() string) string {
		if v := os.Getenv(key); v != "" {
			return v
		}
		v := make()
		t.Setenv(key, v)
		return v
	}
	parent := shared("MSUP_TEST_WASM_PARENT", func() string { return fmt.Sprintf("msup-wasm-suite-%d", os.Getpid()) })
	store := shared("MSUP_TEST_WASM_STORE", func() string {
		dir, err := os.MkdirTemp("", "wstore")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	})
	compiler := open(t, func(c *Config) { c.StoreDir = store })
	sandboxtest.Run(t, sandboxtest.Config{
		Guest: true, DiesWithSupervisor: true,
		Open: func(dir string) (sandbox.Sandbox, error) {
			p, err := process.New(process.Config{RuntimeDir: dir, CgroupParent: parent})
			if err != nil {
				return nil, err
			}
			box, err := Open(Config{Process: p, StoreDir: store})
			if err != nil {
				return nil, errors.Join(err, p.Close())
			}
			return owned{box, p}, nil
		},
		Program: func(name string, args ...string) sandbox.Spec {
			module, err := sandboxtest.GuestProgram(name, args...)
			if err != nil {
				panic(err)
			}
			c, err := compiler.Compile(context.Background(), module)
			if err != nil {
				panic(err)
			}
			return Spec(sandbox.Spec{}, c)
		},
		Refuse: func(name string) error {
			module, err := sandboxtest.GuestProgram(name)
			if err != nil {
				return err
			}
			_, err = compiler.Compile(context.Background(), module)
			return err
		},
		Leftovers: func(dir string) ([]string, error) {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return nil, err
			}
			groups, err := filepath.Glob("/sys/fs/cgroup/*/" + parent + "/*/*")
			return append(left, groups...), err
		},
	})
}
