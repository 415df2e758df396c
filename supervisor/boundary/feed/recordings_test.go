package feed

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/tests/recordings"
)

// tally is what a test counts of one source.
type tally struct {
	events, levels, locked, sameTime           int
	kinds                                      map[ipc.EventKind]int
	flags                                      map[ipc.Quality]int
	firstEvent, lastEvent, firstRecv, lastRecv ipc.Nanos
	eventTimeBack                              int // event_ts below the highest seen, over all streams
	highest, minLag, maxLag                    ipc.Nanos
	instruments                                map[ipc.InstrumentID]int
}

// count reads a source to its end and checks what must hold of every event.
func count(t *testing.T, s Source) *tally {
	t.Helper()
	c := &tally{kinds: map[ipc.EventKind]int{}, flags: map[ipc.Quality]int{}, instruments: map[ipc.InstrumentID]int{}, minLag: 1 << 62, maxLag: -1 << 62}
	var lastRecv, lastEvent ipc.Nanos
	seqs := map[ipc.SourceID]uint64{}
	err := Drain(s, func(ev ipc.MarketEvent) error {
		h := ev.Header()
		if seqs[h.Source]++; h.Seq != seqs[h.Source] {
			t.Fatalf("event %d of %s has seq %d", seqs[h.Source], h.Source, h.Seq)
		}
		if h.RecvTS < lastRecv {
			t.Fatalf("event %d: recv_ts goes back from %d to %d", h.Seq, lastRecv, h.RecvTS)
		}
		lastRecv = h.RecvTS
		if c.events++; c.events == 1 {
			c.firstEvent, c.firstRecv = h.EventTS, h.RecvTS
		} else if h.EventTS == lastEvent {
			c.sameTime++
		}
		lastEvent = h.EventTS
		c.lastEvent, c.lastRecv = h.EventTS, h.RecvTS
		c.kinds[ev.Kind()]++
		c.instruments[h.Instrument]++
		for bit := range 7 {
			if f := ipc.Quality(1 << bit); h.Quality&f != 0 {
				c.flags[f]++
			}
		}
		if _, rest := ev.(*ipc.BookSnapshot); h.EventTS != 0 && !rest { // the figures are of streamed messages, not of the REST reply
			if h.EventTS < c.highest {
				c.eventTimeBack++
			}
			c.highest = max(c.highest, h.EventTS)
			c.minLag, c.maxLag = min(c.minLag, h.RecvTS-h.EventTS), max(c.maxLag, h.RecvTS-h.EventTS)
		}
		switch e := ev.(type) {
		case *ipc.BookDelta:
			c.levels += len(e.Bids) + len(e.Asks)
		case *ipc.Quote:
			if e.Bid != nil && e.Ask != nil && *e.Bid == *e.Ask {
				c.locked++
			}
		case *ipc.QuoteBar:
			if e.BidClose != nil && e.AskClose != nil && *e.BidClose == *e.AskClose {
				c.locked++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Progress(); p < 0.99 {
		t.Errorf("progress at the end is %v", p)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

func mustOpen(t *testing.T, path string, o Options) Source {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every LEAN file, against the figures that an independent program counted.
// Proves: EV-1, DQ-1, BC-F, BC-H
func TestRecordedLEANFilesGiveTheCountedRows_EV1(t *testing.T) {
	total := map[string]int{}
	for _, want := range leanFigures {
		path, ok := recordings.Path(t, "lean/Data/"+want.path)
		if !ok {
			return
		}
		got := count(t, mustOpen(t, path, Options{}))
		parts := strings.Split(want.path, "/")
		class, market, resolution, symbol := parts[0], parts[1], parts[2], parts[3]
		day, err := time.Parse("20060102", parts[4][:8])
		if err != nil {
			t.Fatal(err)
		}
		if market == "fxcm" {
			day = day.Add(5 * time.Hour) // midnight at UTC-05
		}
		period := map[string]ipc.Nanos{"tick": 0, "second": 1e9, "minute": 60e9}[resolution]
		first, last := ipc.Nanos(day.UnixNano()+want.firstMS*1e6), ipc.Nanos(day.UnixNano()+want.lastMS*1e6)
		kind := ipc.KindBar
		switch {
		case class == "forex":
			kind = ipc.KindQuote
		case strings.Contains(parts[4], "quote"):
			kind = ipc.KindQuoteBar
		}
		id := ipc.InstrumentID(strings.ToUpper(symbol + "." + market))
		if got.events != want.rows || got.kinds[kind] != want.rows || got.instruments[id] != want.rows {
			t.Errorf("%s: %d events %v of %v, want %d of kind %v, instrument %s", want.path, got.events, got.kinds, got.instruments, want.rows, kind, id)
		}
		if got.firstEvent != first || got.lastEvent != last || got.firstRecv != first+period || got.lastRecv != last+period {
			t.Errorf("%s: events %d to %d, known %d to %d; want %d to %d and %d later", want.path,
				got.firstEvent, got.lastEvent, got.firstRecv, got.lastRecv, first, last, period)
		}
		if got.flags[ipc.QualityCrossed] != want.crossed || got.locked != want.locked {
			t.Errorf("%s: %d crossed, %d locked; want %d, %d", want.path, got.flags[ipc.QualityCrossed], got.locked, want.crossed, want.locked)
		}
		if got.sameTime != want.sameTime || got.flags[ipc.QualityDup] != want.repeats {
			t.Errorf("%s: %d at the previous time, %d dup; want %d, %d", want.path, got.sameTime, got.flags[ipc.QualityDup], want.sameTime, want.repeats)
		}
		if n := got.flags[ipc.QualityOutOfOrder] + got.flags[ipc.QualityGap] + got.flags[ipc.QualityClockSkew]; n != 0 {
			t.Errorf("%s: flags %v on a clean file", want.path, got.flags)
		}
		total[class+"/"+market+"/"+resolution] += got.events
		total[market+" crossed"] += got.flags[ipc.QualityCrossed]
	}
	for name, want := range map[string]int{"forex/fxcm/tick": 1_144_807, "forex/oanda/tick": 532_903, "crypto/coinbase/minute": 38_893,
		"crypto/coinbase/second": 11_520, "fxcm crossed": 116_871, "oanda crossed": 0} {
		if total[name] != want {
			t.Errorf("%s: %d in all, want %d", name, total[name], want)
		}
	}
}

// The days of a directory follow one another; series of a market are merged by the time at which they were known.
// Proves: EV-1, BC-H
func TestRecordedDirectoriesAreOneFeed_BCH(t *testing.T) {
	dir, ok := recordings.Path(t, "lean/Data/forex/fxcm/tick/eurusd")
	if !ok {
		return
	}
	s := mustOpen(t, dir, Options{})
	if info := s.Info(); info.Files != 13 || info.Format != FormatLEAN || len(info.Sources) != 1 || info.Sources[0] != "lean/fxcm/tick/eurusd/quote" {
		t.Errorf("info %+v", info)
	}
	if c := count(t, s); c.events != 1_144_807 || c.flags[ipc.QualityGap] != 0 {
		t.Errorf("%d events, flags %v; want 1,144,807 without a gap", c.events, c.flags)
	}
	dir, ok = recordings.Path(t, "lean/Data/crypto/coinbase/minute")
	if !ok {
		return
	}
	s = mustOpen(t, dir, Options{})
	c := count(t, s)
	if info := s.Info(); c.events != 38_893 || len(c.instruments) != 3 || len(info.Sources) != 6 || info.Files != 28 {
		t.Errorf("%d events of %v from %+v; want 38,893 of 3 instruments from 6 series of 28 files", c.events, c.instruments, info)
	}
}

// Every Binance recording: each message becomes the event it is, the clock skew is flagged, and the complete numbering shows no gap.
// Proves: EV-1, DQ-1, DQ-3, BC-F, BC-H
func TestRecordedBinanceFilesGiveTheCountedMessages_EV1(t *testing.T) {
	at := func(s string) ipc.Nanos {
		v, err := time.Parse("2006-01-02T15:04:05.000", s)
		if err != nil {
			t.Fatal(err)
		}
		return ipc.Nanos(v.UnixMilli())
	}
	for _, want := range []struct {
		path                           string
		id                             ipc.InstrumentID
		messages                       int
		depth, ticker, trade, rest     int
		levels                         int
		first, last                    string
		back                           int // event time older than an earlier message's, over all streams
		minLagMS, maxLagMS             int64
		tickersWithTime, flaggedAsBack int
	}{
		{"cm/btcusd_perp_20240808.gz", "BTCUSD-PERP.BINANCE", 48_270, 26_847, 19_136, 2_286, 1, 296_013, "2024-08-08T23:54:16.172", "2024-08-08T23:59:59.994", 0, -1273, -1240, 19_136, 0},
		{"cm/btcusd_perp_20240809.gz", "BTCUSD-PERP.BINANCE", 50_116, 17_948, 29_219, 2_949, 0, 363_658, "2024-08-09T00:00:00.002", "2024-08-09T00:05:03.531", 1, -1274, -1244, 29_219, 0},
		{"spot/btcusdt_20240808.gz", "BTCUSDT.BINANCE", 41_249, 3_451, 28_040, 9_757, 1, 124_090, "2024-08-08T23:54:13.937", "2024-08-08T23:59:59.999", 11, -1275, -1250, 0, 0},
		{"spot/btcusdt_20240809.gz", "BTCUSDT.BINANCE", 58_325, 3_044, 45_134, 10_147, 0, 174_021, "2024-08-09T00:00:00.001", "2024-08-09T00:05:04.535", 14, -1277, -1259, 0, 0},
		{"usdm/btcusdt_20240808.gz", "BTCUSDT-PERP.BINANCE", 93_954, 6_551, 66_089, 21_313, 1, 443_521, "2024-08-08T23:54:15.030", "2024-08-08T23:59:59.833", 6_358, -1273, -1219, 66_089, 0},
	} {
		path, ok := recordings.Path(t, "hftbacktest/"+want.path)
		if !ok {
			return
		}
		s := mustOpen(t, path, Options{})
		c := count(t, s)
		if info := s.Info(); info.Format != FormatBinance || len(info.Skipped) != 0 || len(info.Instruments) != 1 {
			t.Errorf("%s: info %+v", want.path, info)
		}
		if c.events != want.messages || c.instruments[want.id] != want.messages {
			t.Errorf("%s: %d events of %v, want %d of %s", want.path, c.events, c.instruments, want.messages, want.id)
		}
		if c.kinds[ipc.KindBookDelta] != want.depth || c.kinds[ipc.KindQuote] != want.ticker || c.kinds[ipc.KindTrade] != want.trade || c.kinds[ipc.KindBookSnapshot] != want.rest {
			t.Errorf("%s: kinds %v", want.path, c.kinds)
		}
		if c.levels != want.levels {
			t.Errorf("%s: %d level changes, want %d", want.path, c.levels, want.levels)
		}
		if c.firstRecv/1e6 != at(want.first) || c.lastRecv/1e6 != at(want.last) {
			t.Errorf("%s: received %d to %d, want %s to %s", want.path, c.firstRecv, c.lastRecv, want.first, want.last)
		}
		if c.eventTimeBack != want.back {
			t.Errorf("%s: %d events older than an earlier message, want %d", want.path, c.eventTimeBack, want.back)
		}
		if lo, hi := int64(c.minLag)/1e6, int64(c.maxLag)/1e6; lo != want.minLagMS && lo != want.minLagMS+1 || hi != want.maxLagMS && hi != want.maxLagMS+1 {
			t.Errorf("%s: recv minus event %d to %d ms, want %d to %d", want.path, lo, hi, want.minLagMS, want.maxLagMS)
		}
		timed := want.messages
		if want.tickersWithTime == 0 { // spot gives its best bid and ask, and the REST reply, no time
			timed -= want.ticker + want.rest
		}
		if c.flags[ipc.QualityClockSkew] != timed {
			t.Errorf("%s: %d events flagged clock_skew, want every timed one: %d", want.path, c.flags[ipc.QualityClockSkew], timed)
		}
		if c.flags[ipc.QualityGap]+c.flags[ipc.QualityDup]+c.flags[ipc.QualityOutOfOrder]+c.flags[ipc.QualityCrossed] != 0 {
			t.Errorf("%s: flags %v; within its streams the recording is complete and in order", want.path, c.flags)
		}
	}
}

// A capture cut at midnight is one stream: the chain of update numbers continues across the cut.
// Proves: DQ-1, BC-H
func TestRecordedBinanceDaysContinue_DQ1(t *testing.T) {
	for dir, want := range map[string]int{"hftbacktest/spot": 99_574, "hftbacktest/cm": 98_386} {
		path, ok := recordings.Path(t, dir)
		if !ok {
			return
		}
		if c := count(t, mustOpen(t, path, Options{})); c.events != want || c.flags[ipc.QualityGap] != 0 {
			t.Errorf("%s: %d events, flags %v; want %d without a gap", dir, c.events, c.flags, want)
		}
	}
	path, ok := recordings.Path(t, "hftbacktest")
	if !ok {
		return
	}
	s := mustOpen(t, path, Options{})
	if c := count(t, s); c.events != 291_914 || c.kinds[ipc.KindTrade] != 46_452 || c.levels != 1_401_303 || len(c.instruments) != 3 {
		t.Errorf("merged: %d events, %d trades, %d levels of %v", c.events, c.kinds[ipc.KindTrade], c.levels, c.instruments)
	}
	if ignored := s.Info().Ignored; len(ignored) != 1 || filepath.Base(ignored[0]) != "LICENSE" {
		t.Errorf("ignored %v, want the licence", ignored)
	}
}

// Bitfinex's candles put close before high and low, and hold a real halt of eight days: a silence, not a gap.
// Proves: EV-1, DQ-1
func TestRecordedBitfinexCandles_EV1(t *testing.T) {
	for _, want := range []struct {
		symbol      string
		rows        int
		first, last string
		gaps        int // minutes without a row, counted as steps longer than one
	}{
		{"BTCUSD", 293_230, "2016-01-01T00:00", "2016-12-31T23:58", 63_912},
		{"ETHUSD", 85_818, "2016-03-09T16:04", "2016-12-31T23:31", 37_430},
	} {
		path, ok := recordings.Path(t, "bitfinex-historical-data/"+want.symbol+"/Candles_1m/2016/merged.csv.gz")
		if !ok {
			return
		}
		s := mustOpen(t, path, Options{})
		gaps, last := 0, ipc.Nanos(0)
		var firstTS ipc.Nanos
		err := Drain(s, func(ev ipc.MarketEvent) error {
			b := ev.(*ipc.Bar)
			if last != 0 && b.EventTS-last > 60e9 {
				gaps++
			} else if last == 0 {
				firstTS = b.EventTS
			}
			last = b.EventTS
			if b.Quality != 0 || b.PeriodNS != 60e9 || b.RecvTS != b.EventTS+60e9 || b.Instrument != ipc.InstrumentID(want.symbol+".BITFINEX") {
				t.Fatalf("bar %+v", b)
			}
			if want.symbol == "BTCUSD" && b.Seq == 2 && (b.Open.String() != "429.17" || b.Close.String() != "429.18" || b.High.String() != "429.18" || b.Low.String() != "429.17") {
				t.Fatalf("second bar %+v: columns in the wrong order", b)
			}
			if b.Seq == uint64(want.rows)+1 {
				t.Fatalf("more than %d rows", want.rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		n := s.(*chain).seq
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		const minute = "2006-01-02T15:04"
		if n != uint64(want.rows) || time.Unix(0, int64(firstTS)).UTC().Format(minute) != want.first || time.Unix(0, int64(last)).UTC().Format(minute) != want.last || gaps != want.gaps {
			t.Errorf("%s: %d rows from %d to %d, %d steps over a minute; want %+v", want.symbol, n, firstTS, last, gaps, want)
		}
	}
}
