package core

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// arrive applies an event of I, J or E at once, with or without a runner, and queues it for the strategy.
func (s *State) arrive(in *Arrival, e *Effects) error {
	event, err := ipc.DecodeEvent(in.Event)
	if err != nil {
		return fmt.Errorf("arrival %s/%d/%d: %w", in.Cursor.Source, in.Cursor.Epoch, in.Cursor.Seq, err)
	}
	e.Urgent = true
	switch event := event.(type) {
	case *ipc.ExecutionSnapshot:
		if !s.snapshot(in.Cursor, event, e) {
			return nil
		}
	case *ipc.RiskEvent, *ipc.SafetyEvent:
		// What restricts acts even when something before it is missing; the source sends both again, in order (BP-3).
		missing := s.gap(in.Cursor, e)
		s.restrict(event, missing, e)
		if missing {
			return nil
		}
	default:
		if s.gap(in.Cursor, e) {
			s.gate.Book.SetUnknown(ipc.ReasonExecutionGap)
			e.Snapshot = true
			return nil
		}
		if x, ok := event.(*ipc.Execution); ok {
			s.execution(x, e)
		}
	}
	switch event.Kind() {
	case ipc.KindExecution, ipc.KindExecutionSnapshot:
		s.Sink.Source = in.Cursor.Source
	}
	cursor := in.Cursor
	s.setCursor(cursor)
	e.Ack = &cursor
	s.Queue = append(s.Queue, Queued{Event: in.Event, TraceID: in.TraceID})
	return nil
}

// gap reports whether something before the arrival is missing; then the cursor must stay.
func (s *State) gap(c ipc.Cursor, e *Effects) bool {
	last := s.cursor(c.Source)
	if c.Epoch == last.Epoch && c.Seq == last.Seq+1 {
		return false
	}
	if last.Epoch == 0 && last.Seq == 0 && c.Seq == 1 {
		return false // the first event of a new source
	}
	e.note(guard.Degrade, ipc.ReasonExecutionGap, fmt.Sprintf("%s: %d/%d after %d/%d", c.Source, c.Epoch, c.Seq, last.Epoch, last.Seq))
	return true
}

// snapshot takes I's view in place of M's, unless it lacks a report that has been taken, or one that its own number says came before it.
func (s *State) snapshot(c ipc.Cursor, snapshot *ipc.ExecutionSnapshot, e *Effects) bool {
	last, holds := s.cursor(c.Source), snapshot.Cursor
	why := ""
	switch {
	case holds.Source != c.Source || holds.Epoch != c.Epoch:
		why = fmt.Sprintf("it is of %s/%d, sent by %s/%d", holds.Source, holds.Epoch, c.Source, c.Epoch)
	case holds.Epoch == last.Epoch && holds.Seq < last.Seq:
		why = fmt.Sprintf("it holds reports up to %d, %d was taken", holds.Seq, last.Seq)
	case holds.Seq+1 < c.Seq:
		why = fmt.Sprintf("it holds reports up to %d and is number %d", holds.Seq, c.Seq)
	default:
		if err := s.gate.Book.Snapshot(snapshot, s.CoreTS); err != nil {
			why = err.Error()
		}
	}
	if why == "" {
		e.note(guard.Fine, ipc.ReasonConditionMet, "positions are known")
		return true
	}
	s.gate.Book.SetUnknown(ipc.ReasonPositionUnknown)
	e.Snapshot = true
	e.note(guard.Degrade, ipc.ReasonPositionUnknown, "a snapshot was not taken: "+why)
	return false
}

func (s *State) execution(x *ipc.Execution, e *Effects) {
	s.hedged(x) // before the book forgets an order that is final
	if err := s.gate.Book.Execute(x, s.CoreTS); err != nil {
		e.note(guard.Degrade, ipc.ReasonPositionUnknown, err.Error())
	}
	if s.gate.Book.Unknown() != "" {
		e.Snapshot = true
	}
	if x.Report == ipc.ExecRejected {
		reason := ipc.ReasonBreakerRejects
		if x.Throttled {
			reason = ipc.ReasonBreakerThrottled
		}
		s.climb(&s.Rejects, s.params.Rejects, reason, e)
	}
}

// restrict obeys J and E. While something before the event is missing, nothing is released.
func (s *State) restrict(event ipc.Event, missing bool, e *Effects) {
	switch event := event.(type) {
	case *ipc.RiskEvent:
		if !missing || !event.Release {
			s.risk(event, e)
		}
	case *ipc.SafetyEvent:
		if !missing || event.Command != ipc.SafetyUnfreeze {
			s.safety(event, e)
		}
	}
}

func (s *State) risk(r *ipc.RiskEvent, e *Effects) {
	id := "risk/" + r.RestrictID
	if r.Release {
		s.lift(id)
		e.note(guard.Fine, ipc.ReasonConditionMet, id)
		return
	}
	s.impose(gate.Held{ID: id, Origin: gate.OriginRisk, Restriction: r.Restriction, Reason: ipc.ReasonRiskRestriction,
		Release: gate.ReleaseManual, Since: s.CoreTS})
	e.note(guard.Degrade, ipc.ReasonRiskRestriction, id)
}

// safety obeys E. Cancel-all and hedge-to-flat are obligations; a freeze stops those too.
func (s *State) safety(c *ipc.SafetyEvent, e *Effects) {
	switch c.Command {
	case ipc.SafetyUnfreeze:
		s.lift("safety")
		s.hasten()
		e.note(guard.Fine, ipc.ReasonConditionMet, "safety")
		return
	case ipc.SafetyHalt:
		s.halt(ipc.ReasonSafetyHalt, e)
		return
	}
	switch c.Command {
	case ipc.SafetyCancelAll:
		s.undertake(gate.CancelAll, gate.OriginSafety, ipc.ReasonSafetyCancelAll, e)
		return
	case ipc.SafetyHedgeToFlat:
		s.undertake(gate.HedgeToFlat, gate.OriginSafety, ipc.ReasonSafetyHedgeToFlat, e)
		return
	}
	reason := ipc.ReasonSafetyFreeze
	s.impose(gate.Held{ID: "safety", Origin: gate.OriginSafety, Restriction: gate.NoTrade(), Reason: reason,
		Release: gate.ReleaseManual, Since: s.CoreTS})
	e.note(guard.Degrade, reason, "")
}
