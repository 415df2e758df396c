package supervisor

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// RecordReports makes durable what I has said of an instance that does not run: its word on intents, and a snapshot, when there is one. The
// strategy hears of it in the next run; nothing leaves (GT-6). It returns how many were taken: what the core knows already is not. A snapshot
// that the core would not take for positions is an error, and not recorded.
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
	if err := p.flush(); err != nil {
		return 0, err
	}
	if snapshot != nil && p.state.Admits(snapshot.Cursor, snapshot.Event.Kind()) == core.Admit {
		event, err := ipc.AppendEvent(nil, snapshot.Event)
		if err != nil {
			return taken, fmt.Errorf("%s: writing the snapshot: %w", p.cfg.Address, err)
		}
		_, now := p.cfg.Clock.Now(snapshot.RecvTS)
		in := &core.Arrival{At: core.At{CoreTS: now}, Cursor: snapshot.Cursor, TraceID: snapshot.TraceID, Event: event}
		if err := p.wouldKnow(in); err != nil {
			return taken, fmt.Errorf("%s: %w", p.cfg.Address, err)
		}
		if err := p.apply(in); err != nil {
			return taken, err
		}
		taken++
	}
	return taken, p.flush()
}

// wouldKnow tries an arrival on a copy of the core: while an instance runs, I is asked again until a snapshot holds; here nobody would.
func (p *Instance) wouldKnow(in *core.Arrival) error {
	bytes, err := p.state.Marshal()
	if err != nil {
		return err
	}
	trial, err := core.Restore(bytes, p.cfg.Address, p.cfg.Ledger.Lineage())
	if err != nil {
		return err
	}
	if _, err := trial.Step(in); err != nil {
		return err
	}
	if why := trial.Book().Unknown(); why != "" {
		return fmt.Errorf("%s: I's snapshot does not hold what the ledger has taken of its reports, and was not recorded; the next start asks I again", why)
	}
	return nil
}
