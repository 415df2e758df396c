package container

import (
	"fmt"
	"strings"

	"github.com/msup/msup/ipc"
)

// shimGroup counts the tasks that hold one lane's shared shim. A shim ends with its last task, and for some ms it can
// still be connected to: a task that comes then fails. So a shim that has lost its last task is never asked again; the
// next one gets another name.
type shimGroup struct {
	generation int
	tasks      int // made and not yet deleted
	pending    int // being made
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
		g = &shimGroup{}
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
		}
	}
}

// leaveShim is called before a task is deleted.
func (s *Sandbox) leaveShim(lane ipc.Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.shims[lane]; g != nil {
		if g.tasks--; g.tasks == 0 {
			g.generation++
		}
	}
}

// lostShim tells whether a task could not be made because its shared shim was just ending: it was chosen before the
// last other task was deleted. A second attempt gets another shim.
func lostShim(err error) bool {
	text := err.Error()
	return strings.Contains(text, "ttrpc: closed") || strings.Contains(text, "failed to start shim") && strings.Contains(text, "dial unix")
}
