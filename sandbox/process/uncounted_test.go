package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// outerEnv puts the test binary behind a filter with a listener, as a container runtime might: a process has room for one.
const outerEnv = "MSUP_TEST_OUTER_FILTER"

// stayBehindFilter allows everything but one call that nobody makes.
func stayBehindFilter() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	var all []string
	for name := range info.SyscallNames {
		if name != "acct" {
			all = append(all, name)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	groups := []syscallGroup{{why: "everything", names: all}, {why: "nobody's", names: []string{"acct"}, counted: true}}
	_, err = loadSeccomp(groups, retCount, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER) // stays open, and nobody listens
	return err
}

// Where refusals cannot be counted they are refused as ever, and Walls says why nobody counts.
//
// Proves: SB-3, SB-7, SB-L1, SB-L2
func TestRefusedWhereNobodyCanCount(t *testing.T) {
	if os.Getenv(outerEnv) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestRefusedWhereNobodyCanCount$", "-test.v")
		cmd.Env = append(os.Environ(), outerEnv+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestRefusedWhereNobodyCanCount") {
			t.Errorf("behind a filter: %v\n%s", err, out)
		}
		return
	}
	s := open(t, filepath.Join(shortDir(t), "r"))
	var found sandbox.Wall
	for _, w := range s.Walls() {
		if w.Name == sandbox.WallRefusals {
			found = w
		}
	}
	if found.Standing || !strings.Contains(found.Detail, "busy") || found.Remedy == "" {
		t.Errorf("the wall is %+v", found)
	}
	out, exit, err := runProgram(t, s, "msup:look", nil)
	if err != nil || exit.Code != 0 || !strings.Contains(out, `"ptrace":"operation not permitted"`) || strings.Contains(out, `"fork":""`) || exit.Usage.Refused.Total() != 0 {
		t.Errorf("%v, exit %+v, %s", err, exit, out)
	}
	out, exit, err = runProgram(t, s, "/bin/sh", func(sp *sandbox.Spec) {
		sp.Argv = []string{"/bin/sh", "-c", "(:) || echo refused"}
		for _, dir := range []string{"/bin", "/usr", "/lib", "/lib64"} {
			if _, err := os.Stat(dir); err == nil {
				sp.Binds = append(sp.Binds, sandbox.Bind{Source: dir, Target: dir})
			}
		}
	})
	if err != nil || exit.Usage.Refused.Total() != 0 || !strings.Contains(out+exit.Stderr, "fork") {
		t.Errorf("%v, exit %+v, %s", err, exit, out)
	}
}
