package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// Params are what an instance is allowed and configured to do. They come with every Start and do not change until the next.
type Params struct {
	Policy           *gate.Policy
	ExternalApproval bool                      // J/E approve; otherwise policy does (GT-7)
	Inform           bool                      // a new runner gets the checkpoint and on_recovered, no replay (RS-5)
	Timeouts         guard.Rule                // late answers
	Faults           guard.Rule                // typed failures of the strategy
	Kills            guard.Rule                // deliveries that killed the runner
	Rejects          guard.Rule                // rejections by I, 429s among them
	Refusals         guard.Rule                // intents that the gate refused
	Storms           guard.Rule                `json:",omitzero"`  // seconds in which TimerSteps was met
	Ladders          map[guard.Kind]guard.Rule `json:",omitempty"` // violations of limits, broken promises
	Breaker          Breaker                   `json:",omitzero"`  // what an open breaker does
	Cooldown         ipc.Nanos                 // how long a breaker's restriction stays (CB-3)
	MaxTimers        int
	TimerSteps       int      `json:",omitempty"` // most timer steps in a second of processed time without another delivery; 0 = any number
	TelemetryNames   []string // declared names; others are dropped and noted
	Compute          Compute  `json:"Compute,omitzero"` // what requests to the compute lane may cost (LN-2, LN-5)
}

// Pending is a delivery that awaits its answer.
type Pending struct {
	Step        ipc.Step
	Kind        ipc.EventKind
	CoreTS      ipc.Nanos // what an intent's tolerable delay counts from
	ProcessedTS ipc.Nanos
	TraceID     ipc.TraceID
	Event       []byte
}

// Timer is a timer set by the strategy.
type Timer struct {
	ID    string
	DueTS ipc.Nanos // processed time
}

// MarketCursor says how far a market source was delivered (ST-1). A source that begins again (another file) has later receive times.
type MarketCursor struct {
	Source ipc.SourceID
	Seq    uint64
	RecvTS ipc.Nanos
}

// Queued is an event that the strategy has not seen yet although the core has: arrivals and the core's own notices, in order.
type Queued struct {
	Event   []byte
	TraceID ipc.TraceID
	Due     ipc.Nanos `json:",omitzero"` // core_ts after which a compute result is stale; 0 = never
}

// State is the state of one instance. Exported fields are what checkpoints and inspection show; only Step changes them.
type State struct {
	Address ipc.Address
	Lineage ipc.Lineage

	InputNo     ipc.InputNo // last input taken
	StepNo      ipc.Step    // last step delivered
	CoreTS      ipc.Nanos   // never decreases
	ProcessedTS ipc.Nanos   // never decreases
	Epoch       ipc.Epoch
	RunID       ipc.RunID
	PackageHash ipc.Digest
	ConfigHash  ipc.Digest

	Pending  *Pending
	Timers   []Timer        // sorted by ID
	Queue    []Queued       // for the strategy, before any market event
	Cursors  []ipc.Cursor   // of I, J and E, sorted by source
	Market   []MarketCursor // of market sources, sorted by source
	Held     []gate.Held    // sorted by ID
	Init     []byte         // what on_init of a restored runner gets: an ipc.Init as a message
	NextInit []byte         // the same with the configuration whose ConfigUpdate is queued
	Recovery *Recovery      // not nil: an informed strategy may not increase risk yet
	Computes []Computing    // requests to the compute lane that wait for their result, oldest first

	Obligation  *gate.Obligation // under way
	Obligations uint64           // number of the last one
	OwnIntents  uint64           // made by obligations
	Sink        Sink             // what I is known to have
	WallAhead   ipc.Nanos        // wall time minus core time, when both were last told

	Halted   ipc.ReasonCode
	Released ipc.InputNo // highest input known to be durable

	InitFailed bool       // on_init has not succeeded: the next delivery is on_init again
	Burst      TimerBurst // timer steps without another delivery
	Orders     []Order    // the last commands, oldest first

	Timeouts, Faults, Kills, Rejects, Refusals, Storms guard.Ladder
	Violations                                         map[guard.Kind]guard.Ladder // of limits and promises (SB-7, LN-7)
	Clean                                              int                         // steps without a fault, while a breaker is tried again

	params  Params
	written []byte // params as they stand in the log
	gate    gate.Gate
	mode    gate.Mode // join of Held, kept up to date
	effects Effects

	discarded []ipc.IntentsDiscarded // notices of the present input
}

// New returns the state of an instance that has never run.
func New(address ipc.Address, lineage ipc.Lineage) *State {
	s := &State{Address: address, Lineage: lineage}
	s.gate = gate.Gate{Policy: &gate.Policy{Address: address}, Book: gate.NewBook(), Lineage: lineage}
	s.mode = gate.Join(nil)
	return s
}

// setParams takes the parameters of a Start. Until the first one the instance may do nothing.
func (s *State) setParams(written []byte) error {
	if s.params.Policy != nil && bytes.Equal(written, s.written) {
		return nil // a log has one start after another with the same ones
	}
	var p Params
	d := json.NewDecoder(bytes.NewReader(written))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return fmt.Errorf("the parameters of the start: %w", err)
	}
	if p.Policy == nil {
		return errors.New("the parameters of the start hold no policy")
	}
	s.params, s.written, s.gate.Policy = p, written, p.Policy
	return nil
}

// Book returns the view of positions and open intents; read it only.
func (s *State) Book() *gate.Book { return s.gate.Book }

// StrategyVersion is the one that the last start named.
func (s *State) StrategyVersion() string { return s.gate.Policy.StrategyVersion }

// Mode returns the join of all restrictions in force; a halted instance may not trade.
func (s *State) Mode() gate.Mode {
	m := s.mode
	if s.Halted != "" {
		m.NoTrade, m.TradeReason = true, s.Halted
	}
	return m
}

// Health is the state that operators see (DM-2).
type Health string

// The health states.
const (
	Healthy  Health = "healthy"
	Degraded Health = "degraded"
	Halted   Health = "halted"
)

// Health returns the health state with its reason code: the most restrictive one first.
func (s *State) Health() (Health, ipc.ReasonCode) {
	switch {
	case s.Halted != "":
		return Halted, s.Halted
	case s.gate.Book.Unknown() != "":
		return Degraded, s.gate.Book.Unknown()
	case s.mode.NoTrade:
		return Degraded, s.mode.TradeReason
	case s.mode.ReduceOnly:
		return Degraded, s.mode.ReduceReason
	case s.mode.LimitOnly:
		return Degraded, s.mode.LimitReason
	case s.mode.Restricted():
		return Degraded, s.mode.SizeReason
	}
	return Healthy, ""
}

// NextTimer returns the timer that is due first; among equals the lowest ID.
func (s *State) NextTimer() (Timer, bool) {
	if len(s.Timers) == 0 {
		return Timer{}, false
	}
	return slices.MinFunc(s.Timers, func(a, b Timer) int {
		if a.DueTS != b.DueTS {
			if a.DueTS < b.DueTS {
				return -1
			}
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	}), true
}

// Delivered reports whether a market event stands at or before what was delivered from its source.
func (s *State) Delivered(p ipc.MarketPlace) bool {
	i, found := s.findMarket(p.Source)
	return found && p.Seq <= s.Market[i].Seq && p.RecvTS <= s.Market[i].RecvTS
}

func (s *State) findMarket(source []byte) (int, bool) {
	return slices.BinarySearchFunc(s.Market, source, func(c MarketCursor, id []byte) int { return strings.Compare(string(c.Source), string(id)) })
}

// took advances the cursor of a market event's source.
func (s *State) took(event []byte) error {
	p, ok, err := ipc.PeekMarket(event)
	if err != nil || !ok {
		return err
	}
	i, found := s.findMarket(p.Source)
	if !found {
		s.Market = slices.Insert(s.Market, i, MarketCursor{Source: ipc.SourceID(p.Source)})
	}
	s.Market[i].Seq, s.Market[i].RecvTS = p.Seq, p.RecvTS
	s.Burst = TimerBurst{}
	return nil
}

// Admission says what to do with an arrival before it becomes an input.
type Admission uint8

// The admissions.
const (
	Admit     Admission = 1
	Duplicate Admission = 2 // seen: acknowledge again, take nothing
	Refuse    Admission = 3 // of a source epoch that is over
)

// Admits compares a cursor with what has been taken. A gap is admitted: Step answers it with unknown positions and a request for a
// snapshot, and does not advance the cursor. A snapshot has no number of its own: it carries that of the last report that it contains,
// and is admitted unless more than that has been taken.
func (s *State) Admits(c ipc.Cursor, kind ipc.EventKind) Admission {
	last := s.cursor(c.Source)
	switch {
	case c.Epoch < last.Epoch:
		return Refuse
	case c.Epoch > last.Epoch || c.Seq > last.Seq:
		return Admit
	case kind == ipc.KindExecutionSnapshot && c.Seq == last.Seq:
		return Admit
	}
	return Duplicate
}

// cursor returns how far a source has been taken; the zero position when it is new.
func (s *State) cursor(source ipc.SourceID) ipc.Cursor {
	for _, c := range s.Cursors {
		if c.Source == source {
			return c
		}
	}
	return ipc.Cursor{Source: source}
}

func (s *State) setCursor(c ipc.Cursor) {
	i, found := slices.BinarySearchFunc(s.Cursors, c.Source, func(c ipc.Cursor, id ipc.SourceID) int {
		return strings.Compare(string(c.Source), string(id))
	})
	if found {
		s.Cursors[i] = c
		return
	}
	s.Cursors = slices.Insert(s.Cursors, i, c)
}

func (s *State) impose(h gate.Held) {
	s.Held = gate.Impose(s.Held, h)
	s.mode = gate.Join(s.Held)
}

func (s *State) lift(id string) bool {
	held, ok := gate.Lift(s.Held, id)
	if ok {
		s.Held, s.mode = held, gate.Join(held)
	}
	return ok
}
