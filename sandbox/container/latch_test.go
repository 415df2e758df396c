package container

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/msup/msup/sandbox/refusal"
	"golang.org/x/sys/unix"
)

// auditArch is this machine's, as the kernel writes it.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]

// The kernel asks twice for one exec when a signal comes at the wrong moment; a second program is refused all the same.
// Proves: SB-L3, DOD-2
func TestOneExecPassesHoweverOftenItIsAsked(t *testing.T) {
	leader := exec.CommandContext(t.Context(), "sleep", "60")
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = leader.Process.Kill()
		_ = leader.Wait() // killed
	}()
	prepared := 0
	l, err := newLatch(t.TempDir(), func(int) error { prepared++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.close() //nolint:errcheck // a listener that nobody came to
	l.leader.Store(int32(leader.Process.Pid))
	ask := func(pid int) (passes, first bool) {
		a, once := l.judge(refusal.Call{ID: 1, PID: uint32(pid), Nr: unix.SYS_EXECVE, Arch: auditArch})
		passes = a.Flags == unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		if !passes && a.Errno != -int32(unix.EPERM) || a.ID != 1 {
			t.Errorf("the kernel is answered %+v", a)
		}
		return passes, once != nil
	}
	if passes, first := ask(leader.Process.Pid + 1); passes || first {
		t.Error("another process than the leader passes")
	}
	if got := l.refusals.Counts(); got.Total() != 0 {
		t.Errorf("before there is a strategy it is blamed for %s", got.Names())
	}
	if passes, first := ask(leader.Process.Pid); !passes || !first {
		t.Fatal("the one exec does not pass")
	}
	l.settle(true, nil)
	if passes, first := ask(leader.Process.Pid); !passes || first {
		t.Error("the same exec, asked again before it happened, does not pass, or counts as another")
	}
	if passes, _ := ask(leader.Process.Pid + 1); passes {
		t.Error("another process passes after the first")
	}
	l.mu.Lock()
	l.program = "/usr/bin/runc" // now the leader is another program than it was
	l.mu.Unlock()
	if passes, _ := ask(leader.Process.Pid); passes {
		t.Error("the strategy may start another program")
	}
	// What the strategy is refused counts: the two programs above, and whatever else the filter announces.
	for _, nr := range []int32{unix.SYS_MOUNT, unix.SYS_SOCKET} {
		if a, once := l.judge(refusal.Call{ID: 2, PID: uint32(leader.Process.Pid), Nr: nr, Arch: auditArch}); a.Errno != -int32(unix.EPERM) || a.Flags != 0 || once != nil {
			t.Errorf("call %d is answered %+v", nr, a)
		}
	}
	if got := l.refusals.Counts(); got.Of("execve") != 2 || got.Of("mount") != 1 || got.Of("socket") != 1 || got.Total() != 4 {
		t.Errorf("refused were %d: %s", got.Total(), got.Names())
	}
	if prepared != 1 {
		t.Errorf("prepared %d times", prepared)
	}
}
