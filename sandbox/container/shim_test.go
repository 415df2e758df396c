package container

import (
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// A shim ends with its last task, so that task stays until the one that is being made in the same shim is there.
//
// Proves: SB-L3, SB-6
func TestSharedShimOutlivesWhoJoinsIt(t *testing.T) {
	s := &Sandbox{cfg: Config{Shim: ShimShared}, shims: map[ipc.Lane]*shimGroup{}}
	first := s.joinShim(ipc.LaneLL)
	s.joined(ipc.LaneLL, true)
	if second := s.joinShim(ipc.LaneLL); second != first {
		t.Fatalf("shims %s and %s", first, second)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		s.leaveShim(ipc.LaneLL)
	}()
	select {
	case <-left:
		t.Fatal("the shim's last task was given up while another is being made in it")
	case <-time.After(50 * time.Millisecond):
	}
	s.joined(ipc.LaneLL, true)
	<-left
	if third := s.joinShim(ipc.LaneLL); third != first {
		t.Errorf("shim %s has a task, and %s is to be another", first, third)
	}
	// The third cannot be made, the second ends: nobody is left, and the next one gets another shim.
	s.joined(ipc.LaneLL, false)
	s.leaveShim(ipc.LaneLL)
	next := s.joinShim(ipc.LaneLL)
	if next == first {
		t.Errorf("%s has ended, and is joined", next)
	}
	s.joined(ipc.LaneLL, false)
	if last := s.joinShim(ipc.LaneLL); last == next {
		t.Errorf("%s has ended with the task that could not be made, and is joined", last)
	}
}
