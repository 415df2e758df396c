package mailbox

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

// schedule plays a mailbox and a feed of events against one another, one reader of each policy and instrument on both sides.
type schedule struct {
	rng      *rand.Rand
	box      *Mailbox[bool]
	feed     map[ipc.InstrumentID][2]*reader
	strategy map[ipc.InstrumentID][2]*reader
	venueSeq map[ipc.InstrumentID]uint64
	seq      uint64
	ceilings []bool
	lossless bool // the schedule drops nothing on purpose
}

func newSchedule(seed uint64, ceiling int) *schedule {
	s := &schedule{rng: rand.New(rand.NewPCG(seed, 1)), box: New[bool](ceiling), feed: map[ipc.InstrumentID][2]*reader{},
		strategy: map[ipc.InstrumentID][2]*reader{}, venueSeq: map[ipc.InstrumentID]uint64{}, lossless: true}
	s.box.OnCeiling(func(over bool) bool { return over })
	return s
}

func readers(m map[ipc.InstrumentID][2]*reader, i ipc.InstrumentID) [2]*reader {
	if m[i][0] == nil {
		m[i] = [2]*reader{newReader(true), newReader(false)}
	}
	return m[i]
}

// event makes one that a venue might send, on a good day or a bad one.
func (s *schedule) event(kind, which, detail int) ipc.MarketEvent {
	s.seq++
	name := fmt.Sprintf("I%d", which%5)
	m := head(name, s.seq, 0)
	m.EventTS = ipc.Nanos(s.seq + 10) // a source gives times, or it gives none
	if detail%11 == 0 {
		m.EventTS -= 3
		m.Quality |= ipc.QualityOutOfOrder
	}
	if detail%13 == 0 {
		m.Quality |= ipc.QualityClockSkew
	}
	if detail%17 == 0 {
		m.Quality |= ipc.QualityDup
	}
	price, quantity := dec(int64(1000+detail%7), -1), dec(int64(detail%4), 0)
	levels := func(n int) (out []ipc.Level) {
		for i := range n {
			out = append(out, ipc.Level{Price: dec(int64(100+(detail*7+i*5)%20), -1), Quantity: dec(int64((detail+i)%3), 0)})
		}
		return out
	}
	switch kind % 8 {
	case 0, 1:
		return &ipc.Quote{Market: m, Bid: &price, BidSize: &quantity}
	case 2, 3:
		return &ipc.Trade{Market: m, Price: price, Quantity: quantity, Side: ipc.Side(1 + detail%2)}
	case 4, 5:
		first := s.venueSeq[m.Instrument] + 1
		switch detail % 29 {
		case 1: // a hole, flagged
			first += 3
			m.Quality |= ipc.QualityGap
		case 2: // an old one that nobody has flagged
			return &ipc.BookDelta{Market: m, FirstSeq: 1, LastSeq: max(1, first/2), Bids: levels(2)}
		}
		last := first + uint64(detail%3)
		if s.venueSeq[m.Instrument] = last; detail%19 == 0 { // crossed
			m.Quality |= ipc.QualityCrossed
		}
		return &ipc.BookDelta{Market: m, FirstSeq: first, LastSeq: last, Bids: levels(detail % 4), Asks: levels(1 + detail%3)}
	case 6:
		back := uint64(0)
		if detail%5 == 0 {
			back = min(2, s.venueSeq[m.Instrument])
		}
		return &ipc.BookSnapshot{Market: m, LastSeq: s.venueSeq[m.Instrument] - back, Bids: levels(5), Asks: levels(5)}
	}
	if detail%2 == 0 {
		return &ipc.TradingStatus{Market: m, Status: ipc.TradingHalted}
	}
	return &ipc.Bar{Market: m, PeriodNS: 60e9, Open: price, High: price, Low: price, Close: price}
}

func (s *schedule) put(e ipc.MarketEvent) error {
	b, err := ipc.AppendEvent(nil, e)
	if err != nil {
		return fmt.Errorf("the test's event: %w", err)
	}
	taken := s.box.PutMarket(Market{Recv: e.Header().RecvTS, Event: b, Decoded: e})
	if !taken && familyOf(e) == singles {
		return fmt.Errorf("a %s was dropped", e.Kind())
	}
	for _, r := range readers(s.feed, e.Header().Instrument) {
		r.read(e)
	}
	return s.check()
}

func (s *schedule) take() error {
	item, ok, err := s.box.TakeMarket()
	if err != nil {
		return err
	}
	if !ok {
		return s.compare()
	}
	decoded, err := ipc.DecodeEvent(item.Event)
	if err != nil {
		return fmt.Errorf("what was delivered: %w", err)
	}
	e := decoded.(ipc.MarketEvent) //nolint:forcetypeassert // only market events are put
	for _, r := range readers(s.strategy, e.Header().Instrument) {
		if f := familyOf(e); e.Header().RecvTS < r.lastFamilyRecvTS[f] && (f != quotes || e.Header().Quality&ipc.QualityOutOfOrder == 0) {
			return fmt.Errorf("a %s of %s goes back from %d to %d", e.Kind(), e.Header().Instrument, r.lastFamilyRecvTS[f], e.Header().RecvTS)
		} else {
			r.lastFamilyRecvTS[f] = e.Header().RecvTS
		}
		r.read(e)
	}
	return s.check()
}

func (s *schedule) check() error {
	c := s.box.Counts()
	if !balanced(c) {
		return fmt.Errorf("%+v does not add up", c)
	}
	if c.Waiting < c.Depth || (c.Depth == 0) != (c.Bytes == 0) || c.Bytes < 0 {
		return fmt.Errorf("%+v", c)
	}
	for over, ok := s.box.TakeUrgent(); ok; over, ok = s.box.TakeUrgent() {
		if n := len(s.ceilings); over == (n%2 == 1) {
			return fmt.Errorf("the ceiling was told twice: %v, then %v", s.ceilings, over)
		}
		s.ceilings = append(s.ceilings, over)
	}
	if told := len(s.ceilings)%2 == 1; told != c.Congested {
		return fmt.Errorf("congested %v, told %v", c.Congested, told)
	}
	return nil
}

// compare is called when nothing waits.
func (s *schedule) compare() error {
	c := s.box.Counts()
	if c.Waiting != 0 || c.Congested {
		return fmt.Errorf("%+v although nothing is left to take", c)
	}
	for i, feed := range s.feed {
		if s.untold(i) {
			continue // the strategy hears of a loss with the next event of its kind, and none has come
		}
		for n, r := range readers(s.strategy, i) {
			if why := r.differs(feed[n], s.lossless && len(s.ceilings) == 0); why != "" {
				return fmt.Errorf("%s, careful %v: %s", i, feed[n].careful, why)
			}
		}
	}
	return nil
}

func (s *schedule) untold(i ipc.InstrumentID) bool {
	for key, st := range s.box.market.streams {
		if key.instrument == i && st.lost&books.bit() != 0 {
			return true
		}
	}
	return false
}

func (s *schedule) drain() error {
	for s.box.Depth() > 0 {
		if err := s.take(); err != nil {
			return err
		}
	}
	return s.take()
}

// Whatever is put and taken in whatever order: the accounts add up, the book is the feed's, the trades sum up, no bar is lost.
// Proves: LN-1, BP-1, BP-4, DQ-1
func TestAnySchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ceiling := rapid.SampledFrom([]int{400, 400, 90, 64}).Draw(t, "ceiling") // the bars and statuses of one schedule alone stay below 64
		s := newSchedule(rapid.Uint64().Draw(t, "seed"), ceiling)
		for range rapid.IntRange(1, 350).Draw(t, "steps") {
			var err error
			switch n := s.rng.IntN(100); {
			case n < 70:
				kind := s.rng.IntN(7)
				if s.rng.IntN(20) == 0 && s.box.market.kept.len() < 40 {
					kind = 7
				}
				err = s.put(s.event(kind, s.rng.IntN(5), s.rng.IntN(1000)))
			case n < 97:
				err = s.take()
			default:
				err = s.drain()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.drain(); err != nil {
			t.Fatal(err)
		}
	})
}

// The ceiling under everything at once, with halts and interruptions: the identity holds and the accounts never go back.
// Proves: BP-1, BP-4
func TestIdentityUnderAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSchedule(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 12).Draw(t, "ceiling"))
		var last Counts
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch n := s.rng.IntN(60); {
			case n == 0:
				s.box.DropMarket()
			case n == 1:
				s.box.Interrupted()
			case n < 40:
				e := s.event(s.rng.IntN(8), s.rng.IntN(5), s.rng.IntN(1000))
				b, err := ipc.AppendEvent(nil, e)
				if err != nil {
					t.Fatal(err)
				}
				s.box.PutMarket(Market{Recv: e.Header().RecvTS, Event: b, Decoded: e})
			default:
				if _, _, err := s.box.TakeMarket(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
			c := s.box.Counts()
			if c.Put < last.Put || c.Taken < last.Taken || c.Conflated < last.Conflated || c.Dropped < last.Dropped {
				t.Fatalf("%+v after %+v", c, last)
			}
			if last = c; c.Depth > s.box.market.limit {
				t.Fatalf("%d wait under a ceiling of %d", c.Depth, s.box.market.limit)
			}
		}
		s.box.Close()
		if c := s.box.Counts(); c.Waiting != 0 || c.Put != c.Taken+c.Conflated+c.Dropped {
			t.Fatalf("after the end: %+v", c)
		}
	})
}

// FuzzSchedule reads puts and takes from bytes: four for each step.
func FuzzSchedule(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1, 0, 4, 0, 2, 0, 200, 0, 0, 0})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		long := make([]byte, 1+4*100)
		for i := range long {
			long[i] = byte(rng.Uint32())
		}
		f.Add(long)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 1+4*2000 {
			return
		}
		s := newSchedule(1, 16+int(b[0]))
		for b = b[1:]; len(b) >= 4; b = b[4:] {
			var err error
			detail := int(binary.LittleEndian.Uint16(b[2:]))
			switch {
			case b[0] >= 240:
				err = s.drain()
			case b[0] >= 160:
				err = s.take()
			default:
				kind := int(b[0])
				if kind%8 == 7 && s.box.market.kept.len() >= 15 {
					kind = 0
				}
				err = s.put(s.event(kind, int(b[1]), detail))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.drain(); err != nil {
			t.Fatal(err)
		}
	})
}

// Above the ceiling the oldest give way, bars do not, what follows a loss is flagged, and a book waits for a snapshot.
// Proves: BP-1, BP-4, DQ-1
func TestCeiling(t *testing.T) {
	m := New[bool](4)
	m.OnCeiling(func(over bool) bool { return over })
	put := func(e ipc.MarketEvent, want bool) {
		t.Helper()
		if got := m.PutMarket(encode(t, e)); got != want {
			t.Errorf("%s: taken %v", line(e), got)
		}
	}
	told := func(want ...bool) {
		t.Helper()
		var got []bool
		for over, ok := m.TakeUrgent(); ok; over, ok = m.TakeUrgent() {
			got = append(got, over)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	put(delta("A", 1, 0, level(10, 1)), true)
	put(bar("A", 2), true)
	put(delta("A", 3, 0, level(11, 1)), true)
	put(quote("B", 4, 5, 0), true)
	for seq := uint64(5); seq < 50; seq++ { // conflation keeps the queue where it is
		put(quote("B", seq, 5, 0), true)
	}
	told()
	put(quote("C", 50, 6, 0), true) // the first delta goes
	told(true)
	put(bar("C", 51), true) // the second goes
	put(bar("D", 52), true) // the quote of B
	put(bar("E", 53), true) // the quote of C: bars alone are left
	told()
	put(quote("B", 54, 5, 0), false)
	put(bar("F", 55), false)
	told()
	for _, want := range []string{"bar A 2", "bar C 51"} {
		if got := line(takeEvent(t, m)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	told(false)
	put(delta("A", 56, 0, level(12, 1)), true)
	put(quote("B", 57, 6, 0), true)
	told()
	for _, want := range []string{"bar D 52", "bar E 53", "book_delta A 56 56-56 [12=1] q2", "quote B 57 6 q2"} {
		if got := line(takeEvent(t, m)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	put(delta("A", 58, 0, level(12, 1)), true)
	put(snapshot("A", 59, 0, level(7, 1)), true)
	put(bar("F", 60), true)
	for _, want := range []string{"book_snapshot A 59 -59 [7=1] q2", "bar F 60 q2"} {
		if got := line(takeEvent(t, m)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if c := m.Counts(); !balanced(c) || c.Dropped != 1+1+46+1+1+1 || c.Conflated != 1 || c.Highest != 4 {
		t.Errorf("%+v", c)
	}
}

// What was lost over a halt or a restart is flagged once for every stream and kind.
// Proves: DQ-1
func TestInterrupted(t *testing.T) {
	m := New[int](16)
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if e := takeEvent(t, m); e == nil || line(e) != w {
				t.Errorf("got %v, want %s", e, w)
			}
		}
	}
	m.PutMarket(encode(t, quote("A", 1, 5, 0)))
	m.PutMarket(encode(t, delta("A", 2, 0)))
	m.DropMarket()
	m.PutMarket(encode(t, quote("A", 3, 5, 0)))
	m.PutMarket(encode(t, delta("A", 4, 0)))
	m.PutMarket(encode(t, trade("A", 5, dec(1, 0), dec(1, 0), ipc.SideBuy, 0)))
	expect("quote A 3 5 q2", "book_delta A 4 4-4 [] q2", "trade A 5")
	m.Interrupted()
	for seq := uint64(6); seq < 12; seq += 3 {
		m.PutMarket(encode(t, quote("A", seq, 5, 0)))
		m.PutMarket(encode(t, quote("N", seq+1, 5, 0)))
		m.PutMarket(encode(t, bar("A", seq+2)))
		if seq == 6 {
			expect("quote A 6 5 q2", "quote N 7 5 q2", "bar A 8 q2")
		}
	}
	expect("quote A 9 5", "quote N 10 5", "bar A 11")
}

// Whatever comes, what waits has a bound in bytes, and sources that name themselves anew for ever are not kept.
// Proves: BP-4
func TestMemoryIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := New[int](1 << 20)
	m.market.byteLimit = 4 << 20
	for i := range 300 {
		name := fmt.Sprintf("I%d", i%7)
		var levels []ipc.Level
		for l := range 5000 {
			levels = append(levels, level(int64(i*5000+l), 1))
		}
		m.PutMarket(encode(t, delta(name, uint64(i), 0, levels...)))
		if c := m.Counts(); c.Bytes > 5<<20 || !balanced(c) {
			t.Fatalf("%+v", c)
		}
	}
	for i := range 3 * maxStreams {
		e := quote("A", uint64(i), 5, 0)
		e.Source = ipc.SourceID(fmt.Sprintf("s%d", i))
		m.PutMarket(encode(t, e))
	}
	if n := len(m.market.streams); n > maxStreams {
		t.Errorf("%d streams are kept", n)
	}
	c := m.Counts()
	if c.Bytes > 5<<20 || !balanced(c) || c.Dropped == 0 || !c.Congested {
		t.Errorf("%+v", c)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("%d bytes are held where %d are counted", grown, c.Bytes)
	}
	runtime.KeepAlive(m)
}
