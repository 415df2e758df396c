package sandboxtest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Nobody makes a command run as the user who owns nothing. Only root can.
func Nobody() *syscall.SysProcAttr {
	const nobody = 65534
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// AsNobody has the current test run again as nobody, in a process of its own, and tells whether that is still to be done here: it is where
// this process has no root to give up. env is what the other process needs besides. The missing walls have to be named there.
//
//	func TestConformanceUnprivileged(t *testing.T) {
//		if sandboxtest.AsNobody(t) {
//			sandboxtest.Run(t, …)
//		}
//	}
func AsNobody(t *testing.T, env ...string) (here bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", "GORACE=" + withoutSleep(), "MSUP_TEST_EMULATED=" + os.Getenv("MSUP_TEST_EMULATED")}, env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = Nobody()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/SystemCallsRefused") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "wall missing on this host: memory") && !strings.Contains(string(out), "wall missing on this host: user_id") {
		t.Errorf("the missing walls are not named:\n%s", out)
	}
	return false
}
