package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// conformance is the suite's configuration for this sandbox, with a group of its own.
func conformance(t *testing.T, interpreter string) sandboxtest.Config {
	t.Helper()
	rt, err := python.Discover(t.Context(), interpreter)
	if err != nil {
		t.Fatal(err)
	}
	parent := os.Getenv("MSUP_TEST_CGROUP_PARENT") // the same for the child supervisors of one test binary
	if parent == "" {
		parent = fmt.Sprintf("msup-test-%d", os.Getpid())
		t.Setenv("MSUP_TEST_CGROUP_PARENT", parent)
	}
	return sandboxtest.Config{
		Open:    func(dir string) (sandbox.Sandbox, error) { return New(Config{RuntimeDir: dir, CgroupParent: parent}) },
		Program: sandboxtest.PythonProgram(t, rt), DiesWithSupervisor: true,
		Leftovers: func(dir string) ([]string, error) {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return nil, err
			}
			for _, layout := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1 and hybrid, v2
				groups, err := filepath.Glob(layout + parent + "/*/*/") // folders: in v2 the lanes' own files lie beside them
				if err != nil {
					return nil, err
				}
				left = append(left, groups...)
			}
			return left, nil
		},
	}
}

// Proves: SB-L1, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	sandboxtest.Run(t, conformance(t, "python3"))
}

// The same suite without root: control groups are missing then, rlimits stand in, and Walls says so. Under root the test
// binary runs itself again as nobody, with the system's interpreter, since root's own may lie below a closed home.
//
// Proves: SB-L1, SB-2, SB-3
func TestConformanceUnprivileged(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 {
		cfg := conformance(t, "/usr/bin/python3")
		sandboxtest.Run(t, cfg)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestConformanceUnprivileged$", "-test.v")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", "MSUP_TEST_EMULATED=" + os.Getenv("MSUP_TEST_EMULATED")}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestConformanceUnprivileged/SystemCallsRefused") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "wall missing on this host: memory") && !strings.Contains(string(out), "wall missing on this host: user_id") {
		t.Errorf("the missing walls are not named:\n%s", out)
	}
}
