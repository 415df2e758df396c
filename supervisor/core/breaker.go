package core

import (
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// BreakerMode is what an instance may still do while its breaker is open (CB-2).
type BreakerMode string

// The degraded modes. An obligation goes with no_trade for the strategy.
const (
	BreakerNoTrade     BreakerMode = "no_trade" // the default
	BreakerReduceOnly  BreakerMode = "reduce_only"
	BreakerCancelAll   BreakerMode = "cancel_all"
	BreakerHedgeToFlat BreakerMode = "hedge_to_flat"
)

// BreakerRecovery is how an open breaker closes (CB-3).
type BreakerRecovery string

// The ways of recovery. After cooldown and manual the instance is first mute: it runs and is recorded, and sends nothing, until it has made
// CleanSteps steps without a fault. With condition those steps end the degraded mode itself.
const (
	RecoverCooldown  BreakerRecovery = "cooldown" // the default
	RecoverManual    BreakerRecovery = "manual"   // by an operator's resume
	RecoverCondition BreakerRecovery = "condition"
)

// Breaker says what happens when a ladder reaches degrade. The zero Breaker forbids trading for the cooldown and then permits it again.
type Breaker struct {
	Mode       BreakerMode     `json:",omitempty"`
	Recovery   BreakerRecovery `json:",omitempty"`
	CleanSteps int             `json:",omitempty"`
}

// muteID names the restriction of a breaker that is being tried again.
const muteID = "mute"

// climb counts one outcome and acts on the rung that it reaches (SB-7, CB-1, CB-4).
func (s *State) climb(l *guard.Ladder, rule guard.Rule, reason ipc.ReasonCode, e *Effects) {
	s.reach(l.Observe(rule, s.CoreTS), reason, "", e)
}

// reach acts on a rung.
func (s *State) reach(level guard.Level, reason ipc.ReasonCode, detail string, e *Effects) {
	switch level {
	case guard.Warn:
		e.note(level, reason, detail)
	case guard.Degrade:
		s.open(reason, e)
		e.note(level, reason, detail)
	case guard.Halt:
		s.halt(reason, e)
		e.Notes[len(e.Notes)-1].Detail = detail
	}
}

// open opens the breaker, or keeps it open.
func (s *State) open(reason ipc.ReasonCode, e *Effects) {
	b := s.params.Breaker
	h := gate.Held{ID: "breaker/" + string(reason), Origin: gate.OriginBreaker, Restriction: gate.NoTrade(), Reason: reason,
		Release: gate.ReleaseCooldown, Since: s.CoreTS, Until: s.CoreTS + s.params.Cooldown}
	if kind, ok := guard.KindOf(reason); ok && (kind == guard.SLOLatency || kind == guard.SLODrops || kind == guard.SLOCPU) {
		h.ID, h.Origin, h.Release, h.Until = SLOHeld(kind), gate.OriginSLO, gate.ReleaseCondition, 0 // until a window keeps the promise
	}
	switch {
	case h.Origin == gate.OriginSLO:
	case b.Recovery == RecoverManual:
		h.Release, h.Until = gate.ReleaseManual, 0
	case b.Recovery == RecoverCondition:
		h.Release, h.Until = gate.ReleaseCondition, 0
	}
	if b.Mode == BreakerReduceOnly {
		h.Restriction = gate.ReduceOnly()
	}
	opened := s.find(h.ID) == nil
	s.impose(h)
	s.lift(muteID) // a trial that failed
	s.Clean = -1   // the step that opened it is not clean
	switch {
	case !opened:
	case b.Mode == BreakerCancelAll:
		s.undertake(gate.CancelAll, gate.OriginBreaker, reason, e)
	case b.Mode == BreakerHedgeToFlat:
		s.undertake(gate.HedgeToFlat, gate.OriginBreaker, reason, e)
	}
}

// find returns a restriction in force; nil = none of that name.
func (s *State) find(id string) *gate.Held {
	for i := range s.Held {
		if s.Held[i].ID == id {
			return &s.Held[i]
		}
	}
	return nil
}

// onTrial reports whether a restriction ends with enough clean steps.
func onTrial(h *gate.Held) bool {
	return h.Origin == gate.OriginBreaker && h.Release == gate.ReleaseCondition && h.ID != obligationID
}

// shut ends an open breaker's degraded mode: the instance is mute before it may trade.
func (s *State) shut(id string, e *Effects) {
	held := s.find(id)
	ours := held != nil && (held.Origin == gate.OriginBreaker || held.Origin == gate.OriginSLO)
	s.lift(id)
	if !ours || s.params.Breaker.CleanSteps <= 0 || s.Halted != "" {
		return
	}
	s.Clean = 0
	s.impose(gate.Held{ID: muteID, Origin: gate.OriginBreaker, Restriction: gate.NoTrade(), Reason: ipc.ReasonMute, Release: gate.ReleaseCondition, Since: s.CoreTS})
	e.note(guard.Warn, ipc.ReasonMute, fmt.Sprintf("%s is being tried again: %d clean steps are to come", id, s.params.Breaker.CleanSteps))
}

// tried takes the outcome of a step into the trial of a breaker. What the strategy was late with, or failed in, begins it anew.
func (s *State) tried(outcome Outcome, e *Effects) {
	if !slices.ContainsFunc(s.Held, func(h gate.Held) bool { return onTrial(&h) }) {
		return
	}
	if outcome != Applied {
		s.Clean = 0
		return
	}
	if s.Clean++; s.Clean < s.params.Breaker.CleanSteps {
		return
	}
	s.Clean = 0
	for i := 0; i < len(s.Held); {
		if h := s.Held[i]; onTrial(&h) {
			s.lift(h.ID)
			e.note(guard.Fine, ipc.ReasonConditionMet, h.ID)
			continue
		}
		i++
	}
}

// resumeBreakers carries out an operator's resume: what waited for it is tried again (CB-3).
func (s *State) resumeBreakers(e *Effects) {
	for i := 0; i < len(s.Held); {
		if h := s.Held[i]; h.Origin == gate.OriginBreaker && h.Release == gate.ReleaseManual {
			s.shut(h.ID, e)
			i = 0
			continue
		}
		i++
	}
}
