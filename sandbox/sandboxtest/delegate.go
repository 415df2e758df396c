package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// delegateEnv tells a test that it runs as nobody in a group that was given to it.
const delegateEnv = "MSUP_TEST_DELEGATE"

// AsDelegate has the current test run again as nobody in a control group that was delegated to nobody, as systemd does it with Delegate=yes,
// and tells whether that is still to be done here. It needs root and cgroup v2 alone: v1 has no delegation, there it only says so.
func AsDelegate(t *testing.T) (here bool) {
	t.Helper()
	if os.Getenv(delegateEnv) != "" {
		return true
	}
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil || os.Geteuid() != 0 {
		t.Logf("nobody can be given a group here (user %d, %v): make test-cgroup2 shows it", os.Geteuid(), err)
		return false
	}
	if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory +cpu +pids"), 0); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(root, fmt.Sprintf("msup-delegate-%d", os.Getpid()))
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	attr := Nobody()
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(base, file), int(attr.Credential.Uid), int(attr.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", "GORACE=" + withoutSleep(), "MSUP_TEST_EMULATED=" + os.Getenv("MSUP_TEST_EMULATED"), delegateEnv + "=1"}
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/SystemCallsRefused") {
		t.Errorf("as nobody in a group of its own: %v\n%s", err, out)
	}
	for _, wall := range []string{"memory", "cpu", "pids"} {
		if strings.Contains(string(out), "wall missing on this host: "+wall+":") {
			t.Errorf("the wall %s is missing in a delegated group:\n%s", wall, out)
		}
	}
	// The supervisor's leaf stays, as it does under systemd, which removes it with the unit; nothing else may.
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = syscall.Rmdir(filepath.Join(base, "supervisor")); err == nil || errors.Is(err, os.ErrNotExist) {
			if err = syscall.Rmdir(base); err == nil {
				return false
			}
		}
		if time.Since(began) > bound() {
			left, _ := filepath.Glob(base + "/*/")
			t.Errorf("left in the delegated group: %v, %v", left, err)
			return false
		}
	}
}
