package synthetic

import (
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
)

// Defaults of a Market.
const (
	DefaultEvents = 60_000
	DefaultSource = ipc.SourceID("synthetic")
	DefaultBarNS  = ipc.Nanos(time.Minute)
	// DefaultStart is Monday 2026-01-05 00:00 UTC: a fixed time, so that the same seed gives the same bytes tomorrow.
	DefaultStart = ipc.Nanos(1_767_571_200_000_000_000)

	maxInstruments = 1000
	maxRate        = 20_000
)

// Instrument is one synthetic instrument.
type Instrument struct {
	ID    ipc.InstrumentID
	Price ipc.Decimal // at the start, a multiple of Tick
	Tick  ipc.Decimal
	Lot   ipc.Decimal
}

// DefaultInstruments are what a Market has when none are named.
func DefaultInstruments() []Instrument {
	return []Instrument{
		{ID: "SYN-A.SIM", Price: ipc.MustDecimal("100"), Tick: ipc.MustDecimal("0.01"), Lot: ipc.MustDecimal("1")},
		{ID: "SYN-B.SIM", Price: ipc.MustDecimal("2500"), Tick: ipc.MustDecimal("0.1"), Lot: ipc.MustDecimal("0.001")},
	}
}

// Faults says how many faults of each kind there are in 100,000 records; 0 = none.
type Faults struct {
	Crossed    int // a quote with the bid above the ask
	Dup        int // a record that repeats its predecessor
	OutOfOrder int // an event time before one already given
	Gap        int // records missing, seen by the numbering
	Silence    int // 20 to 90 s without anything from one instrument
	ClockSkew  int // an event time seconds after the reception
	Halt       int // a trading halt of 30 to 180 s, announced
}

// DefaultFaults are enough for every kind to come in a run of the default length.
func DefaultFaults() Faults {
	return Faults{Crossed: 20, Dup: 20, OutOfOrder: 20, Gap: 10, Silence: 5, ClockSkew: 10, Halt: 3}
}

// Options describe a Market. The zero value is the default market without faults.
type Options struct {
	Seed        uint64
	Instruments []Instrument  // nil = DefaultInstruments
	Events      int           // records to make; 0 = until Duration, or DefaultEvents
	Duration    time.Duration // of market time; 0 = until Events
	StartTS     ipc.Nanos     // 0 = DefaultStart
	Source      ipc.SourceID  // "" = DefaultSource
	BarNS       ipc.Nanos     // length of a bar; 0 = DefaultBarNS, below 0 = no bars
	Faults      Faults
}

// complete fills in defaults and refuses what cannot be made.
func (o Options) complete() (Options, error) {
	if o.Instruments == nil {
		o.Instruments = DefaultInstruments()
	}
	if o.Events < 0 || o.Duration < 0 {
		return o, fmt.Errorf("synthetic market of %d events and %v: give numbers above zero, or 0 for the default", o.Events, o.Duration)
	}
	if o.Events == 0 && o.Duration == 0 {
		o.Events = DefaultEvents
	}
	if o.StartTS == 0 {
		o.StartTS = DefaultStart
	}
	if o.Source == "" {
		o.Source = DefaultSource
	}
	if o.BarNS == 0 {
		o.BarNS = DefaultBarNS
	}
	if o.BarNS > 0 && o.BarNS < ipc.Nanos(time.Second) {
		return o, fmt.Errorf("synthetic bars of %v: give at least 1s", time.Duration(o.BarNS))
	}
	if o.StartTS < 0 || o.Duration > 10*366*24*time.Hour {
		return o, fmt.Errorf("synthetic market from %d for %v: start after 1970 and make at most ten years", o.StartTS, o.Duration)
	}
	if err := ipc.CheckID(string(o.Source)); err != nil {
		return o, fmt.Errorf("source id of the synthetic market: %w", err)
	}
	if n := len(o.Instruments); n == 0 || n > maxInstruments {
		return o, fmt.Errorf("synthetic market of %d instruments: give 1 to %d", n, maxInstruments)
	}
	seen := make(map[ipc.InstrumentID]bool)
	for _, i := range o.Instruments {
		if err := i.check(); err != nil {
			return o, err
		}
		if seen[i.ID] {
			return o, fmt.Errorf("synthetic instrument %s: named twice", i.ID)
		}
		seen[i.ID] = true
	}
	f := o.Faults
	for _, rate := range []int{f.Crossed, f.Dup, f.OutOfOrder, f.Gap, f.Silence, f.ClockSkew, f.Halt} {
		if rate < 0 || rate > maxRate {
			return o, fmt.Errorf("a fault rate of %d in 100,000 records: give 0 to %d", rate, maxRate)
		}
	}
	return o, nil
}

func (i Instrument) check() error {
	if err := ipc.CheckID(string(i.ID)); err != nil {
		return fmt.Errorf("synthetic instrument: %w", err)
	}
	ticks, ok := i.ticks()
	if i.Tick.Sign() <= 0 || i.Lot.Sign() <= 0 || i.Tick.M > 1e6 || i.Lot.M > 1e12 || !ok || ticks < minTicks || ticks > maxTicks {
		return fmt.Errorf("synthetic instrument %s: price %s, tick %s, lot %s; the price must be %d to %d whole ticks, tick and lot above zero with few digits",
			i.ID, i.Price, i.Tick, i.Lot, minTicks, maxTicks)
	}
	return nil
}

// ticks is the starting price in ticks.
func (i Instrument) ticks() (int64, bool) {
	if i.Tick.Sign() <= 0 || !i.Price.IsMultipleOf(i.Tick) {
		return 0, false
	}
	shift := int(i.Price.E) - int(i.Tick.E)
	m, unit := i.Price.M, i.Tick.M
	for ; shift > 0; shift-- {
		if m > maxTicks*1000 {
			return 0, false
		}
		m *= 10
	}
	for ; shift < 0; shift++ {
		if unit > 1<<58 {
			return 0, false
		}
		unit *= 10
	}
	return m / unit, m%unit == 0
}
