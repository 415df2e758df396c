package container

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

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
		r, first := l.judge(announcement{id: 1, pid: uint32(pid), nr: unix.SYS_EXECVE})
		if r.flags != flagContinue && r.errno != -int32(unix.EPERM) {
			t.Errorf("the kernel is answered %+v", r)
		}
		return r.flags == flagContinue, first
	}
	if passes, first := ask(leader.Process.Pid + 1); passes || first {
		t.Error("another process than the leader passes")
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
	if prepared != 1 {
		t.Errorf("prepared %d times", prepared)
	}
}
