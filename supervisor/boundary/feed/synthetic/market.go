package synthetic

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
)

// FaultKind names what is wrong on purpose.
type FaultKind string

// The kinds of fault.
const (
	FaultCrossed    FaultKind = "crossed"
	FaultDup        FaultKind = "dup"
	FaultOutOfOrder FaultKind = "out_of_order"
	FaultGap        FaultKind = "gap"
	FaultSilence    FaultKind = "silence"
	FaultClockSkew  FaultKind = "clock_skew"
	FaultHalt       FaultKind = "halt"
)

// Label says where a fault was injected.
type Label struct {
	Fault      FaultKind        `json:"fault"`
	Line       uint64           `json:"line"` // record number at which it shows, from 1: the line of a file, the Seq of a Source
	Instrument ipc.InstrumentID `json:"instrument"`
	RecvTS     ipc.Nanos        `json:"recv_ts"`             // of that record
	LengthNS   ipc.Nanos        `json:"length_ns,omitempty"` // of a silence, a halt, a skew, a step back in time
	Missing    uint64           `json:"missing,omitempty"`   // records lost in a gap
}

// fault is one kind's place in the blocks of records.
type fault struct {
	kind  FaultKind
	block uint64 // records per fault; 0 = none
	at    uint64 // record of the next one
	due   bool
}

// Market is a stream of synthetic events. As a feed.Source it flags what its faults look like, as reading its file does.
type Market struct {
	options Options
	walks   []*walk
	faults  []fault
	rng     *walk // draws what belongs to no instrument
	queue   []ipc.MarketEvent
	tracker *feed.Tracker
	labels  []Label
	seq     uint64 // the source's own number
	records atomic.Uint64
	recvTS  ipc.Nanos
	endTS   ipc.Nanos // 0 = none
	nowTS   atomic.Int64
	closed  bool
}

// New makes a market.
func New(o Options) (*Market, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	m := &Market{options: o, tracker: feed.NewTracker(0)}
	for _, spec := range o.Instruments {
		m.walks = append(m.walks, newWalk(spec, o.Seed, o.StartTS, o.BarNS))
	}
	m.rng = &walk{rng: ipc.NewRNG(o.Seed, "synthetic", 0)}
	if o.Duration > 0 {
		m.endTS = o.StartTS + ipc.Nanos(o.Duration)
	}
	m.nowTS.Store(int64(o.StartTS))
	f := o.Faults
	for _, k := range []struct {
		kind FaultKind
		rate int
	}{{FaultCrossed, f.Crossed}, {FaultDup, f.Dup}, {FaultOutOfOrder, f.OutOfOrder}, {FaultGap, f.Gap}, {FaultSilence, f.Silence},
		{FaultClockSkew, f.ClockSkew}, {FaultHalt, f.Halt}} {
		if k.rate > 0 {
			block := uint64(100_000 / k.rate)
			m.faults = append(m.faults, fault{kind: k.kind, block: block, at: uint64(m.rng.below(block)) + 1})
		}
	}
	return m, nil
}

// Next implements feed.Source.
func (m *Market) Next() (ipc.MarketEvent, error) {
	ev, err := m.raw()
	if err != nil {
		return nil, err
	}
	m.tracker.ObserveNumbered(ev)
	ev.Header().Seq = m.records.Load()
	return ev, nil
}

// raw gives the next record as a file holds it: numbered by the source, not judged.
func (m *Market) raw() (ipc.MarketEvent, error) {
	if m.closed || m.options.Events > 0 && m.records.Load() >= uint64(m.options.Events) {
		return nil, io.EOF
	}
	for len(m.queue) == 0 {
		w := m.first()
		at := w.turn()
		if m.endTS != 0 && at >= m.endTS {
			return nil, io.EOF
		}
		m.nowTS.Store(int64(at))
		m.advance(w)
	}
	ev := m.queue[0]
	m.queue = m.queue[1:]
	m.records.Add(1)
	return ev, nil
}

// first is the instrument whose turn it is.
func (m *Market) first() *walk {
	var best *walk
	var bestTS ipc.Nanos
	for _, w := range m.walks {
		if at := w.turn(); best == nil || at < bestTS {
			best, bestTS = w, at
		}
	}
	return best
}

// advance queues what happens next at one instrument: nothing, one record, or a record and its repetition.
func (m *Market) advance(w *walk) {
	if w.barEnd != 0 && w.barEnd <= w.nextTS {
		m.finishBar(w)
		return
	}
	ts := w.nextTS
	if w.halted {
		w.halted = false
		m.emit(w, &ipc.TradingStatus{Market: m.header(w, ts), Status: ipc.TradingOpen, Reason: "synthetic"})
		w.step()
		return
	}
	switch f := m.due(w); f {
	case "":
		m.emit(w, m.ordinary(w, ts))
	case FaultHalt:
		length := 30*time.Second + time.Duration(m.rng.below(uint64(150*time.Second)))
		w.halted = true
		w.pending = append(w.pending, Label{Fault: f, LengthNS: ipc.Nanos(length)})
		m.emit(w, &ipc.TradingStatus{Market: m.header(w, ts), Status: ipc.TradingHalted, Reason: "synthetic"})
		w.nextTS += ipc.Nanos(length)
		return
	case FaultSilence:
		length := 20*time.Second + time.Duration(m.rng.below(uint64(70*time.Second)))
		w.nextTS += ipc.Nanos(length)
		w.silentTS = w.nextTS
		w.pending = append(w.pending, Label{Fault: f, LengthNS: ipc.Nanos(length)})
		return
	default:
		m.faulty(w, ts, f)
	}
	w.step()
}

// faulty queues a record with a fault in it.
func (m *Market) faulty(w *walk, ts ipc.Nanos, f FaultKind) {
	switch f {
	case FaultCrossed:
		q := w.quote(m.header(w, ts))
		_, ask := w.touch()
		bid := w.price(ask + 1 + m.rng.below(3))
		q.Bid = &bid
		w.pending = append(w.pending, Label{Fault: f})
		m.emit(w, q)
	case FaultDup:
		q := w.quote(m.header(w, ts))
		m.emit(w, q)
		again := *q
		again.RecvTS += 100_000
		m.recvTS = again.RecvTS
		m.queue = append(m.queue, &again)
		m.labels = append(m.labels, Label{Fault: f, Line: m.records.Load() + 2, Instrument: w.spec.ID, RecvTS: again.RecvTS})
	case FaultOutOfOrder:
		back := ipc.Nanos(50*time.Millisecond) + ipc.Nanos(m.rng.below(uint64(450*time.Millisecond)))
		q := w.quote(m.header(w, ts))
		q.EventTS = w.lastTS[ipc.KindQuote] - back
		w.pending = append(w.pending, Label{Fault: f, LengthNS: back})
		m.emit(w, q)
	case FaultClockSkew:
		ahead := ipc.Nanos(2*time.Second) + ipc.Nanos(m.rng.below(uint64(8*time.Second)))
		q := w.quote(m.header(w, ts))
		q.EventTS = q.RecvTS + ahead
		w.pending = append(w.pending, Label{Fault: f, LengthNS: ahead})
		m.emit(w, q)
	case FaultGap:
		missing := uint64(1 + m.rng.below(50))
		for range missing {
			w.step()
		}
		m.seq += missing
		w.venueSeq += missing
		w.pending = append(w.pending, Label{Fault: f, Missing: missing})
		m.emit(w, m.ordinary(w, w.nextTS))
	}
}

// due takes the next fault whose turn has come and that can be shown now.
func (m *Market) due(w *walk) FaultKind {
	n := m.records.Load()
	for i := range m.faults {
		f := &m.faults[i]
		if n >= f.at {
			f.due = true
			f.at = (n/f.block+1)*f.block + uint64(m.rng.below(f.block))
		}
	}
	if w.lastTS[ipc.KindQuote] == 0 {
		return ""
	}
	for i := range m.faults {
		if m.faults[i].due {
			m.faults[i].due = false
			return m.faults[i].kind
		}
	}
	return ""
}

func (m *Market) ordinary(w *walk, ts ipc.Nanos) ipc.MarketEvent {
	if w.below(10) < 3 && w.lastTS[ipc.KindQuote] != 0 {
		return w.trade(m.header(w, ts))
	}
	return w.quote(m.header(w, ts))
}

// header numbers a record and gives it its times.
func (m *Market) header(w *walk, ts ipc.Nanos) ipc.Market {
	w.venueSeq++
	m.seq++
	m.recvTS = max(m.recvTS+1, ts+200_000+ipc.Nanos(w.below(1_800_000)))
	return ipc.Market{Instrument: w.spec.ID, Source: m.options.Source, EventTS: ts, RecvTS: m.recvTS, Seq: m.seq, VenueSeq: w.venueSeq}
}

func (m *Market) emit(w *walk, ev ipc.MarketEvent) {
	h := ev.Header()
	if t, ok := ev.(*ipc.Trade); ok {
		t.TradeID = strconv.FormatUint(h.VenueSeq, 10)
	}
	line := m.records.Load() + uint64(len(m.queue)) + 1
	skewed := false
	for _, l := range w.pending {
		l.Line, l.Instrument, l.RecvTS = line, h.Instrument, h.RecvTS
		m.labels = append(m.labels, l)
		skewed = skewed || l.Fault == FaultClockSkew
	}
	w.pending = w.pending[:0]
	if !skewed {
		w.lastTS[ev.Kind()] = max(w.lastTS[ev.Kind()], h.EventTS)
	}
	m.queue = append(m.queue, ev)
}

func (m *Market) finishBar(w *walk) {
	end := w.barEnd
	w.barEnd += m.options.BarNS
	if w.bar == nil {
		return // no trades, no bar: as venues do
	}
	b := w.bar
	w.bar = nil
	b.Market, b.PeriodNS = m.header(w, max(end, w.silentTS)), m.options.BarNS
	b.EventTS = end - m.options.BarNS
	m.emit(w, b)
}

// Labels are the faults injected so far.
func (m *Market) Labels() []Label {
	var out []Label
	for _, l := range m.labels {
		if l.Line <= m.records.Load() { // a queued record may never be given
			out = append(out, l)
		}
	}
	return out
}

// Close implements feed.Source.
func (m *Market) Close() error {
	m.closed = true
	return nil
}

// Progress implements feed.Source.
func (m *Market) Progress() float64 {
	p := 0.0
	if n := m.options.Events; n > 0 {
		p = float64(m.records.Load()) / float64(n)
	}
	if m.endTS > 0 {
		p = max(p, float64(m.nowTS.Load()-int64(m.options.StartTS))/float64(m.endTS-m.options.StartTS))
	}
	return min(1, p)
}

// Info implements feed.Source.
func (m *Market) Info() feed.Info {
	out := feed.Info{Path: fmt.Sprintf("synthetic market, seed %d", m.options.Seed), Format: "synthetic", Sources: []ipc.SourceID{m.options.Source}}
	for _, i := range m.options.Instruments {
		out.Instruments = append(out.Instruments, i.ID)
	}
	return out
}
