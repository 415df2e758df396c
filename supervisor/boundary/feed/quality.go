package feed

import (
	"time"

	"github.com/msup/msup/ipc"
)

// numbering is what a parser knows of the venue's own numbers of one event.
type numbering struct {
	first, last uint64 // the span of numbers that the event covers; last 0 = none
	prev        uint64 // the number that must have come before; 0 = first-1
	sparse      bool   // numbers rise but leave holes by design (best bid and ask)
	source      uint64 // the source's number as recorded in the file; 0 = none
	sourceName  string // the source as recorded in the file
}

// maxStreams bounds what the tracker remembers: the names come from the file.
const maxStreams = 1 << 16

// streamKey separates what may be compared: within one stream event times and numbers rise.
type streamKey struct {
	name string // instrument, or for the source's own numbers the source
	kind ipc.EventKind
}

// stream is what the tracker remembers of one stream.
type stream struct {
	seen    bool
	number  uint64
	eventTS [2]ipc.Nanos // highest event time, apart for events with a skewed clock: one of them must not taint all that follow
	last    ipc.MarketEvent
}

// Tracker computes the quality flags of the events of one source (DQ-1, DQ-3). It only adds flags. The zero value is not usable.
type Tracker struct {
	skewNS  ipc.Nanos
	streams map[streamKey]*stream
	key     streamKey // of the stream used last
	current *stream
	recvTS  ipc.Nanos
	hole    bool
}

// NewTracker makes a tracker that flags clock_skew when an event is received more than tolerance before it happened.
func NewTracker(tolerance time.Duration) *Tracker {
	if tolerance <= 0 {
		tolerance = DefaultClockSkew
	}
	return &Tracker{skewNS: ipc.Nanos(tolerance), streams: make(map[streamKey]*stream)}
}

// Hole says that something before the next event could not be read: it will be flagged gap.
func (t *Tracker) Hole() { t.hole = true }

// ObserveNumbered adds the flags of an event whose Seq is the source's own number: holes in it are gaps.
func (t *Tracker) ObserveNumbered(ev ipc.MarketEvent) {
	t.observe(ev, numbering{source: ev.Header().Seq, sourceName: string(ev.Header().Source)})
}

func (t *Tracker) observe(ev ipc.MarketEvent, n numbering) {
	h := ev.Header()
	if h.RecvTS == 0 {
		h.RecvTS = knownTS(ev)
	}
	if t.hole {
		h.Quality |= ipc.QualityGap
		t.hole = false
	}
	if n.source != 0 {
		h.Quality |= t.stream(streamKey{name: n.sourceName}).count(numbering{first: n.source, last: n.source})
	}
	s := t.stream(streamKey{string(h.Instrument), ev.Kind()})
	if n.last != 0 {
		h.Quality |= s.count(n)
	}
	skewed := 0
	if h.EventTS != 0 && h.RecvTS < h.EventTS-t.skewNS {
		h.Quality |= ipc.QualityClockSkew
		skewed = 1
	}
	if s.last != nil && same(s.last, ev) {
		h.Quality |= ipc.QualityDup
	} else if h.EventTS != 0 && h.EventTS < s.eventTS[skewed] {
		h.Quality |= ipc.QualityOutOfOrder
	}
	s.eventTS[skewed] = max(s.eventTS[skewed], h.EventTS)
	s.last = ev
	if crossed(ev) {
		h.Quality |= ipc.QualityCrossed
	}
	if h.RecvTS < t.recvTS {
		h.Quality |= ipc.QualityOutOfOrder
		h.RecvTS = t.recvTS
	}
	t.recvTS = h.RecvTS
}

func (t *Tracker) stream(k streamKey) *stream {
	if t.current != nil && t.key == k {
		return t.current
	}
	s := t.streams[k]
	if s == nil {
		if len(t.streams) >= maxStreams {
			clear(t.streams)
		}
		s = &stream{}
		t.streams[k] = s
	}
	t.key, t.current = k, s
	return s
}

// count compares an event's numbers with those of its stream.
func (s *stream) count(n numbering) ipc.Quality {
	before, seen := s.number, s.seen
	s.number, s.seen = max(before, n.last), true
	switch {
	case !seen:
		return 0
	case n.last == before:
		return ipc.QualityDup
	case n.last < before:
		return ipc.QualityOutOfOrder
	case n.sparse:
		return 0
	case n.prev != 0 && n.prev != before, n.prev == 0 && n.first > before+1:
		return ipc.QualityGap
	}
	return 0
}

// knownTS is when an event without a reception time became known: a bar when it ended.
func knownTS(ev ipc.MarketEvent) ipc.Nanos {
	switch e := ev.(type) {
	case *ipc.Bar:
		return e.EventTS + e.PeriodNS
	case *ipc.QuoteBar:
		return e.EventTS + e.PeriodNS
	}
	return ev.Header().EventTS
}

func crossed(ev ipc.MarketEvent) bool {
	above := func(bid, ask *ipc.Decimal) bool { return bid != nil && ask != nil && bid.Cmp(*ask) > 0 }
	switch e := ev.(type) {
	case *ipc.Quote:
		return above(e.Bid, e.Ask)
	case *ipc.QuoteBar:
		return above(e.BidClose, e.AskClose)
	case *ipc.BookSnapshot:
		return len(e.Bids) > 0 && len(e.Asks) > 0 && above(&e.Bids[0].Price, &e.Asks[0].Price)
	}
	return false
}

// same reports whether b repeats a, its predecessor in the stream. Two equal trades without an id may be two trades.
func same(a, b ipc.MarketEvent) bool {
	if ah, bh := a.Header(), b.Header(); ah.EventTS != bh.EventTS || ah.VenueSeq != bh.VenueSeq || bh.EventTS == 0 && bh.VenueSeq == 0 {
		return false
	}
	switch b := b.(type) {
	case *ipc.Quote:
		a, ok := a.(*ipc.Quote)
		return ok && equal(a.Bid, b.Bid) && equal(a.Ask, b.Ask) && equal(a.BidSize, b.BidSize) && equal(a.AskSize, b.AskSize)
	case *ipc.Trade:
		a, ok := a.(*ipc.Trade)
		return ok && b.TradeID != "" && a.TradeID == b.TradeID
	case *ipc.Bar:
		a, ok := a.(*ipc.Bar)
		return ok && a.PeriodNS == b.PeriodNS
	case *ipc.QuoteBar:
		a, ok := a.(*ipc.QuoteBar)
		return ok && a.PeriodNS == b.PeriodNS
	case *ipc.TradingStatus:
		a, ok := a.(*ipc.TradingStatus)
		return ok && a.Status == b.Status
	}
	return false
}

func equal(a, b *ipc.Decimal) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
