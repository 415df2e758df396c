package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/msup/msup/ipc"
	"golang.org/x/sys/unix"
)

// shimGroup counts the tasks that hold one lane's shared shim. A shim ends with its last task, and for some ms it can
// still be connected to: a task that comes then fails, in as many words as there are moments in its end. So a shim that has
// lost its last task is never asked again, the next one gets another name; and its last task is not deleted while another
// is being made in it.
type shimGroup struct {
	generation int
	tasks      int        // made and not yet deleted
	pending    int        // being made
	settled    *sync.Cond // told when one that was being made is there, or will not be
}

// joinShim names the shim for a task that will be made; "" gives it one of its own.
func (s *Sandbox) joinShim(lane ipc.Lane) string {
	if s.cfg.Shim == ShimOwn {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.shims[lane]
	if g == nil {
		g = &shimGroup{settled: sync.NewCond(&s.mu)}
		s.shims[lane] = g
	}
	g.pending++
	return fmt.Sprintf("msup-%s-%s-%d", s.name, lane, g.generation)
}

// joined tells that a task was made, or not.
func (s *Sandbox) joined(lane ipc.Lane, made bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.shims[lane]; g != nil {
		g.pending--
		if made {
			g.tasks++
		} else if g.tasks == 0 {
			g.generation++ // a shim whose first task cannot be made ends, too
		}
		g.settled.Broadcast()
	}
}

// leaveShim is called before a task is deleted. The making that it may wait for has a bound of its own, DaemonConfig.CallTimeout.
func (s *Sandbox) leaveShim(lane ipc.Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.shims[lane]; g != nil {
		for g.tasks == 1 && g.pending > 0 {
			g.settled.Wait()
		}
		if g.tasks--; g.tasks == 0 {
			g.generation++
		}
	}
}

// lostShim tells whether a task could not be made or deleted because its shared shim was just ending: somebody killed it, its last other task was
// deleted, or another task that was to be its first could not be made. A second attempt to make one gets another shim.
func lostShim(err error) bool {
	text := err.Error()
	return strings.Contains(text, "ttrpc: closed") || strings.Contains(text, "failed to start shim") && strings.Contains(text, "dial unix")
}

// findShimSocket tells where the shim of a private daemon's task listens, outside of all folders of ours; "" when it cannot be
// told. A shim removes it when it ends, unless it was killed.
func (r *runner) findShimSocket() string {
	if !r.box.engine.Private() {
		return ""
	}
	return shimAddress(filepath.Join(r.box.engine.bundles(), r.id))
}

// dropShimSocket removes the socket of a shim that was killed: nobody listens there any more.
func dropShimSocket(path string) error {
	if path == "" {
		return nil
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return c.Close() // it lives, and has others to serve or is about to end
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return nil // it is gone, as it should be
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of a dead shim: %w", err)
	}
	return nil
}
