package mailbox

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

func dec(m int64, e int) ipc.Decimal {
	d, ok := ipc.NewDecimal(m, e)
	if !ok {
		panic("a constant of this test is no decimal")
	}
	return d
}

// encode makes of an event what a feed puts.
func encode(t testing.TB, e ipc.MarketEvent) Market {
	t.Helper()
	b, err := ipc.AppendEvent(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	return Market{Recv: e.Header().RecvTS, Event: b, Decoded: e}
}

func head(instrument string, seq uint64, q ipc.Quality) ipc.Market {
	return ipc.Market{Instrument: ipc.InstrumentID(instrument), Source: "h", RecvTS: ipc.Nanos(seq), Seq: seq, Quality: q}
}

func quote(instrument string, seq uint64, bid int64, q ipc.Quality) *ipc.Quote {
	price := dec(bid, 0)
	return &ipc.Quote{Market: head(instrument, seq, q), Bid: &price}
}

func trade(instrument string, seq uint64, price, quantity ipc.Decimal, side ipc.Side, q ipc.Quality) *ipc.Trade {
	return &ipc.Trade{Market: head(instrument, seq, q), Price: price, Quantity: quantity, Side: side}
}

func bar(instrument string, seq uint64) *ipc.Bar {
	one := dec(1, 0)
	return &ipc.Bar{Market: head(instrument, seq, 0), PeriodNS: 60e9, Open: one, High: one, Low: one, Close: one}
}

func delta(instrument string, seq uint64, q ipc.Quality, bids ...ipc.Level) *ipc.BookDelta {
	return &ipc.BookDelta{Market: head(instrument, seq, q), FirstSeq: seq, LastSeq: seq, Bids: bids}
}

func snapshot(instrument string, seq uint64, q ipc.Quality, bids ...ipc.Level) *ipc.BookSnapshot {
	return &ipc.BookSnapshot{Market: head(instrument, seq, q), LastSeq: seq, Bids: bids}
}

func level(price, quantity int64) ipc.Level {
	return ipc.Level{Price: dec(price, 0), Quantity: dec(quantity, 0)}
}

// takeEvent takes and decodes the next delivery; nil when nothing waits.
func takeEvent[U any](t interface{ Fatal(...any) }, m *Mailbox[U]) ipc.MarketEvent {
	item, ok, err := m.TakeMarket()
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	e, err := ipc.DecodeEvent(item.Event)
	if err != nil {
		t.Fatal(err)
	}
	market := e.(ipc.MarketEvent) //nolint:forcetypeassert // only market events are put
	if market.Header().RecvTS != item.Recv {
		t.Fatal("the delivery's receive time is not its event's", market.Header(), item.Recv)
	}
	return market
}

// line is a short form of an event.
func line(e ipc.MarketEvent) string {
	h := e.Header()
	s := fmt.Sprintf("%s %s %d", e.Kind(), h.Instrument, h.Seq)
	switch e := e.(type) {
	case *ipc.Quote:
		s += " " + e.Bid.String()
	case *ipc.TradeAggregate:
		s += fmt.Sprintf(" n%d %s/%s %s>%s %s-%s @%s %d-%d", e.Count, e.BuyQuantity, e.SellQuantity, e.First, e.Last, e.Low, e.High, e.VWAP, e.FirstSeq, e.LastSeq)
	case *ipc.BookDelta:
		s += fmt.Sprintf(" %d-%d %v", e.FirstSeq, e.LastSeq, text(e.Bids))
	case *ipc.BookSnapshot:
		s += fmt.Sprintf(" -%d %v", e.LastSeq, text(e.Bids))
	}
	if h.Quality != 0 {
		s += fmt.Sprintf(" q%d", h.Quality)
	}
	return s
}

func text(levels []ipc.Level) (out []string) {
	for _, l := range levels {
		out = append(out, l.Price.String()+"="+l.Quantity.String())
	}
	return out
}

// Proves: LN-1, BP-1, DQ-1
func TestConflation(t *testing.T) {
	const dup, gap, ooo, crossed, skew, warm = ipc.QualityDup, ipc.QualityGap, ipc.QualityOutOfOrder, ipc.QualityCrossed, ipc.QualityClockSkew, ipc.QualityWarmup
	buy := func(seq uint64, price, quantity int64, q ipc.Quality) *ipc.Trade {
		return trade("A", seq, dec(price, 0), dec(quantity, 0), ipc.SideBuy, q)
	}
	sell := *buy(3, 13, 3, 0)
	sell.Side = ipc.SideSell
	unknown := *buy(4, 11, 1, 0)
	unknown.Side = ipc.SideUnknown
	earlier, later := quote("A", 2, 5, ooo), quote("A", 1, 7, 0)
	earlier.EventTS, later.EventTS = 10, 20
	elsewhere := quote("A", 2, 9, 0)
	elsewhere.Source = "h2"
	for _, c := range []struct {
		name string
		put  []ipc.MarketEvent
		want []string
	}{
		{"nothing to merge", []ipc.MarketEvent{quote("A", 1, 5, 0), buy(2, 10, 1, 0), quote("B", 3, 6, crossed), bar("A", 4)},
			[]string{"quote A 1 5", "trade A 2", "quote B 3 6 q32", "bar A 4"}},
		{"the newest quote, in the place of the oldest, with all flags", []ipc.MarketEvent{quote("A", 1, 5, crossed), quote("B", 2, 6, 0), quote("A", 3, 7, skew), quote("A", 4, 8, 0)},
			[]string{"quote A 4 8 q48", "quote B 2 6"}},
		{"the newest by the venue's time", []ipc.MarketEvent{later, earlier}, []string{"quote A 1 7 q8"}},
		{"sources apart", []ipc.MarketEvent{quote("A", 1, 5, 0), elsewhere}, []string{"quote A 1 5", "quote A 2 9"}},
		{"history apart from life", []ipc.MarketEvent{quote("A", 1, 5, warm), quote("A", 2, 6, warm), quote("A", 3, 7, 0), quote("A", 4, 8, 0)},
			[]string{"quote A 2 6 q64", "quote A 4 8"}},
		{"nothing passes a bar of its instrument", []ipc.MarketEvent{quote("A", 1, 5, 0), bar("A", 2), quote("A", 3, 6, 0), quote("A", 4, 7, 0)},
			[]string{"quote A 1 5", "bar A 2", "quote A 4 7"}},
		{"nor a halt", []ipc.MarketEvent{buy(1, 10, 1, 0), &ipc.TradingStatus{Market: head("A", 2, 0), Status: ipc.TradingHalted}, buy(3, 11, 1, 0), &ipc.TradingStatus{Market: head("A", 4, 0), Status: ipc.TradingOpen}},
			[]string{"trade A 1", "trading_status A 2", "trade A 3", "trading_status A 4"}},
		{"but one of another", []ipc.MarketEvent{quote("A", 1, 5, 0), bar("B", 2), quote("A", 3, 6, 0)}, []string{"quote A 3 6", "bar B 2"}},
		{"trades", []ipc.MarketEvent{buy(1, 10, 1, skew), buy(2, 12, 2, 0), &sell, &unknown}, []string{"trade_aggregate A 4 n4 3/3 10>11 10-13 @12 1-4 q16"}},
		{"a repeated trade stands alone", []ipc.MarketEvent{buy(1, 10, 1, 0), buy(2, 10, 1, dup), buy(3, 10, 1, 0), buy(4, 10, 3, 0)},
			[]string{"trade A 1", "trade A 2 q4", "trade_aggregate A 4 n2 4/0 10>10 10-10 @10 3-4"}},
		{"one of nothing, too", []ipc.MarketEvent{buy(1, 10, 1, 0), buy(2, 10, 0, 0), buy(3, 10, 1, 0)}, []string{"trade A 1", "trade A 2", "trade A 3"}},
		{"deltas", []ipc.MarketEvent{delta("A", 1, 0, level(10, 1), level(9, 2)), delta("A", 2, crossed, level(10, 0)), delta("A", 3, 0, level(11, 4))},
			[]string{"book_delta A 3 1-3 [11=4 10=0 9=2] q32"}},
		{"snapshot and deltas", []ipc.MarketEvent{delta("A", 1, 0, level(10, 1)), snapshot("A", 2, 0, level(9, 9), level(8, 8)), delta("A", 3, 0, level(9, 0), level(7, 7))},
			[]string{"book_snapshot A 3 -3 [8=8 7=7]"}},
		{"an older snapshot stands alone", []ipc.MarketEvent{delta("A", 5, 0, level(10, 1)), snapshot("A", 2, 0, level(9, 9))},
			[]string{"book_delta A 5 5-5 [10=1]", "book_snapshot A 2 -2 [9=9]"}},
		{"an older delta stands alone", []ipc.MarketEvent{delta("A", 5, 0, level(10, 1)), delta("A", 4, 0, level(10, 2)), delta("A", 6, 0, level(9, 1)), delta("A", 7, 0, level(9, 2))},
			[]string{"book_delta A 5 5-5 [10=1]", "book_delta A 4 4-4 [10=2]", "book_delta A 7 6-7 [9=2]"}},
		{"an older one after an older one, too", []ipc.MarketEvent{delta("A", 5, 0, level(10, 1)), delta("A", 3, 0, level(10, 2)), delta("A", 4, 0, level(10, 3)), delta("A", 6, 0, level(9, 1)), delta("A", 7, 0, level(9, 2))},
			[]string{"book_delta A 5 5-5 [10=1]", "book_delta A 3 3-3 [10=2]", "book_delta A 4 4-4 [10=3]", "book_delta A 7 6-7 [9=2]"}},
		{"and one behind what is flagged", []ipc.MarketEvent{delta("A", 5, 0, level(10, 1)), delta("A", 8, ooo, level(11, 1)), delta("A", 6, 0, level(10, 3)), delta("A", 9, 0, level(9, 1))},
			[]string{"book_delta A 5 5-5 [10=1]", "book_delta A 8 8-8 [11=1] q8", "book_delta A 6 6-6 [10=3]", "book_delta A 9 9-9 [9=1]"}},
		{"a hole after a snapshot is left to be seen", []ipc.MarketEvent{snapshot("A", 2, 0, level(9, 9)), delta("A", 5, 0, level(10, 1))},
			[]string{"book_snapshot A 2 -2 [9=9]", "book_delta A 5 5-5 [10=1]"}},
		{"after a gap, a snapshot", []ipc.MarketEvent{delta("A", 1, 0, level(10, 1)), delta("A", 5, gap, level(9, 1)), delta("A", 6, 0, level(8, 1)), delta("A", 7, ooo, level(8, 3)),
			delta("B", 1, 0), bar("A", 8), snapshot("A", 9, 0, level(7, 7)), delta("A", 10, 0, level(6, 6))},
			[]string{"book_delta A 1 1-1 [10=1]", "book_delta A 5 5-5 [9=1] q2", "book_delta B 1 1-1 []", "bar A 8", "book_snapshot A 10 -10 [7=7 6=6] q2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := New[int](64)
			for _, e := range c.put {
				if !m.PutMarket(encode(t, e)) {
					t.Fatal("refused")
				}
			}
			var got []string
			for e := takeEvent(t, m); e != nil; e = takeEvent(t, m) {
				got = append(got, line(e))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%q, want\n%q", got, c.want)
			}
			if n := m.Counts(); !balanced(n) || n.Put != uint64(len(c.put)) || n.Taken != uint64(len(c.want)) || n.Bytes != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// What is merged is one thing; what is put afterwards is another, and lock step merges nothing.
// Proves: LN-1
func TestConflationEndsWithTheDelivery(t *testing.T) {
	m := New[int](64)
	for seq := uint64(1); seq < 5; seq += 2 {
		m.PutMarket(encode(t, quote("A", seq, 5, 0)))
		m.PutMarket(encode(t, quote("A", seq+1, 6, ipc.QualityStale*ipc.Quality(seq%3%2))))
		if got, want := line(takeEvent(t, m)), line(quote("A", seq+1, 6, ipc.QualityStale*ipc.Quality(seq%3%2))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for seq := range uint64(3) {
		if err := m.PutMarketWait(t.Context(), encode(t, quote("A", seq, 5, 0))); err != nil {
			t.Fatal(err)
		}
	}
	if m.Depth() != 3 {
		t.Errorf("%d deliveries of 3 quotes in lock step", m.Depth())
	}
}

// An aggregate says of its trades what summing them with rational numbers says.
// Proves: LN-1, BP-1
func TestAggregateEqualsTheSums(t *testing.T) {
	rat := func(d ipc.Decimal) *big.Rat {
		r, ok := new(big.Rat).SetString(fmt.Sprintf("%de%d", d.M, d.E))
		if !ok {
			t.Fatal(d)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		m := New[int](256)
		amount, total, buy, sell := new(big.Rat), new(big.Rat), new(big.Rat), new(big.Rat)
		var first, high, low, last ipc.Decimal
		n := rapid.IntRange(2, 40).Draw(t, "n")
		most := rapid.SampledFrom([]int64{9, 1000, 1 << 40}).Draw(t, "most")
		for i := range n {
			price := dec(rapid.Int64Range(-most/8, most).Draw(t, "price"), rapid.IntRange(-4, 2).Draw(t, "e"))
			quantity := dec(rapid.Int64Range(1, most).Draw(t, "quantity"), rapid.IntRange(-3, 1).Draw(t, "e"))
			side := ipc.Side(rapid.IntRange(0, 2).Draw(t, "side"))
			e := trade("A", uint64(i+1), price, quantity, side, 0)
			b, err := ipc.AppendEvent(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			m.PutMarket(Market{Recv: e.RecvTS, Event: b, Decoded: e})
			amount.Add(amount, new(big.Rat).Mul(rat(price), rat(quantity)))
			total.Add(total, rat(quantity))
			switch side {
			case ipc.SideBuy:
				buy.Add(buy, rat(quantity))
			case ipc.SideSell:
				sell.Add(sell, rat(quantity))
			}
			if i == 0 {
				first, high, low = price, price, price
			}
			if high.Less(price) {
				high = price
			}
			if price.Less(low) {
				low = price
			}
			last = price
		}
		a, ok := takeEvent(t, m).(*ipc.TradeAggregate)
		if !ok || m.Depth() != 0 {
			t.Fatalf("%d deliveries of %d trades", m.Depth()+1, n)
		}
		if a.Count != uint64(n) || a.FirstSeq != 1 || a.LastSeq != uint64(n) || a.Seq != uint64(n) || a.First != first || a.Last != last || a.High != high || a.Low != low {
			t.Fatalf("%s", line(a))
		}
		if rat(a.BuyQuantity).Cmp(buy) != 0 || rat(a.SellQuantity).Cmp(sell) != 0 {
			t.Fatalf("%s, bought %s, sold %s", line(a), buy, sell)
		}
		// Half a unit of the eighteenth digit, at most.
		exact := amount.Quo(amount, total)
		off := new(big.Rat).Sub(rat(a.VWAP), exact)
		bound := new(big.Rat).Mul(exact, big.NewRat(1, 2e17))
		if off.Abs(off).Cmp(bound.Abs(bound)) > 0 {
			t.Fatalf("vwap %s, exactly %s", a.VWAP, exact.FloatString(30))
		}
	})
}

// Prices far apart, amounts that cancel out, sums that are no decimal: the mailbox merges what it can say, and fails at nothing.
// Proves: BP-1
func TestAggregatesOfTheAbsurd(t *testing.T) {
	extremes := []ipc.Decimal{dec(1, 60), dec(-1, 60), dec(1, -60), dec(1<<62+1, 0), dec(-(1<<62)-3, 59), dec(7, -128), dec(7, 127), {}}
	rapid.Check(t, func(t *rapid.T) {
		m := New[int](1024)
		n := rapid.IntRange(1, 30).Draw(t, "n")
		for i := range n {
			e := trade("A", uint64(i+1), rapid.SampledFrom(extremes).Draw(t, "price"), rapid.SampledFrom(extremes).Draw(t, "quantity"), ipc.SideBuy, 0)
			b, err := ipc.AppendEvent(nil, e)
			if err != nil {
				t.Fatal(err)
			}
			m.PutMarket(Market{Recv: e.RecvTS, Event: b, Decoded: e})
		}
		seen := uint64(0)
		for e := takeEvent(t, m); e != nil; e = takeEvent(t, m) {
			switch e := e.(type) {
			case *ipc.TradeAggregate:
				if seen += e.Count; e.VWAP.Less(e.Low) && e.High.Less(e.VWAP) {
					t.Fatal(line(e))
				}
			case *ipc.Trade:
				seen++
			}
		}
		if c := m.Counts(); seen != uint64(n) || !balanced(c) {
			t.Fatalf("%d of %d trades arrived, %+v", seen, n, c)
		}
	})
}

// Proves: LN-1
func TestQuotesAllocateNothing(t *testing.T) {
	m := New[int](64)
	var items []Market
	for i := range uint64(64) {
		items = append(items, encode(t, quote(string(rune('A'+i%8)), i, int64(i), ipc.Quality(i%2)))) // flags differ: some must be written anew
	}
	round := func() {
		for _, item := range items {
			m.PutMarket(item)
		}
		for {
			if _, ok, err := m.TakeMarket(); !ok || err != nil {
				return
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations in 64 puts and 8 takes", n)
	}
}

// BenchmarkQuote puts and takes quotes of 50 instruments; merged is the share that conflation took.
func BenchmarkQuote(b *testing.B) {
	for _, every := range []int{1, 10} { // one take per so many puts
		b.Run(fmt.Sprintf("take-every-%d", every), func(b *testing.B) {
			m := New[int](4096)
			var items []Market
			for i := range uint64(50) {
				items = append(items, encode(b, quote(fmt.Sprintf("I%02d", i), i, int64(i), 0)))
			}
			b.ReportAllocs()
			for i := range b.N {
				m.PutMarket(items[i%50])
				if i%every == 0 {
					if _, _, err := m.TakeMarket(); err != nil {
						b.Fatal(err)
					}
				}
			}
			c := m.Counts()
			b.ReportMetric(float64(c.Conflated)/float64(c.Put), "merged")
		})
	}
}

// BenchmarkDelta merges deltas of twenty levels.
func BenchmarkDelta(b *testing.B) {
	m := New[int](4096)
	var items []Market
	for i := range uint64(100) {
		var levels []ipc.Level
		for l := range int64(20) {
			levels = append(levels, level(1000+(int64(i)*7+l*13)%200, l%5))
		}
		items = append(items, encode(b, delta("A", i+1, 0, levels...)))
	}
	b.ReportAllocs()
	for i := range b.N {
		m.PutMarket(items[i%100])
		if i%10 == 9 {
			if _, _, err := m.TakeMarket(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
