package container

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
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

// unreachable is a container whose task's shim does not answer for the first few questions.
type unreachable struct {
	client.Container
	err   error
	first int
	asked int
}

func (u *unreachable) Task(ctx context.Context, attach cio.Attach) (client.Task, error) {
	if u.asked++; u.asked <= u.first {
		return nil, u.err
	}
	return u.Container.Task(ctx, attach)
}

// A task whose shared shim is just ending is deleted once containerd has noticed; what fails otherwise fails at once.
//
// Proves: SB-L3, LS-1
func TestDeletionWaitsForAShimThatIsEnding(t *testing.T) {
	d := engine(t)
	s := open(t, d, func(c *Config) { c.Shim = ShimShared })
	r := startEcho(t, s)
	refused := &unreachable{Container: r.Runner.(*runner).container, err: errors.New("permission denied"), first: 1}
	if err := d.discard(t.Context(), refused); !errors.Is(err, refused.err) || refused.asked != 1 {
		t.Errorf("asked %d times, then %v", refused.asked, err)
	}
	ending := &unreachable{Container: refused.Container, err: errors.New("failed to delete task: ttrpc: closed"), first: 3}
	if err := d.discard(t.Context(), ending); err != nil || ending.asked != 4 {
		t.Errorf("asked %d times, then %v", ending.asked, err)
	}
	if err := r.Kill(); err != nil {
		t.Error(err)
	}
}
