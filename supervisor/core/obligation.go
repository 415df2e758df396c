package core

import (
	"cmp"
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

const (
	// obligationID names the restriction that an obligation puts on the strategy.
	obligationID = "obligation"
	// ownValid is how long an intent of M's may wait for its offer; then the next attempt begins.
	ownValid = ipc.Nanos(30e9)
	// An order that still stands although its cancel is final, and a position that still stands after a hedge, are tried again after a while
	// that doubles: a venue that is closed or slow must not be flooded. A hedge that was filled in part is followed by the next one soon.
	retryFirst = ipc.Nanos(1e9)
	retryMost  = ipc.Nanos(30e9)
	// ownOrdinal is where the ordinals of M's own intents begin: an answer never has that many.
	ownOrdinal = 1 << 31
)

// undertake begins an obligation, or widens the one that is under way: closing positions begins with canceling orders.
func (s *State) undertake(kind gate.ObligationKind, origin gate.Origin, reason ipc.ReasonCode, e *Effects) {
	e.Urgent = true
	o := s.Obligation
	switch {
	case o == nil:
		s.Obligations++
		o = &gate.Obligation{No: s.Obligations, Kind: kind, Since: s.CoreTS}
		s.Obligation = o
	case kind <= o.Kind:
		e.note(guard.Fine, reason, fmt.Sprintf("obligation %d (%s) is under way", o.No, o.Kind))
		return
	}
	o.Kind, o.Reason, o.Retry = kind, reason, 0
	s.impose(gate.Held{ID: obligationID, Origin: origin, Restriction: gate.NoTrade(), Reason: reason, Release: gate.ReleaseCondition, Since: s.CoreTS})
	e.note(guard.Degrade, reason, fmt.Sprintf("obligation %d: %s", o.No, kind))
}

// abandon ends an obligation that cannot be met: an operator knows why.
func (s *State) abandon(who string, e *Effects) {
	if s.Obligation == nil {
		return
	}
	e.note(guard.Degrade, ipc.ReasonOperatorAbandon, fmt.Sprintf("obligation %d was abandoned by %s", s.Obligation.No, who))
	s.Obligation = nil
	s.lift(obligationID)
}

// oblige does the next thing for the obligation under way, after every input: it needs no runner and no clock of its own.
func (s *State) oblige(e *Effects) error {
	o := s.Obligation
	if o == nil || s.mode.Frozen {
		return nil
	}
	bodies, wait := s.cancels(o, e)
	if len(bodies) == 0 && !wait && o.Kind == gate.HedgeToFlat {
		bodies, wait = s.hedges(o, e)
	}
	switch {
	case len(bodies) > 0:
		return s.attempt(o, bodies, e)
	case wait:
		return nil
	}
	s.Obligation = nil
	if s.lift(obligationID) {
		e.note(guard.Fine, ipc.ReasonConditionMet, fmt.Sprintf("obligation %d: %s is done", o.No, o.Kind))
	}
	return nil
}

// underWay reports whether something of the obligation's last attempt is not final.
func (s *State) underWay(o *gate.Obligation) bool {
	for _, t := range s.gate.Book.All() {
		if t.Obligation == o.No {
			return true
		}
	}
	return false
}

// cancels withdraws what I has never had and returns the cancels of what it has. wait says that something may still trade: also what an earlier
// obligation asked for, which was abandoned meanwhile; a hedge of it is as much an order as the strategy's.
func (s *State) cancels(o *gate.Obligation, e *Effects) (bodies []ipc.IntentBody, wait bool) {
	for _, t := range s.gate.Book.Open() {
		wait = wait || t.Obligation != 0
		switch t.Cancellation() {
		case gate.Withdraw:
			s.setStatus(t, ipc.StatusWithdrawn, o.Reason, e)
			e.Urgent = true
		case gate.AwaitWord:
			wait = true
		case gate.Cancel:
			if wait = true; t.CancelTS <= s.CoreTS && !s.underWay(o) {
				t.CancelTS = s.CoreTS + retryAfter(o.Attempt+1)
				bodies = append(bodies, gate.CancelOf(t))
			}
		}
	}
	return bodies, wait
}

// hedges returns the orders that close what is left when no order of the strategy stands any more.
func (s *State) hedges(o *gate.Obligation, e *Effects) (bodies []ipc.IntentBody, wait bool) {
	if s.gate.Book.Unknown() != "" {
		return nil, true // the shell asks for a snapshot until it comes
	}
	orders, dust := s.gate.Hedges()
	if len(orders) > 0 && s.CoreTS < o.Retry {
		return nil, true
	}
	for _, order := range orders {
		bodies = append(bodies, order)
	}
	if len(bodies) > 0 {
		o.Vain++
		o.Retry = s.CoreTS + retryAfter(o.Vain)
		return bodies, true
	}
	for _, p := range dust {
		e.note(guard.Warn, ipc.ReasonQuantityTooSmall, fmt.Sprintf("obligation %d leaves %s of %s, which is less than can be traded", o.No, p.Quantity, p.Instrument))
	}
	return nil, false
}

// hedged shortens the pause before the next hedge when one of the obligation's orders is filled: the venue is there, only thin.
func (s *State) hedged(x *ipc.Execution) {
	o := s.Obligation
	if t, ok := s.gate.Book.Lookup(x.Key); o != nil && ok && t.Obligation == o.No && x.Report == ipc.ExecFilled {
		o.Vain, o.Retry = 0, min(o.Retry, s.CoreTS+retryFirst)
	}
}

func retryAfter(attempt uint64) ipc.Nanos {
	return min(retryMost, retryFirst<<min(attempt-1, 8))
}

// attempt makes the intents of the next attempt. M approves them itself: who ordered the obligation, or policy, has.
func (s *State) attempt(o *gate.Obligation, bodies []ipc.IntentBody, e *Effects) error {
	o.Attempt++
	a, owner := s.Address, ipc.Owner{Address: s.Address, Lineage: s.Lineage}
	wall := s.CoreTS + s.WallAhead
	for i, body := range bodies {
		intent := &ipc.Intent{Body: body, Meta: ipc.IntentMeta{Bot: a.Bot, Strategy: a.Strategy, StrategyVersion: s.gate.Policy.StrategyVersion,
			Instance: a.Instance, RunID: s.RunID, TraceID: ipc.TraceID(fmt.Sprintf("obligation-%d-%d", o.No, o.Attempt)),
			Key: owner.ObligationKey(o.No, o.Attempt, uint32(i)), RiskContext: &ipc.RiskContext{MaxDelayNS: ownValid}}}
		digest, err := ipc.IntentDigest(intent)
		if err != nil {
			return fmt.Errorf("obligation %d attempt %d: %w", o.No, o.Attempt, err)
		}
		ordinal := uint32(ownOrdinal + s.OwnIntents%ownOrdinal)
		s.OwnIntents++
		v := gate.Verdict{Outcome: gate.Accepted, Reason: o.Reason, Intent: intent, RequestDigest: digest, Digest: digest, ValidUntil: s.CoreTS + ownValid}
		e.Intents = append(e.Intents, IntentRow{Key: intent.Meta.Key, Step: s.StepNo, Ordinal: ordinal, Kind: intent.Kind(), Verdict: v, Asked: intent,
			ValidCore: v.ValidUntil, ValidWall: wall + ownValid, Epoch: s.Epoch, Obligation: o.No})
		t := &gate.Tracked{Key: intent.Meta.Key, Step: s.StepNo, Ordinal: ordinal, InputNo: s.InputNo, Epoch: s.Epoch, Digest: digest,
			ValidCore: v.ValidUntil, ValidWall: wall + ownValid, SizeFactor: gate.One, Intent: intent, Obligation: o.No}
		s.gate.Book.Track(t)
		s.setStatus(t, ipc.StatusStaged, o.Reason, e)
		s.setStatus(t, ipc.StatusApproved, o.Reason, e)
	}
	e.note(guard.Fine, o.Reason, fmt.Sprintf("obligation %d attempt %d: %d intents", o.No, o.Attempt, len(bodies)))
	e.Urgent = true
	return nil
}

// retryAt is when the obligation has something to do although no input comes; false when it waits for a word.
func (s *State) retryAt() (at ipc.Nanos, ok bool) {
	o := s.Obligation
	if o == nil || s.mode.Frozen || s.underWay(o) {
		return 0, false
	}
	if o.Kind == gate.HedgeToFlat && o.Retry > s.CoreTS && s.gate.Book.Unknown() == "" {
		at, ok = o.Retry, true
	}
	for _, t := range s.gate.Book.All() {
		if t.Cancellation() == gate.Cancel && (!ok || t.CancelTS < at) {
			at, ok = t.CancelTS, true
		}
	}
	return at, ok
}

// hasten ends the pauses of an obligation: what a freeze held up begins again at once.
func (s *State) hasten() {
	if s.Obligation == nil {
		return
	}
	s.Obligation.Retry = 0
	for _, t := range s.gate.Book.All() {
		t.CancelTS = 0
	}
}

// ordered undertakes what an operator's command asks for.
func (s *State) ordered(in *Command, e *Effects) {
	switch in.Op {
	case OpCancelAll:
		s.undertake(gate.CancelAll, gate.OriginOperator, cmp.Or(in.Reason, ipc.ReasonOperatorCancelAll), e)
	case OpHedgeToFlat:
		s.undertake(gate.HedgeToFlat, gate.OriginOperator, cmp.Or(in.Reason, ipc.ReasonOperatorHedgeToFlat), e)
	case OpAbandon:
		s.abandon(in.Who, e)
	}
}
