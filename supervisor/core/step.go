package core

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// Step takes one input and returns what the shell must do. The only errors are inputs that contradict the log's own rules (a delivery
// while another is pending, an event that does not decode): a defect of the shell or a corrupt log. The State is then not to be used
// any more.
func (s *State) Step(in Input) (*Effects, error) {
	s.InputNo++
	e := &s.effects
	e.reset(s.InputNo)
	s.advance(in.coreTS(), e)
	var err error
	switch in := in.(type) {
	case *Start:
		err = s.start(in, e)
	case *Delivery:
		if err = s.deliver(in); err == nil && s.params.judgesQuality() {
			err = s.quality(in, e)
		}
	case *Answer:
		err = s.answer(in, e)
		s.tried(in.Outcome, e)
	case *Arrival:
		err = s.arrive(in, e)
	case *Status:
		s.status(in, e)
	case *Approval:
		s.approval(in, e)
	case *Release:
		s.release(in, e)
	case *Guard:
		s.guard(in, e)
	case *Command:
		err = s.command(in, e)
	case *Config:
		s.NextInit = in.Init
		s.Queue = append(s.Queue, Queued{Event: in.Event})
	case *Tick:
		s.expire(in.WallTS, e)
		err = s.dropStale(e)
	case *Inform:
		err = s.inform(in, e)
	case *Computed:
		err = s.computed(in, e)
	case *Violation:
		err = s.violation(in, e)
	default:
		err = fmt.Errorf("input kind %d is unknown", in.InputKind())
	}
	if err == nil {
		s.endRecovery(e)
		if s.Obligation != nil {
			err = s.oblige(e)
		}
	}
	if err == nil {
		err = s.enqueueDiscarded()
	}
	if err != nil {
		return nil, fmt.Errorf("%s input %d: %w", s.Address, s.InputNo, err)
	}
	return e, nil
}

// advance moves the core's time, never backwards, and ends the restrictions whose cooldown is over.
func (s *State) advance(now ipc.Nanos, e *Effects) {
	s.CoreTS = max(s.CoreTS, now)
	for i := 0; i < len(s.Held); {
		h := &s.Held[i]
		if h.Release == gate.ReleaseCooldown && h.Until <= s.CoreTS {
			e.note(guard.Fine, ipc.ReasonCooldownOver, h.ID)
			s.shut(h.ID, e)
			i = 0
			continue
		}
		i++
	}
}

func (s *State) start(in *Start, e *Effects) error {
	if err := s.setParams(in.Params); err != nil {
		return err
	}
	s.WallAhead = in.WallTS - s.CoreTS
	s.Epoch, s.RunID, s.PackageHash = in.Epoch, in.RunID, in.PackageHash
	if s.gate.RunID != in.RunID {
		s.gate.RunID, s.gate.Run = in.RunID, 0
	}
	for _, t := range s.gate.Book.Open() {
		// What the log calls approved may have been sent: offers are not awaited. Nothing is sent again before I was asked.
		t.Unsettled = t.Status == ipc.StatusApproved || t.Status == ipc.StatusOffered
		t.Again, t.Asked = false, false
	}
	if s.params.Inform && s.Began() {
		s.recover() // before I is asked: what the strategy will not remember may not increase risk
	}
	if err := s.loseComputes(e); err != nil {
		return err
	}
	s.dropPromises(e)
	if s.StepNo == 0 || s.InitFailed || in.ConfigHash == s.ConfigHash { // an on_init that failed gets what was mended
		s.ConfigHash, s.Init = in.ConfigHash, in.Init
		return nil
	}
	// The strategy knows the old configuration; it hears of the new one as of any change (HR-1).
	m, err := ipc.DecodeMessage(in.Init, ipc.FromAnyone)
	if err != nil {
		return fmt.Errorf("the init of the start: %w", err)
	}
	init, ok := m.(*ipc.Init)
	if !ok {
		return fmt.Errorf("the init of the start is a %s", m.Type())
	}
	s.NextInit = in.Init
	return s.enqueue(&ipc.ConfigUpdate{Config: init.Config, ConfigHash: in.ConfigHash, Who: "msup", Why: "restart", ChangedTS: in.WallTS})
}

func (s *State) deliver(in *Delivery) error {
	if s.Pending != nil {
		return fmt.Errorf("step %d is delivered while step %d awaits its answer", in.Step, s.Pending.Step)
	}
	if in.Step != s.StepNo+1 {
		return fmt.Errorf("step %d is delivered after step %d", in.Step, s.StepNo)
	}
	kind := EventInit
	if len(in.Event) > 0 {
		k, err := ipc.PeekEventKind(in.Event)
		if err != nil {
			return fmt.Errorf("step %d: %w", in.Step, err)
		}
		kind = k
	}
	if in.Queued {
		if len(s.Queue) == 0 || !bytes.Equal(s.Queue[0].Event, in.Event) {
			return fmt.Errorf("step %d takes from the queue what is not at its head", in.Step)
		}
		s.Queue = slices.Delete(s.Queue, 0, 1)
	}
	if kind == ipc.KindTimer || kind == ipc.KindConfigUpdate {
		event, err := ipc.DecodeEvent(in.Event)
		if err != nil {
			return fmt.Errorf("step %d: %w", in.Step, err)
		}
		switch event := event.(type) {
		case *ipc.Timer:
			i, found := s.findTimer(event.TimerID)
			if !found || s.Timers[i].DueTS != event.DueTS {
				return fmt.Errorf("step %d delivers timer %q of %d, which is not set", in.Step, event.TimerID, event.DueTS)
			}
			s.cancelTimer(event.TimerID)
		case *ipc.ConfigUpdate:
			s.ConfigHash = event.ConfigHash
			if s.NextInit != nil { // of two changes that wait, the first delivery makes the newer one what a new runner gets
				s.Init, s.NextInit = s.NextInit, nil
			}
		}
	}
	if kind != EventInit {
		if err := s.took(in.Event); err != nil {
			return fmt.Errorf("step %d: %w", in.Step, err)
		}
	}
	if kind == ipc.KindTimer {
		s.Burst.step(in.ProcessedTS)
	}
	s.StepNo = in.Step
	s.ProcessedTS = max(s.ProcessedTS, in.ProcessedTS)
	s.Pending = &Pending{Step: in.Step, Kind: kind, CoreTS: s.CoreTS, ProcessedTS: in.ProcessedTS, TraceID: in.TraceID, Event: in.Event}
	return nil
}

// EventInit is the kind of the first step, which delivers no event but on_init.
const EventInit ipc.EventKind = 0

func (s *State) status(in *Status, e *Effects) {
	t, ok := s.gate.Book.Lookup(in.Key)
	if !ok {
		e.note(guard.Warn, ipc.ReasonTargetUnknown, "I reports on key "+string(in.Key))
		return
	}
	s.heard(t, in.Status)
	if in.Digest != nil && *in.Digest != t.Digest {
		e.note(guard.Halt, ipc.ReasonKeyConflict, "I holds another intent under key "+string(in.Key))
		s.halt(ipc.ReasonKeyConflict, e)
		return
	}
	switch {
	case in.Status == ipc.StatusNotSeen:
		s.notSeen(t, e)
		return
	case in.Status == t.Status:
		t.Unsettled = false // I says again what is known
		return
	case !s.setStatus(t, in.Status, in.Reason, e):
		e.note(guard.Warn, ipc.ReasonSinkRefused, fmt.Sprintf("I reports %s for key %s, which is %s", in.Status, in.Key, t.Status))
		return
	}
	t.Unsettled, t.Again, e.Urgent = false, false, true
	if in.Status == ipc.StatusRejected {
		s.climb(&s.Rejects, s.params.Rejects, ipc.ReasonBreakerRejects, e)
	}
}

// notSeen takes I's word that it does not hold an intent which may have been sent before a restart. It is no word on anything else: an
// answer that crossed with an offer of this process says nothing.
func (s *State) notSeen(t *gate.Tracked, e *Effects) {
	if !t.Unsettled {
		e.note(guard.Warn, ipc.ReasonTargetUnknown, "I has not seen key "+string(t.Key))
		return
	}
	t.Unsettled, t.Again = false, t.Status == ipc.StatusOffered
}

// setStatus appends a transition, when the table of statuses allows it.
func (s *State) setStatus(t *gate.Tracked, next ipc.Status, reason ipc.ReasonCode, e *Effects) bool {
	if !s.gate.Book.SetStatus(t.Key, next, s.CoreTS) {
		return false
	}
	e.Statuses = append(e.Statuses, StatusRow{Key: t.Key, Status: next, Reason: reason, CoreTS: s.CoreTS, Epoch: s.Epoch})
	if next.Terminal() && next != ipc.StatusCommitted && t.Obligation == 0 {
		s.notify(t.Step, t.Key, cmp.Or(reason, ipc.ReasonSinkRefused))
	}
	return true
}

func (s *State) approval(in *Approval, e *Effects) {
	t, ok := s.gate.Book.Lookup(in.Key)
	if !ok || t.Status != ipc.StatusStaged {
		e.note(guard.Warn, ipc.ReasonTargetUnknown, "approval of key "+string(in.Key)+", which is not staged")
		return
	}
	if in.Approved {
		t.InputNo = s.InputNo // the approval itself must be durable before the offer
		s.setStatus(t, ipc.StatusApproved, in.Reason, e)
	} else {
		s.setStatus(t, ipc.StatusWithdrawn, ipc.ReasonApprovalDenied, e)
	}
	e.Urgent = true
}

// release offers what has become durable, after looking at restrictions and validity once more (design section 6). What may have been
// sent before a restart waits until I has been asked: never a blind re-send.
func (s *State) release(in *Release, e *Effects) {
	s.Released, s.WallAhead = max(s.Released, in.Upto), in.WallTS-s.CoreTS
	for _, t := range s.gate.Book.Open() {
		if t.InputNo > s.Released || t.Unsettled {
			continue
		}
		switch {
		case t.Status == ipc.StatusStaged && !t.Asked:
			t.Asked = true
			e.Staged = append(e.Staged, t)
		case t.Status == ipc.StatusApproved:
			s.offer(t, in.WallTS, e)
		case t.Status == ipc.StatusOffered && t.Again:
			t.Again = false
			s.offer(t, in.WallTS, e)
		}
	}
}

// offer hands an intent to I, or withdraws it. One that was offered before can only be offered again, or wait for I to bar its key.
func (s *State) offer(t *gate.Tracked, wall ipc.Nanos, e *Effects) {
	next, reason, why := s.gate.Recheck(t, s.Mode(), s.CoreTS, wall)
	if next == ipc.StatusOffered {
		e.Offers = append(e.Offers, t)
	} else {
		e.note(guard.Warn, reason, fmt.Sprintf("key %s is not offered: %s", t.Key, why))
	}
	if t.Status == ipc.StatusOffered {
		t.Unsettled = next != ipc.StatusOffered
		return
	}
	s.setStatus(t, next, reason, e)
}

// Recheck says what a release at this moment would make of an intent: offered, withdrawn or expired.
func (s *State) Recheck(t *gate.Tracked, coreTS, wall ipc.Nanos) ipc.Status {
	next, _, _ := s.gate.Recheck(t, s.Mode(), coreTS, wall)
	return next
}

// expire ends intents whose approval, or release, did not come in time. One that may have been sent is for I to end.
func (s *State) expire(wall ipc.Nanos, e *Effects) {
	s.WallAhead = wall - s.CoreTS
	for _, t := range s.gate.Book.Open() {
		if !t.Expired(s.CoreTS, wall) {
			continue
		}
		switch {
		case t.Status == ipc.StatusStaged:
			s.setStatus(t, ipc.StatusExpired, ipc.ReasonApprovalTimeout, e)
		case t.Status == ipc.StatusApproved && !t.Unsettled:
			s.setStatus(t, ipc.StatusExpired, ipc.ReasonValidUntilPassed, e)
		}
	}
}

// Deadline is the core time at which something ends although no input comes: a staged or unsent intent, or the pause of an obligation. False when there is nothing.
func (s *State) Deadline() (ipc.Nanos, bool) {
	least, any := s.retryAt()
	for _, t := range s.gate.Book.All() {
		if t.Status == ipc.StatusStaged || t.Status == ipc.StatusApproved && !t.Unsettled {
			if !any || t.ValidCore+1 < least {
				least, any = t.ValidCore+1, true
			}
		}
	}
	return least, any
}

func (s *State) guard(in *Guard, e *Effects) {
	if in.Lift {
		s.kept(in.Held.ID)
		switch held := s.find(in.Held.ID); {
		case held == nil:
		case strings.HasPrefix(held.ID, "slo/"):
			e.note(guard.Fine, ipc.ReasonConditionMet, in.Held.ID)
			s.shut(in.Held.ID, e)
		default:
			s.lift(in.Held.ID)
			e.note(guard.Fine, ipc.ReasonConditionMet, in.Held.ID)
		}
		return
	}
	s.impose(in.Held)
	e.note(guard.Degrade, in.Held.Reason, in.Held.ID)
}

func (s *State) command(in *Command, e *Effects) error {
	e.Urgent = true
	s.remember(in)
	switch in.Op {
	case OpHalt:
		s.halt(cmp.Or(in.Reason, ipc.ReasonOperatorHalt), e)
	case OpResume:
		if s.Halted != "" {
			if s.Halted == ipc.ReasonSinkForgot {
				s.forgetSink(e)
			}
			s.Halted = ""
			for _, l := range []*guard.Ladder{&s.Timeouts, &s.Faults, &s.Kills, &s.Rejects, &s.Refusals, &s.Storms} {
				*l = guard.Ladder{} // a rung that was reached must not halt again at the next observation
			}
			s.Violations = nil
			e.Resume = true
		}
		s.resumeBreakers(e)
		e.note(guard.Fine, ipc.ReasonOperatorResume, in.Who)
	case OpCancelAll, OpHedgeToFlat, OpAbandon:
		s.ordered(in, e)
	case OpReask:
		s.reask()
	case OpBehind:
		s.gate.Book.SetUnknown(ipc.ReasonExecutionGap)
		e.Snapshot = true
		e.note(guard.Degrade, ipc.ReasonExecutionGap, "I has made reports that were not taken here, and does not send them again")
	case OpShutdown:
		return s.enqueue(&ipc.Shutdown{Reason: in.Reason})
	case OpMode:
		if in.Restriction == gate.Unrestricted() {
			s.lift("operator")
		} else {
			s.impose(gate.Held{ID: "operator", Origin: gate.OriginOperator, Restriction: in.Restriction,
				Reason: ipc.ReasonOperatorMode, Release: gate.ReleaseManual, Since: s.CoreTS})
		}
		e.note(guard.Fine, ipc.ReasonOperatorMode, in.Who)
	default:
		return fmt.Errorf("command %d is unknown", in.Op)
	}
	return nil
}

func (s *State) halt(reason ipc.ReasonCode, e *Effects) {
	if s.Halted == "" {
		s.Halted = reason
	}
	e.Halt, e.Restart, e.Urgent = s.Halted, "", true
	e.note(guard.Halt, reason, "")
}
