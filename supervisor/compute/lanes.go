package compute

import (
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
)

// Lanes are all that an instance may ask: services by the task's name, its compute part for everything else. Each has a queue of its own, so
// that one which hangs does not hold up the others.
type Lanes struct {
	Part  *Lane            // nil: there is no compute part
	Named map[string]*Lane // by task

	done func(core.Computed)
}

// Open starts all lanes.
func (l *Lanes) Open(done func(core.Computed)) {
	l.done = done
	for _, lane := range l.all() {
		lane.Open(done)
	}
}

// Submit passes a task on.
func (l *Lanes) Submit(t core.Task, deadline time.Time) {
	switch lane, named := l.Named[t.Name]; {
	case named:
		lane.Submit(t, deadline)
	case l.Part != nil:
		l.Part.Submit(t, deadline)
	default:
		l.done(core.Computed{Step: t.Step, Ordinal: t.Ordinal, Reason: ipc.ReasonComputeUnavailable})
	}
}

// Violations are what the strategy's own code was refused in its compute part since the last call. A service's proxy runs none of it.
func (l *Lanes) Violations() []sandbox.Violation {
	if l.Part == nil {
		return nil
	}
	return l.Part.Violations()
}

// Close closes all lanes.
func (l *Lanes) Close() {
	for _, lane := range l.all() {
		lane.Close()
	}
}

func (l *Lanes) all() []*Lane {
	var all []*Lane
	if l.Part != nil {
		all = append(all, l.Part)
	}
	for _, lane := range l.Named {
		all = append(all, lane)
	}
	return all
}
