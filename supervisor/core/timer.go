package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/guard"
)

// stormWindow is the stretch of processed time in which timer steps are counted.
const stormWindow = ipc.Nanos(1e9)

// TimerBurst counts the timer steps that nothing of the market came between. A strategy whose on_timer sets a timer that is due at once would
// else get one after another for ever: in a feed run time stands still meanwhile, and everybody else waits (BP-1, SB-7).
type TimerBurst struct {
	Since ipc.Nanos `json:"since"` // processed time of the first one in the window
	Steps int       `json:"steps"`
	Told  bool      `json:"told"` // of this window
}

func (b *TimerBurst) step(now ipc.Nanos) {
	if b.Steps == 0 || now-b.Since >= stormWindow {
		*b = TimerBurst{Since: now}
	}
	b.Steps++
}

// TimerEvent returns the bytes of the event that delivers a due timer.
func TimerEvent(t Timer) ([]byte, error) {
	return ipc.AppendEvent(nil, &ipc.Timer{TimerID: t.ID, DueTS: t.DueTS})
}

// timers takes what an answer asks for. Where timers alone have used up their second, those that are set now are due in the next one.
func (s *State) timers(requests []ipc.TimerRequest, e *Effects) {
	earliest := ipc.Nanos(math.MinInt64)
	if s.params.TimerSteps > 0 && s.Burst.Steps >= s.params.TimerSteps {
		earliest = s.Burst.Since + stormWindow
	}
	for _, r := range requests {
		if r.Op == ipc.TimerCancel {
			s.cancelTimer(r.TimerID)
			continue
		}
		if r.DueTS < earliest {
			s.storm(r.TimerID, e)
			r.DueTS = earliest
		}
		i, found := s.findTimer(r.TimerID)
		switch {
		case found:
			s.Timers[i].DueTS = r.DueTS
		case len(s.Timers) >= s.params.MaxTimers:
			s.violate(ipc.ReasonTimerCeiling, r.TimerID, e)
		default:
			s.Timers = slices.Insert(s.Timers, i, Timer{ID: r.TimerID, DueTS: r.DueTS})
		}
	}
}

// storm counts a second in which timers were put off, once.
func (s *State) storm(id string, e *Effects) {
	if s.Burst.Told {
		return
	}
	s.Burst.Told = true
	e.note(guard.Warn, ipc.ReasonTimerStorm, fmt.Sprintf("timer %s after %d timer steps in a second", id, s.Burst.Steps))
	s.climb(&s.Storms, s.params.Storms, ipc.ReasonTimerStorm, e)
}

func (s *State) cancelTimer(id string) {
	if i, found := s.findTimer(id); found {
		s.Timers = slices.Delete(s.Timers, i, i+1)
	}
}

func (s *State) findTimer(id string) (int, bool) {
	return slices.BinarySearchFunc(s.Timers, id, func(t Timer, id string) int { return strings.Compare(t.ID, id) })
}
