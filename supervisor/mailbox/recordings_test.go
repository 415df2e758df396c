package mailbox

import (
	"math/rand/v2"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/tests/recordings"
)

// binance are all recorded books; lean is quotes, one in ten crossed.
var recorded = []struct {
	path string
	bad  bool // disorder, repeats and holes are added
}{
	{"hftbacktest/spot/btcusdt_20240808.gz", false},
	{"hftbacktest/spot/btcusdt_20240809.gz", true},
	{"hftbacktest/usdm/btcusdt_20240808.gz", false},
	{"hftbacktest/usdm/btcusdt_20240808.gz", true},
	{"hftbacktest/cm/btcusd_perp_20240808.gz", false},
	{"hftbacktest/cm/btcusd_perp_20240809.gz", true},
}

// damage repeats, swaps and crosses events of a recording, and flags them as a feed does.
type damage struct {
	rng  *rand.Rand
	held *ipc.BookDelta
}

func (d *damage) pass(e ipc.MarketEvent) []ipc.MarketEvent {
	delta, ok := e.(*ipc.BookDelta)
	if !ok {
		return []ipc.MarketEvent{e}
	}
	if d.held != nil {
		late := *d.held
		d.held = nil
		late.RecvTS = delta.RecvTS
		late.Quality |= ipc.QualityOutOfOrder
		return []ipc.MarketEvent{delta, &late}
	}
	switch d.rng.IntN(40) {
	case 0:
		again := *delta
		again.Quality |= ipc.QualityDup
		return []ipc.MarketEvent{delta, &again}
	case 1:
		d.held = delta
		return nil
	case 2: // a bid above everything, for one event
		if len(delta.Asks) > 0 {
			delta.Bids = append([]ipc.Level{{Price: dec(9, 8), Quantity: dec(1, 0)}}, delta.Bids...)
			delta.Quality |= ipc.QualityCrossed
		}
	case 3:
		delta.Bids = append(delta.Bids, ipc.Level{Price: dec(9, 8)})
	}
	return []ipc.MarketEvent{delta}
}

// The book of what the mailbox made of a recording is the book of the recording, wherever nothing waits, and so are the sums of its trades.
// Proves: LN-1, BP-1, DQ-1
func TestRecordings(t *testing.T) {
	for i, r := range recorded {
		path, ok := recordings.Path(t, r.path)
		if !ok {
			return
		}
		source, err := feed.Open(path, feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := newSchedule(uint64(i), 4096)
		d := &damage{rng: s.rng}
		merged := map[ipc.EventKind]int{}
		err = feed.Drain(source, func(e ipc.MarketEvent) error {
			events := []ipc.MarketEvent{e}
			if r.bad {
				events = d.pass(e)
			}
			for _, e := range events {
				if err := s.put(e); err != nil {
					return err
				}
				merged[e.Kind()]++
			}
			switch n := s.rng.IntN(1000); {
			case n < 150:
				return s.take()
			case n < 152:
				return s.drain()
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", r.path, err)
		}
		if err := s.drain(); err != nil {
			t.Fatalf("%s: %v", r.path, err)
		}
		c := s.box.Counts()
		for instrument, readers := range s.feed {
			if n := len(readers[0].bids); n < 20 || !readers[0].valid {
				t.Errorf("%s: %d bids of %s, valid %v: that shows nothing", r.path, n, instrument, readers[0].valid)
			}
		}
		if c.Dropped != 0 || c.Conflated < c.Put/4 {
			t.Errorf("%s: %+v", r.path, c)
		}
		t.Logf("%s, damaged %v: %+v, %v", r.path, r.bad, c, merged)
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
}
