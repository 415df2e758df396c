package supervisor

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// RecordReports makes durable what I has said of an instance that does not run: its word on intents, and a snapshot, when there is one. The
// strategy hears of it in the next run; nothing leaves (GT-6). It returns how many were taken: what the core knows already is not.
func (p *Instance) RecordReports(statuses []core.Status, snapshot *ipc.SourceEvent) (taken int, err error) {
	if err := p.Recover(); err != nil {
		return 0, err
	}
	for i := range statuses {
		s := statuses[i]
		if t, ok := p.state.Book().Lookup(s.Key); !ok || !t.Status.CanBecome(s.Status) {
			continue
		}
		if err := p.apply(p.stamp(&s)); err != nil {
			return taken, err
		}
		taken++
	}
	if snapshot != nil && p.state.Admits(snapshot.Cursor, snapshot.Event.Kind()) == core.Admit {
		event, err := ipc.AppendEvent(nil, snapshot.Event)
		if err != nil {
			return taken, fmt.Errorf("%s: writing the snapshot: %w", p.cfg.Address, err)
		}
		_, now := p.cfg.Clock.Now(snapshot.RecvTS)
		if err := p.apply(&core.Arrival{At: core.At{CoreTS: now}, Cursor: snapshot.Cursor, TraceID: snapshot.TraceID, Event: event}); err != nil {
			return taken, err
		}
		taken++
	}
	return taken, p.flush()
}
