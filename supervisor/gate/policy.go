package gate

import (
	"path"

	"github.com/msup/msup/ipc"
)

// Policy is what one instance may do: its identity, the capabilities of its descriptor and its ceilings. It never changes while the
// instance lives; a change of descriptor or deployment makes a new one (and an input in the log).
type Policy struct {
	Address         ipc.Address
	StrategyVersion string
	Instruments     map[ipc.InstrumentID]ipc.Instrument
	Allowed         []string // globs on instrument ids; empty allows none
	Intents         map[ipc.IntentKind]bool
	OrderTypes      map[ipc.OrderType]bool
	Venues          []string // globs on the instrument's venue; empty allows all
	Ceilings        Ceilings
	// ProposalsFrom are the services whose answers are proposals. With any, what increases risk must name a live one (EX-3).
	ProposalsFrom  []string  `json:",omitempty"`
	NamedRetention ipc.Nanos // how long the key of a named intent stays known after its end; 0 = for ever
}

// Ceilings bound what an instance may ask for (SB-5, GT-2). Zero forbids, it does not lift the ceiling.
type Ceilings struct {
	PerEvent         int // intents of one answer
	PerSecond        int // intents, cancels not counted, within any second of core_ts
	CancelsPerSecond int
	PerRun           int       // from start to stop, cancels not counted
	Open             int       // intents and orders that are not final
	MaxDelay         ipc.Nanos // largest tolerable delay that an intent may ask for
}

// permitsInstrument says whether the capability covers the instrument and its venue.
func (p *Policy) permitsInstrument(id ipc.InstrumentID) bool {
	if !matchAny(p.Allowed, string(id)) {
		return false
	}
	spec, known := p.Instruments[id]
	return !known || len(p.Venues) == 0 || matchAny(p.Venues, spec.Venue)
}

func matchAny(globs []string, s string) bool {
	for _, g := range globs {
		if g == "*" || g == s {
			return true
		}
		if ok, err := path.Match(g, s); err == nil && ok {
			return true
		}
	}
	return false
}
