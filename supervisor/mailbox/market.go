package mailbox

import "github.com/msup/msup/ipc"

// Bounds beside the ceiling that the descriptor sets in deliveries.
const (
	// maxBytes bounds what waits for one instance: a ceiling of 4096 snapshots of two megabytes would be eight gigabytes.
	maxBytes = 64 << 20
	// maxStreams bounds the pairs of source and instrument that are conflated; sources name themselves.
	maxStreams = 4096
	// What an event takes while it waits: its bytes, what they were decoded to, and its place; and a level of a merged book.
	slotBytes  = 256
	eventBytes = 3 // for each encoded one
	levelBytes = 64
)

// family is a group of kinds that merge with one another.
type family uint8

const (
	quotes   family = 0
	trades   family = 1
	books    family = 2
	singles  family = 3 // never merged
	families        = 3 // that merge

	allFamilies = 1<<quotes | 1<<trades | 1<<books | 1<<singles
)

func (f family) bit() uint8 { return 1 << f }

func familyOf(e ipc.MarketEvent) family {
	switch e.(type) {
	case *ipc.Quote:
		return quotes
	case *ipc.Trade, *ipc.TradeAggregate:
		return trades
	case *ipc.BookDelta, *ipc.BookSnapshot:
		return books
	}
	return singles
}

// streamKey names what is conflated: never across sources, whose numbers and prices are their own.
type streamKey struct {
	source     ipc.SourceID
	instrument ipc.InstrumentID
}

// stream is one instrument of one source.
type stream struct {
	open   [families]uint64 // number in the queue of the delivery that still merges; 0 = none
	missed uint8            // families: an event was refused, so the next one put is flagged
	lost   uint8            // families: what stood before was dropped, so the next one taken is flagged
	seq    uint64           // the highest of a book event that was put since the last snapshot
	broken bool             // the strategy was told of a gap in the book and waits for a snapshot
	shared bool             // stands for all streams above maxStreams: nothing merges
}

// slot is one delivery that waits.
type slot struct {
	ticket  uint64 // place among all that wait
	item    Market // its newest part
	quality ipc.Quality
	parts   int
	weight  int // bytes
	family  family
	of      *stream // nil: in lock step
	lastSeq uint64  // of a book
	trades  *tradeSum
	book    *bookFold
}

// market is the queue of market events, under the mailbox's lock.
type market struct {
	limit     int
	byteLimit int
	kept      queue[slot] // bars, statuses, and everything in lock step: never merged, never evicted
	merging   queue[slot] // the rest
	streams   map[streamKey]*stream
	overflow  stream
	firstLost uint8 // families that a new stream begins without
	ticket    uint64
	events    int
	bytes     int
	congested bool
	spare     spare
}

func newMarket(limit int) market {
	return market{limit: limit, byteLimit: maxBytes, streams: map[streamKey]*stream{}, overflow: stream{shared: true}}
}

func weight(item Market) int { return slotBytes + eventBytes*len(item.Event) }

func (m *market) depth() int { return m.kept.len() + m.merging.len() }

// full reports whether another delivery of that weight is above a ceiling. The first is always taken.
func (m *market) full(weight int) bool {
	return m.depth() >= m.limit || m.depth() > 0 && m.bytes+weight > m.byteLimit
}

// keep adds an event as it is.
func (m *market) keep(item Market) {
	m.ticket++
	s := slot{ticket: m.ticket, item: item, parts: 1, weight: weight(item), family: singles, quality: qualityOf(item)}
	m.kept.push(s)
	m.events++
	m.bytes += s.weight
}

func qualityOf(item Market) ipc.Quality {
	if item.Decoded == nil {
		return 0
	}
	return item.Decoded.Header().Quality
}

// stream finds the stream of an event. Those above the bound share one, in which nothing merges.
func (m *market) stream(e ipc.MarketEvent) *stream {
	if e == nil {
		return &m.overflow
	}
	h := e.Header()
	key := streamKey{h.Source, h.Instrument}
	if s := m.streams[key]; s != nil {
		return s
	}
	if len(m.streams) >= maxStreams {
		return &m.overflow
	}
	s := &stream{lost: m.firstLost}
	m.streams[key] = s
	return s
}

// put conflates the event with what waits, or adds it. At the ceiling the oldest delivery that may be dropped gives way.
func (m *market) put(item Market, c *Counts) (taken bool) {
	s, f := m.stream(item.Decoded), singles
	if item.Decoded != nil {
		f = familyOf(item.Decoded)
	}
	if f != singles && s.open[f] != 0 && s.missed&f.bit() == 0 {
		waiting := m.merging.at(s.open[f])
		if added, ok := m.merge(waiting, item); ok {
			if f == books {
				s.seq = waiting.lastSeq
			}
			waiting.parts++
			waiting.weight += added
			m.bytes += added
			m.events++
			return true
		}
	}
	added := slot{item: item, quality: qualityOf(item), parts: 1, weight: weight(item), family: f, of: s}
	if !m.makeRoom(added.weight, c) {
		s.missed |= f.bit()
		c.Dropped++
		return false
	}
	if s.missed&f.bit() != 0 {
		added.quality |= ipc.QualityGap
		s.missed &^= f.bit()
	}
	m.ticket++
	added.ticket = m.ticket
	m.events++
	m.bytes += added.weight
	if f == singles {
		// What comes after a bar or a halt is not merged into what stands before it.
		s.open = [families]uint64{}
		m.kept.push(added)
		return true
	}
	opens := !s.shared && mergesLater(item.Decoded, added.quality)
	if f == books {
		added.lastSeq = lastSeq(item.Decoded)
		advances := s.advances(&added)
		opens = opens && advances
	}
	number := m.merging.push(added)
	if s.open[f] = 0; opens {
		s.open[f] = number
	}
	return true
}

// makeRoom drops the oldest deliveries, bars and statuses excepted, until one more of weight fits.
func (m *market) makeRoom(weight int, c *Counts) bool {
	if !m.full(weight) {
		return true
	}
	m.congested = true
	for m.full(weight) && m.merging.len() > 0 {
		s := m.pop(&m.merging)
		m.drop(&s, c)
	}
	return !m.full(weight)
}

func (m *market) drop(s *slot, c *Counts) {
	c.Dropped += uint64(s.parts)
	if s.of != nil {
		s.of.lost |= s.family.bit()
	}
	m.spare.give(s)
}

func (m *market) pop(q *queue[slot]) slot {
	number := q.popped + 1
	s := q.pop()
	if s.of != nil && s.family != singles && s.of.open[s.family] == number {
		s.of.open[s.family] = 0
	}
	m.events -= s.parts
	m.bytes -= s.weight
	return s
}

// head is the queue whose first delivery waits longest; nil when none waits.
func (m *market) head() *queue[slot] {
	switch {
	case m.depth() == 0:
		return nil
	case m.merging.len() == 0:
		return &m.kept
	case m.kept.len() == 0 || m.merging.first().ticket < m.kept.first().ticket:
		return &m.merging
	}
	return &m.kept
}

func (m *market) peek() (ipc.Nanos, bool) {
	q := m.head()
	if q == nil {
		return 0, false
	}
	return q.first().item.Recv, true
}

// take gives the delivery that waits longest. Deltas of a book that waits for a snapshot are dropped: they make no valid book.
func (m *market) take(c *Counts) (s slot, ok bool) {
	for q := m.head(); q != nil; q = m.head() {
		s = m.pop(q)
		if s.of != nil {
			if s.of.lost&s.family.bit() != 0 {
				s.quality |= ipc.QualityGap
				s.of.lost &^= s.family.bit()
			}
			if s.family == books && !s.of.shared && !s.of.validBook(&s) {
				c.Dropped += uint64(s.parts)
				m.spare.give(&s)
				continue
			}
		}
		c.Taken++
		c.Conflated += uint64(s.parts - 1)
		return s, true
	}
	return s, false
}

func (m *market) dropAll(c *Counts) {
	for q := m.head(); q != nil; q = m.head() {
		s := m.pop(q)
		m.drop(&s, c)
	}
}

func (m *market) interrupted() {
	m.firstLost, m.overflow.lost = allFamilies, allFamilies
	for _, s := range m.streams {
		s.lost = allFamilies
	}
}

// relieve ends the congestion when the queue is half empty (BP-4).
func (m *market) relieve() {
	if m.congested && m.depth() <= m.limit/2 && m.bytes <= m.byteLimit/2 {
		m.congested = false
	}
}
