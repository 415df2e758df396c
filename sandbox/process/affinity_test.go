package process

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// Runners of the compute lane leave processors to the others.
//
// Proves: LN-1, NN-4, DOD-4
func TestTheComputeLaneLeavesProcessors(t *testing.T) {
	s, err := New(Config{RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: sandboxtest.CgroupParent(t), StartTimeout: sandboxtest.Patience(), ReserveFrom: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	sandboxtest.LeavesProcessors(t, s, interpreted(t, "python3")("echo"))
}

// With few processors a runner of the compute lane may use all of them, and stands back by its nice value from its start on.
//
// Proves: LN-1, NN-4, DOD-4
func TestTheComputeLaneStandsBack(t *testing.T) {
	s, err := New(Config{RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: sandboxtest.CgroupParent(t), StartTimeout: sandboxtest.Patience(), ReserveFrom: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	mine := niceOf(t, 0) // of this thread: the first one may be the one that forks
	spec := interpreted(t, "python3")("echo")
	for lane, want := range map[ipc.Lane]int{ipc.LaneLL: mine, ipc.LaneCompute: min(19, mine+niceCompute)} {
		spec.Address, spec.Lane, spec.NeedSocket = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, lane, true
		r, err := s.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		var its unix.CPUSet
		if err := unix.SchedGetaffinity(r.PID(), &its); err != nil || its != all {
			t.Errorf("in lane %s it may use %d of %d processors, %v", lane, its.Count(), all.Count(), err)
		}
		if got := niceOf(t, r.PID()); got != want {
			t.Errorf("in lane %s it has the nice value %d, want %d", lane, got, want)
		}
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
	}
}

func niceOf(t *testing.T, pid int) int {
	t.Helper()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - raw // the system call cannot return a negative number
}
