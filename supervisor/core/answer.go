package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// answer closes the pending step. An answer to any other step is refused by the shell before it becomes an input.
func (s *State) answer(in *Answer, e *Effects) error {
	if s.Pending == nil || s.Pending.Step != in.Step {
		return fmt.Errorf("an answer to step %d, which is not pending", in.Step)
	}
	p := s.Pending
	s.Pending = nil
	if p.Kind == EventInit {
		s.InitFailed = in.Outcome == Killed || in.Outcome == Faulted
	}
	if in.Outcome == Killed {
		return s.killed(p, in.Reason, e)
	}
	if p.Kind == ipc.KindRecovered && in.Outcome != Faulted {
		s.recovered(in.Outcome, "", e)
	}
	if in.Outcome == Applied && len(in.Body) == 0 && in.Decoded == nil {
		return nil // by far the most frequent answer
	}
	a := in.Decoded
	switch {
	case a != nil:
	case len(in.Body) == 0:
		a = &ipc.Answer{Step: in.Step}
	default:
		var err error
		if a, err = ipc.DecodeAnswer(in.Body); err != nil {
			return fmt.Errorf("answer to step %d: %w", in.Step, err)
		}
	}
	s.timers(a.Timers, e)
	s.telemetry(a.Telemetry, e)
	if a.Updates != nil && a.Updates.Checkpoint {
		e.Checkpoint = true
	}
	var err error
	switch in.Outcome {
	case Applied:
		err = s.applied(p, a, e)
	case Late:
		err = errors.Join(s.discard(p.Step, a.Intents, ipc.ReasonAnswerLate, e), s.forgo(p, a.Compute, ipc.ReasonAnswerLate, e))
		s.climb(&s.Timeouts, s.params.Timeouts, ipc.ReasonBreakerTimeouts, e)
	case Faulted:
		err = s.faulted(p, a, e)
	default:
		err = fmt.Errorf("answer to step %d: outcome %d is unknown", in.Step, in.Outcome)
	}
	e.Urgent = e.Urgent || len(e.Intents) > 0 || len(e.Compute) > 0
	return err
}

func (s *State) applied(p *Pending, a *ipc.Answer, e *Effects) error {
	for i, intent := range a.Intents {
		if err := s.judge(p, uint32(i), intent, e); err != nil {
			return err
		}
	}
	return s.request(p, a.Compute, e)
}

// FaultReason tells an exception from the other faults.
func FaultReason(f *ipc.Fault) ipc.ReasonCode {
	if f != nil && f.Kind == "exception" {
		return ipc.ReasonStrategyException
	}
	return ipc.ReasonStrategyFault
}

func (s *State) faulted(p *Pending, a *ipc.Answer, e *Effects) error {
	kind, reason := "unknown", FaultReason(a.Fault)
	if a.Fault != nil {
		kind = a.Fault.Kind
	}
	e.note(guard.Warn, reason, fmt.Sprintf("step %d: %s", p.Step, kind))
	if limit, ok := limitOf(a.Fault); ok {
		s.violate(limit, fmt.Sprintf("step %d: %s", p.Step, a.Fault.Message), e)
	}
	if err := errors.Join(s.discard(p.Step, a.Intents, reason, e), s.forgo(p, a.Compute, reason, e)); err != nil {
		return err
	}
	if p.Kind == EventInit {
		s.halt(ipc.ReasonInitFailed, e)
		return nil
	}
	if p.Kind == ipc.KindRecovered {
		s.recovered(Faulted, reason, e)
		return nil
	}
	s.climb(&s.Faults, s.params.Faults, ipc.ReasonBreakerFaults, e)
	return nil
}

// judge puts one intent before the gate and begins to follow it when it may go on.
func (s *State) judge(p *Pending, ordinal uint32, intent *ipc.Intent, e *Effects) error {
	v, err := s.gate.Judge(gate.Request{Intent: intent, Step: p.Step, Ordinal: ordinal, Mode: s.Mode(), CoreTS: s.CoreTS,
		StepTS: p.CoreTS, Init: p.Kind == EventInit})
	if err != nil {
		return fmt.Errorf("step %d intent %d: %w", p.Step, ordinal, err)
	}
	row := IntentRow{Key: s.rowKey(p.Step, ordinal, intent, v.Permitted()), Step: p.Step, Ordinal: ordinal, Kind: intent.Kind(), Verdict: v,
		Asked: intent, Epoch: s.Epoch}
	if !v.Permitted() {
		e.Intents = append(e.Intents, row)
		if v.Reason != ipc.ReasonKeyDuplicate && v.Reason != ipc.ReasonKeyConflict { // the first intent under that key stands
			s.notify(p.Step, intent.Meta.Key, v.Reason)
		}
		s.refused(v.Reason, e)
		s.tell(v.Reason, fmt.Sprintf("step %d intent %d (%s): %s", p.Step, ordinal, intent.Kind(), v.Detail), e)
		if v.Conflict {
			s.climb(&s.Faults, s.params.Faults, ipc.ReasonKeyConflict, e)
		}
		return nil
	}
	row.ValidCore = v.ValidUntil
	row.ValidWall = p.ProcessedTS + (v.ValidUntil - s.CoreTS) // a proposal may end before the tolerable delay does
	e.Intents = append(e.Intents, row)
	for _, c := range v.Changes {
		e.note(guard.Fine, c.Reason, fmt.Sprintf("step %d intent %d: %s %s → %s", p.Step, ordinal, c.Field, c.Before, c.After))
	}
	if intent.Kind() == ipc.IntentNoOp {
		return nil // recorded; there is nothing in it for I to do
	}
	t := &gate.Tracked{Key: intent.Meta.Key, Step: p.Step, Ordinal: ordinal, InputNo: s.InputNo, Epoch: s.Epoch, Digest: v.Digest,
		ValidCore: row.ValidCore, ValidWall: row.ValidWall, SizeFactor: s.mode.SizeFactor, Proposed: v.Proposed, Taken: v.Taken, Intent: v.Intent}
	s.gate.Book.Track(t)
	s.setStatus(t, ipc.StatusStaged, "", e)
	if !s.params.ExternalApproval {
		s.setStatus(t, ipc.StatusApproved, "", e)
	}
	return nil
}

// discard records the intents of an answer that came too late or with a fault: they will never be sent.
func (s *State) discard(step ipc.Step, intents []*ipc.Intent, reason ipc.ReasonCode, e *Effects) error {
	if len(intents) == 0 {
		return nil
	}
	for i, intent := range intents {
		s.notify(step, intent.Meta.Key, reason)
		digest, err := ipc.IntentDigest(intent)
		if err != nil {
			return fmt.Errorf("step %d intent %d: %w", step, i, err)
		}
		e.Intents = append(e.Intents, IntentRow{Key: s.rowKey(step, uint32(i), intent, false), Step: step, Ordinal: uint32(i), Kind: intent.Kind(), Asked: intent,
			Epoch: s.Epoch, Verdict: gate.Verdict{Outcome: gate.Late, Reason: reason, RequestDigest: digest}})
	}
	e.note(guard.Warn, reason, fmt.Sprintf("step %d: %d intents discarded", step, len(intents)))
	return nil
}

// refused counts a refusal. One that the mode is the cause of does not impose no_trade again: a breaker would renew itself for as long as the
// strategy asks. It halts all the same when the strategy asks on and on without time passing.
func (s *State) refused(reason ipc.ReasonCode, e *Effects) {
	switch reason {
	case ipc.ReasonModeNoTrade, ipc.ReasonModeReduceOnly, ipc.ReasonModeLimitOnly, ipc.ReasonSizeReduced, s.gate.Book.Unknown():
		if s.Refusals.Observe(s.params.Refusals, s.CoreTS) == guard.Halt {
			s.halt(ipc.ReasonBreakerIntents, e)
		}
	default:
		s.climb(&s.Refusals, s.params.Refusals, ipc.ReasonBreakerIntents, e)
	}
}

// rowKey is the key of an intent's row. What is not going to be sent is filed under its step and ordinal: the key that it carries may be
// anything, also that of an order which stands.
func (s *State) rowKey(step ipc.Step, ordinal uint32, intent *ipc.Intent, permitted bool) ipc.Key {
	if permitted {
		return intent.Meta.Key
	}
	return ipc.Owner{Address: s.Address, Lineage: s.Lineage}.StepKey(step, ordinal)
}

// notify puts into the queue that an intent will not be acted on: a strategy never believes in an order that was never sent. Notices of
// one step and one reason are one event.
func (s *State) notify(step ipc.Step, key ipc.Key, reason ipc.ReasonCode) {
	if n := len(s.discarded); n > 0 {
		if last := &s.discarded[n-1]; last.DiscardedStep == step && last.Reason == reason {
			last.Keys = append(last.Keys, key)
			return
		}
	}
	s.discarded = append(s.discarded, ipc.IntentsDiscarded{DiscardedStep: step, Keys: []ipc.Key{key}, Reason: reason})
}

// enqueueDiscarded moves the notices of this input into the queue.
func (s *State) enqueueDiscarded() error {
	for i := range s.discarded {
		if err := s.enqueue(&s.discarded[i]); err != nil {
			return err
		}
	}
	s.discarded = s.discarded[:0]
	return nil
}

// killed handles a delivery that took the runner down: the strategy learns of it, unless it was one that nobody may miss.
func (s *State) killed(p *Pending, reason ipc.ReasonCode, e *Effects) error {
	e.Restart, e.Urgent = reason, true
	s.tell(reason, fmt.Sprintf("step %d", p.Step), e)
	if p.Kind == EventInit {
		s.halt(ipc.ReasonInitFailed, e)
		return nil
	}
	if p.Kind == ipc.KindRecovered { // the next runner gets one of its own
		s.climb(&s.Kills, s.params.Kills, ipc.ReasonRunnerRestartsExhausted, e)
		return nil
	}
	if err := s.enqueue(&ipc.EventSkipped{SkippedStep: p.Step, SkippedKind: p.Kind, Reason: reason}); err != nil {
		return err
	}
	e.note(guard.Warn, ipc.ReasonPoisonEvent, fmt.Sprintf("step %d", p.Step))
	switch p.Kind {
	case ipc.KindExecution, ipc.KindExecutionSnapshot, ipc.KindRisk, ipc.KindSafety:
		s.halt(ipc.ReasonExecutionSkipped, e)
	default:
		s.climb(&s.Kills, s.params.Kills, ipc.ReasonRunnerRestartsExhausted, e)
	}
	return nil
}

// enqueue puts one of the core's own notices behind everything that the strategy has to see.
func (s *State) enqueue(event ipc.Event) error {
	bytes, err := ipc.AppendEvent(nil, event)
	if err != nil {
		return fmt.Errorf("writing a notice for the strategy: %w", err)
	}
	s.Queue = append(s.Queue, Queued{Event: bytes})
	return nil
}

func (s *State) telemetry(hints []ipc.Telemetry, e *Effects) {
	for _, h := range hints {
		if !slices.Contains(s.params.TelemetryNames, h.Name) {
			s.violate(ipc.ReasonTelemetryUndeclared, h.Name, e)
			continue
		}
		e.Telemetry = append(e.Telemetry, h)
	}
}
