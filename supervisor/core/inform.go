package core

import (
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// Inform says that a runner was brought up on the state of a checkpoint without a replay (RS-5): what happened since is not in the
// strategy's memory, and Event tells it.
type Inform struct {
	At
	Step  ipc.Step // of the checkpoint; 0 = there was none, and the strategy began anew
	Event []byte   // encoded ipc.Recovered
}

// InputKind names the input in the log.
func (*Inform) InputKind() InputKind { return KindInform }

// Recovery is what an informed strategy must see to the end of before it may increase risk.
type Recovery struct {
	Keys     []ipc.Key // intents that had no final status
	Answered bool      // on_recovered has answered
}

// recoveryID names the restriction of a recovery.
const recoveryID = "recovery"

// Began reports whether on_init has been answered, so that a new runner has something to be brought to.
func (s *State) Began() bool {
	return s.StepNo > 0 && !s.InitFailed && (s.Pending == nil || s.Pending.Kind != EventInit)
}

// Informs reports whether a runner of this instance is informed instead of replayed.
func (s *State) Informs() bool { return s.params.Inform }

// RecoveredEvent makes the event of an Inform: positions and what is open now, and what became of the intents since the checkpoint.
func (s *State) RecoveredEvent(since []ipc.OpenIntent) ([]byte, error) {
	r := &ipc.Recovered{Positions: s.gate.Book.Positions(), IntentsSinceCheckpoint: since}
	for _, t := range s.gate.Book.Open() {
		r.Open = append(r.Open, ipc.OpenIntent{Key: t.Key, Status: t.Status, Intent: t.Intent})
	}
	event, err := ipc.AppendEvent(nil, r)
	if err != nil {
		return nil, fmt.Errorf("%s: writing what happened since the checkpoint: %w", s.Address, err)
	}
	return event, nil
}

// inform puts the Recovered event in front of everything that waits for the strategy. Reports that it contains are not delivered after it:
// a strategy that adds fills up would count them twice.
func (s *State) inform(in *Inform, e *Effects) error {
	if !s.Began() {
		return fmt.Errorf("an inform after step %d, before on_init was answered", s.StepNo)
	}
	if kind, err := ipc.PeekEventKind(in.Event); err != nil || kind != ipc.KindRecovered {
		return fmt.Errorf("an inform with an event of kind %d: %w", kind, err)
	}
	queue := []Queued{{Event: in.Event}}
	if p := s.Pending; p != nil { // delivered to a runner that is gone, and never answered
		s.Pending = nil
		if err := s.again(p, &queue); err != nil {
			return err
		}
	}
	contained := 0
	for _, q := range s.Queue {
		kind, err := ipc.PeekEventKind(q.Event)
		switch {
		case err != nil:
			return fmt.Errorf("the queue: %w", err)
		case kind == ipc.KindRecovered:
		case kind == ipc.KindExecution || kind == ipc.KindExecutionSnapshot:
			contained++
		default:
			queue = append(queue, q)
		}
	}
	s.Queue = queue
	e.note(guard.Fine, ipc.ReasonRecovering, fmt.Sprintf("on_recovered takes the place of a replay after step %d; it contains %d reports that waited", in.Step, contained))
	s.recover()
	e.Urgent = true
	return nil
}

// again keeps a delivery that was lost with its runner for the new one, unless Recovered, or the configuration that a new runner gets, contains it.
func (s *State) again(p *Pending, queue *[]Queued) error {
	switch p.Kind {
	case ipc.KindExecution, ipc.KindExecutionSnapshot, ipc.KindRecovered, ipc.KindConfigUpdate:
	case ipc.KindTimer:
		event, err := ipc.DecodeEvent(p.Event)
		if err != nil {
			return fmt.Errorf("step %d: %w", p.Step, err)
		}
		timer, ok := event.(*ipc.Timer)
		if !ok {
			return fmt.Errorf("step %d: a timer's event is %T", p.Step, event)
		}
		if i, found := s.findTimer(timer.TimerID); !found {
			s.Timers = slices.Insert(s.Timers, i, Timer{ID: timer.TimerID, DueTS: timer.DueTS})
		}
	default:
		*queue = append(*queue, Queued{Event: p.Event, TraceID: p.TraceID})
	}
	return nil
}

// recover forbids to increase risk until the intents that are open now have their final status and on_recovered has answered.
func (s *State) recover() {
	r := &Recovery{}
	for _, t := range s.gate.Book.Open() {
		if !t.Status.Terminal() {
			r.Keys = append(r.Keys, t.Key)
		}
	}
	s.Recovery = r
	s.impose(gate.Held{ID: recoveryID, Origin: gate.OriginRecovery, Restriction: gate.ReduceOnly(), Reason: ipc.ReasonRecovering,
		Release: gate.ReleaseCondition, Since: s.CoreTS})
}

// recovered takes the outcome of on_recovered. One that failed would go on from a state that does not know what happened: it halts, and a
// resume informs a new runner.
func (s *State) recovered(outcome Outcome, reason ipc.ReasonCode, e *Effects) {
	if outcome == Faulted {
		s.halt(reason, e)
		return
	}
	if s.Recovery != nil {
		s.Recovery.Answered = true
	}
	e.Checkpoint = true // the next runner need not hear of it all again
}

// endRecovery lifts the restriction of a recovery once its conditions are met.
func (s *State) endRecovery(e *Effects) {
	r := s.Recovery
	if r == nil || !r.Answered {
		return
	}
	r.Keys = slices.DeleteFunc(r.Keys, func(k ipc.Key) bool {
		t, open := s.gate.Book.Lookup(k)
		return !open || t.Status.Terminal()
	})
	if len(r.Keys) > 0 {
		return
	}
	s.Recovery = nil
	if s.lift(recoveryID) {
		e.note(guard.Fine, ipc.ReasonConditionMet, recoveryID)
	}
}
