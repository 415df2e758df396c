package gate

import (
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// Origin says who holds a restriction.
type Origin string

// The origins of restrictions (design vocabulary: operator, E/J, breaker, quality, SLO, queue, ledger, recovery).
const (
	OriginOperator Origin = "operator"
	OriginRisk     Origin = "risk"
	OriginSafety   Origin = "safety"
	OriginBreaker  Origin = "breaker"
	OriginQuality  Origin = "quality"
	OriginSLO      Origin = "slo"
	OriginQueue    Origin = "queue"
	OriginLedger   Origin = "ledger"
	OriginRecovery Origin = "recovery"
	OriginCompute  Origin = "compute"
)

// Release says how a restriction ends (CB-3).
type Release uint8

// The release rules.
const (
	ReleaseManual    Release = 1 // only by who imposed it
	ReleaseCooldown  Release = 2 // when core_ts reaches Until
	ReleaseCondition Release = 3 // by the guard that saw its condition met
)

// Held is a restriction in force: what, why, by whom, and how it ends. ID names it, so that it can be replaced and released.
type Held struct {
	ID          string
	Origin      Origin
	Restriction ipc.Restriction
	Reason      ipc.ReasonCode
	Release     Release
	Since       ipc.Nanos // core_ts
	Until       ipc.Nanos // core_ts; for ReleaseCooldown
}

// Mode is the join of all restrictions in force. The zero Mode is not valid: use [Join].
type Mode struct {
	SizeFactor ipc.Decimal
	LimitOnly  bool
	ReduceOnly bool
	NoTrade    bool
	Frozen     bool // by E: M's own obligations stop too
	// Causes hold the reason that each part of the mode comes from: the first held one, in order of ID.
	SizeReason, LimitReason, ReduceReason, TradeReason ipc.ReasonCode
}

// One is the size factor that scales nothing.
var One = ipc.Decimal{M: 1}

// Unrestricted is the mode without any restriction.
func Unrestricted() ipc.Restriction { return ipc.Restriction{SizeFactor: One} }

// NoTrade is the restriction that lets only cancels and messages pass.
func NoTrade() ipc.Restriction { return ipc.Restriction{SizeFactor: One, NoTrade: true} }

// ReduceOnly is the restriction that lets only risk-reducing orders pass.
func ReduceOnly() ipc.Restriction { return ipc.Restriction{SizeFactor: One, ReduceOnly: true} }

// Join computes the mode of the restrictions, whose order does not matter. A size factor outside 0..1 counts as 0: a broken
// restriction restricts more, never less.
func Join(held []Held) Mode {
	m := Mode{SizeFactor: One}
	for i := range held {
		r := &held[i].Restriction
		m.Frozen = m.Frozen || held[i].Origin == OriginSafety && held[i].Reason == ipc.ReasonSafetyFreeze
		factor := r.SizeFactor
		if factor.Sign() < 0 || factor.Cmp(One) > 0 {
			factor = ipc.Decimal{}
		}
		if factor.Cmp(m.SizeFactor) < 0 {
			m.SizeFactor, m.SizeReason = factor, held[i].Reason
		}
		if r.LimitOnly && !m.LimitOnly {
			m.LimitOnly, m.LimitReason = true, held[i].Reason
		}
		if r.ReduceOnly && !m.ReduceOnly {
			m.ReduceOnly, m.ReduceReason = true, held[i].Reason
		}
		if r.NoTrade && !m.NoTrade {
			m.NoTrade, m.TradeReason = true, held[i].Reason
		}
	}
	return m
}

// Restricted reports whether the mode permits less than everything.
func (m Mode) Restricted() bool {
	return m.LimitOnly || m.ReduceOnly || m.NoTrade || m.scales()
}

// scales reports whether the size factor takes something away.
func (m Mode) scales() bool { return m.SizeFactor.Cmp(One) < 0 }

// Impose adds or replaces a restriction by ID and returns the set, sorted by ID.
func Impose(held []Held, h Held) []Held {
	i, found := find(held, h.ID)
	if found {
		held[i] = h
		return held
	}
	return slices.Insert(held, i, h)
}

// Lift removes a restriction by ID and reports whether it was there.
func Lift(held []Held, id string) ([]Held, bool) {
	i, found := find(held, id)
	if !found {
		return held, false
	}
	return slices.Delete(held, i, i+1), true
}

func find(held []Held, id string) (int, bool) {
	return slices.BinarySearchFunc(held, id, func(h Held, id string) int { return strings.Compare(h.ID, id) })
}
