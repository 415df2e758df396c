package feed

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// write puts content under a name in a fresh directory; names may have folders.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zipped1(t *testing.T, entry, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(entry)
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// read takes everything, going on after errors.
func read(t *testing.T, s Source) (events []ipc.MarketEvent, errs []error) {
	t.Helper()
	for range 1_000_000 {
		ev, err := s.Next()
		if isEOF(err) {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return events, errs
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		events = append(events, ev)
	}
	t.Fatal("the source does not end")
	return nil, nil
}

const ownLines = `{"kind":"quote","instrument":"A.SIM","event_ts":1000,"recv_ts":1100,"seq":1,"bid":"1.10","bid_size":"5","ask":"1.2","ask_size":"7"}
{"kind":"trade","instrument":"A.SIM","event_ts":2000,"recv_ts":2100,"seq":2,"price":"1.15","quantity":"3","side":"buy","trade_id":"t1"}
{"kind":"bar","instrument":"A.SIM","event_ts":0,"recv_ts":60000000000,"seq":3,"period":"1m","open":"1","high":"3","low":"0.5","close":"2","volume":"100"}
{"kind":"book_snapshot","instrument":"A.SIM","recv_ts":60000000001,"last_seq":9,"bids":[["1.1","4"]],"asks":[["1.2","0.5"],["1.3","1"]]}
{"kind":"trading_status","instrument":"A.SIM","recv_ts":60000000002,"status":"halted","reason":"volatility","quality":["stale","warmup"]}
`

// Proves: EV-1, BC-H
func TestOwnLinesBecomeEvents_EV1(t *testing.T) {
	for name, content := range map[string]string{"x.jsonl": ownLines, "x.jsonl.gz": gz(t, ownLines)} {
		events, errs := read(t, mustOpen(t, write(t, name, content), Options{}))
		if len(errs) != 0 || len(events) != 5 {
			t.Fatalf("%s: %d events, errors %v", name, len(events), errs)
		}
		q := events[0].(*ipc.Quote)
		want := ipc.Market{Instrument: "A.SIM", Source: "file/x", EventTS: 1000, RecvTS: 1100, Seq: 1}
		if q.Market != want || q.Bid.String() != "1.1" || q.AskSize.String() != "7" {
			t.Errorf("quote %+v", q)
		}
		if tr := events[1].(*ipc.Trade); tr.Side != ipc.SideBuy || tr.TradeID != "t1" || tr.Quantity.String() != "3" {
			t.Errorf("trade %+v", tr)
		}
		if b := events[2].(*ipc.Bar); b.PeriodNS != 60e9 || b.Low.String() != "0.5" {
			t.Errorf("bar %+v", b)
		}
		if b := events[3].(*ipc.BookSnapshot); len(b.Asks) != 2 || b.Asks[1].Price.String() != "1.3" || b.LastSeq != 9 {
			t.Errorf("snapshot %+v", b)
		}
		if s := events[4].(*ipc.TradingStatus); s.Status != ipc.TradingHalted || s.Quality != ipc.QualityStale|ipc.QualityWarmup {
			t.Errorf("status %+v", s)
		}
	}
}

// Proves: EV-1
func TestOwnCSVBecomesEvents_EV1(t *testing.T) {
	path := write(t, "q.csv", "instrument,event_ts,bid,ask,bid_size\nA.SIM,2024-01-02T03:04:05.5Z,1.5,1.6,\n\"B.SIM\",1704164645600000000,,2,3\n")
	events, errs := read(t, mustOpen(t, path, Options{}))
	if len(errs) != 0 || len(events) != 2 {
		t.Fatalf("%d events, %v", len(events), errs)
	}
	a, b := events[0].(*ipc.Quote), events[1].(*ipc.Quote)
	if a.EventTS != 1704164645500000000 || a.RecvTS != a.EventTS || a.BidSize != nil || a.Bid.String() != "1.5" {
		t.Errorf("first %+v", a)
	}
	if b.Instrument != "B.SIM" || b.Bid != nil || b.BidSize.String() != "3" || b.Seq != 2 {
		t.Errorf("second %+v", b)
	}
}

// What the Writer writes, Open reads back: every kind, every field.
// Proves: EV-1
func TestWrittenEventsComeBack_EV1(t *testing.T) {
	d := func(s string) *ipc.Decimal { v := ipc.MustDecimal(s); return &v }
	m := func(seq uint64) ipc.Market {
		return ipc.Market{Instrument: "Ä \"x\"\\.SIM", Source: "s/1", EventTS: ipc.Nanos(seq) * 1000, RecvTS: ipc.Nanos(seq)*1000 + 7, Seq: seq, VenueSeq: seq + 100}
	}
	lv := []ipc.Level{{Price: *d("1.5"), Quantity: *d("0")}, {Price: *d("-2"), Quantity: *d("1E30")}}
	status := &ipc.TradingStatus{Market: m(9), Status: ipc.TradingAuction, Reason: "a\tb"}
	status.Quality = ipc.QualityStale | ipc.QualityWarmup
	events := []ipc.MarketEvent{
		&ipc.Quote{Market: m(1), Bid: d("1.25"), Ask: d("1.5"), AskSize: d("3")},
		&ipc.Quote{Market: m(2)},
		&ipc.Trade{Market: m(3), Price: *d("0.00000001"), Quantity: *d("9223372036854775807"), Side: ipc.SideSell, TradeID: "x\u00fc"},
		&ipc.TradeAggregate{Market: m(4), Count: 3, BuyQuantity: *d("1"), SellQuantity: *d("2"), First: *d("3"), Last: *d("4"), High: *d("5"), Low: *d("1"), VWAP: *d("2.5"), FirstSeq: 1, LastSeq: 3},
		&ipc.BookDelta{Market: m(5), FirstSeq: 7, LastSeq: 8, Bids: lv, Asks: []ipc.Level{}},
		&ipc.BookSnapshot{Market: m(6), LastSeq: 8, Bids: []ipc.Level{}, Asks: lv},
		&ipc.Bar{Market: m(7), PeriodNS: 60e9, Open: *d("1"), High: *d("2"), Low: *d("0"), Close: *d("1.5"), Volume: *d("0")},
		&ipc.QuoteBar{Market: m(8), PeriodNS: 1e9, BidOpen: d("1"), BidHigh: d("2"), BidLow: d("0.5"), BidClose: d("1"), BidSize: d("9"), AskClose: d("3"), AskSize: d("0")},
		status,
	}
	for _, name := range []string{"back.jsonl", "back.jsonl.gz"} {
		path := filepath.Join(t.TempDir(), name)
		w, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if err := w.Write(ev); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("the file has its name before it is complete")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, errs := read(t, mustOpen(t, path, Options{}))
		if len(errs) != 0 || len(got) != len(events) {
			t.Fatalf("%d events, %v", len(got), errs)
		}
		for i := range events {
			if !reflect.DeepEqual(got[i], events[i]) {
				t.Errorf("%s event %d:\n got %+v\nwant %+v", name, i, got[i], events[i])
			}
		}
	}
}

// A bad line is named with place, cause and remedy; the feed goes on behind it and says that something is missing.
// Proves: DQ-1, BC-H
func TestMalformedLineNamesItsPlace_DQ1(t *testing.T) {
	good := `{"kind":"quote","instrument":"A.SIM","event_ts":%d,"bid":"1","ask":"2"}` + "\n"
	for name, bad := range map[string]string{
		"no JSON":              `{"kind":`,
		"array":                `[1,2]`,
		"unknown kind":         `{"kind":"tick","instrument":"A.SIM","event_ts":2}`,
		"misspelt field":       `{"kind":"quote","instrument":"A.SIM","event_ts":2,"bidsize":"1"}`,
		"other's field":        `{"kind":"quote","instrument":"A.SIM","event_ts":2,"price":"1"}`,
		"field missing":        `{"kind":"trade","instrument":"A.SIM","event_ts":2,"price":"1"}`,
		"twice":                `{"kind":"quote","instrument":"A.SIM","event_ts":2,"bid":"1","bid":"2"}`,
		"number as float":      `{"kind":"quote","instrument":"A.SIM","event_ts":2,"bid":1.5}`,
		"bad decimal":          `{"kind":"quote","instrument":"A.SIM","event_ts":2,"bid":"1,5"}`,
		"too many digits":      `{"kind":"quote","instrument":"A.SIM","event_ts":2,"bid":"1.2345678901234567891"}`,
		"no instrument":        `{"kind":"quote","event_ts":2,"bid":"1"}`,
		"long instrument":      `{"kind":"quote","instrument":"` + strings.Repeat("A", 129) + `","event_ts":2}`,
		"no time":              `{"kind":"quote","instrument":"A.SIM","bid":"1"}`,
		"bad time":             `{"kind":"quote","instrument":"A.SIM","event_ts":"yesterday"}`,
		"bar w/o start":        `{"kind":"bar","instrument":"A.SIM","recv_ts":2,"period":60,"open":"1","high":"1","low":"1","close":"1","volume":"1"}`,
		"bad side":             `{"kind":"trade","instrument":"A.SIM","event_ts":2,"price":"1","quantity":"1","side":"both"}`,
		"bad flag":             `{"kind":"quote","instrument":"A.SIM","event_ts":2,"quality":["great"]}`,
		"level half":           `{"kind":"book_delta","instrument":"A.SIM","event_ts":2,"bids":[["1"]]}`,
		"deep nesting":         `{"kind":` + strings.Repeat("[", 1000),
		"invalid UTF-8 reason": "{\"kind\":\"trading_status\",\"instrument\":\"A.SIM\",\"event_ts\":2,\"status\":\"halted\",\"reason\":\"volatil\xf4ity\"}",
		"invalid UTF-8 trade":  "{\"kind\":\"trade\",\"instrument\":\"A.SIM\",\"event_ts\":2,\"price\":\"1\",\"quantity\":\"1\",\"trade_id\":\"\xff\"}",
		"long reason":          `{"kind":"trading_status","instrument":"A.SIM","event_ts":2,"status":"halted","reason":"` + strings.Repeat("r", 2000) + `"}`,
		"invalid UTF-8 id":     "{\"kind\":\"quote\",\"instrument\":\"A\xff\",\"event_ts\":2}",
	} {
		path := write(t, "bad.jsonl", fmt.Sprintf(good, 1)+bad+"\n"+fmt.Sprintf(good, 3))
		events, errs := read(t, mustOpen(t, path, Options{}))
		if len(events) != 2 || len(errs) != 1 {
			t.Errorf("%s: %d events, errors %v; want two events and one error", name, len(events), errs)
			continue
		}
		var line *LineError
		if !errors.As(errs[0], &line) || !errors.Is(errs[0], ErrMalformed) || line.Line != 2 || line.File != path || line.Remedy == "" {
			t.Errorf("%s: %v", name, errs[0])
		}
		if len(errs[0].Error()) > 700 {
			t.Errorf("%s: the error quotes %d bytes of the input", name, len(errs[0].Error()))
		}
		if q := events[1].Header().Quality; q != ipc.QualityGap {
			t.Errorf("%s: the event behind it has quality %b, want gap", name, q)
		}
	}
}

// Proves: BC-H
func TestLineTooLongIsRefusedWithoutHoldingIt_BCH(t *testing.T) {
	good := `{"kind":"quote","instrument":"A.SIM","event_ts":1,"bid":"1","ask":"2"}` + "\n"
	path := write(t, "long.jsonl", good+strings.Repeat("x", maxLineBytes+10)+"\n"+good)
	s := mustOpen(t, path, Options{})
	events, errs := read(t, s)
	if len(events) != 2 || len(errs) != 1 || !errors.Is(errs[0], ErrMalformed) || !strings.Contains(errs[0].Error(), ":2:") {
		t.Errorf("%d events, %v", len(events), errs)
	}
}

// A file cut anywhere gives what it holds, then a typed error; it never gives half a number.
// Proves: BC-H, DQ-1
func TestTruncatedFilesGiveWhatTheyHold_BCH(t *testing.T) {
	var rows strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&rows, "%d,1.%05d,2.%05d\r\n", i*10, i, i*7%1000)
	}
	var json strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&json, `{"kind":"quote","instrument":"A.SIM","event_ts":%d,"bid":"1.%d"}`+"\n", i+1, i*7919%10000+1)
	}
	entry := "20140501_eurusd_tick_quote.csv"
	for _, c := range []struct{ name, whole string }{
		{"forex/fxcm/tick/eurusd/20140501_quote.zip", zipped1(t, entry, rows.String())},
		{"a.jsonl.gz", gz(t, json.String())},
		{"a.jsonl", json.String()},
	} {
		all, errs := read(t, mustOpen(t, write(t, c.name, c.whole), Options{}))
		if len(all) != 5000 || len(errs) != 0 {
			t.Fatalf("%s: %d events, %v", c.name, len(all), errs)
		}
		for _, keep := range []int{len(c.whole) - 1, len(c.whole) - 9, len(c.whole) / 2, len(c.whole)/2 + 13} {
			s, err := Open(write(t, c.name, c.whole[:keep]), Options{})
			if err != nil {
				t.Fatalf("%s cut at %d of %d: %v", c.name, keep, len(c.whole), err)
			}
			events, errs := read(t, s)
			if len(errs) != 1 || !errors.Is(errs[0], ErrTruncated) {
				t.Errorf("%s cut at %d: errors %v, want truncated", c.name, keep, errs)
			}
			if len(events) == 0 || len(events) > 5000 || keep < len(c.whole)-100 && len(events) > 4000 {
				t.Errorf("%s cut at %d: %d events", c.name, keep, len(events))
			}
			for i := range events {
				if !reflect.DeepEqual(events[i], all[i]) {
					t.Fatalf("%s cut at %d: event %d is %+v, want %+v", c.name, keep, i, events[i], all[i])
				}
			}
		}
	}
}

// A recorder that was killed leaves half a JSON line inside a sound gzip: that is truncation too, not a bad line.
// Proves: BC-H
func TestHalfLastLineInSoundGzipIsTruncation_BCH(t *testing.T) {
	path := write(t, "spot/btcusdt_20240101.gz", gz(t, `1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"1.5","B":"3","a":"1.6","A":"1"}}`+"\n"+`1723161254087891269 {"stream":"btcusdt@bookT`))
	events, errs := read(t, mustOpen(t, path, Options{}))
	if len(events) != 1 || len(errs) != 1 || !errors.Is(errs[0], ErrTruncated) {
		t.Errorf("%d events, %v", len(events), errs)
	}
}

// Proves: BC-H
func TestDamagedGzipIsTold_BCH(t *testing.T) {
	whole := []byte(gz(t, strings.Repeat(ownLines, 50)))
	whole[len(whole)-6] ^= 0xff // the checksum
	events, errs := read(t, mustOpen(t, write(t, "d.jsonl.gz", string(whole)), Options{}))
	if len(errs) != 1 || !errors.Is(errs[0], ErrDamaged) || len(events) != 250 {
		t.Errorf("%d events, %v", len(events), errs)
	}
}

// A day that ends early is followed by the next day, whose first event is flagged.
// Proves: DQ-1
func TestCutDayIsFollowedByTheNext_DQ1(t *testing.T) {
	whole := zipped1(t, "20140501_eurusd_tick_quote.csv", strings.Repeat("1000,1.1,1.2\n", 3000))
	first := write(t, "forex/oanda/tick/eurusd/20140501_quote.zip", whole[:len(whole)-30])
	dir := filepath.Dir(first)
	if err := os.WriteFile(filepath.Join(dir, "20140502_quote.zip"), []byte(zipped1(t, "20140502_eurusd_tick_quote.csv", "5,1.1,1.2\n6,1.1,1.3\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	events, errs := read(t, mustOpen(t, dir, Options{}))
	if len(errs) != 1 || !errors.Is(errs[0], ErrTruncated) || len(events) < 2 {
		t.Fatalf("%d events, %v", len(events), errs)
	}
	next := events[len(events)-2].(*ipc.Quote)
	if next.Quality != ipc.QualityGap || next.EventTS != 1398988800005000000 || next.Seq != uint64(len(events)-1) {
		t.Errorf("first event of the next day %+v", next)
	}
}

// Proves: DQ-1, DQ-3
func TestFlagsSayWhatIsWrongAndKeepTheEvent_DQ1(t *testing.T) {
	l := func(seq, event, recv int, bid, ask string) string {
		return fmt.Sprintf(`{"kind":"quote","instrument":"A.SIM","source":"s","seq":%d,"event_ts":%d,"recv_ts":%d,"bid":"%s","ask":"%s"}`+"\n", seq, event, recv, bid, ask)
	}
	const s = 1_000_000_000
	content := l(10, 10*s, 10*s+5, "1", "2") + // clean
		l(11, 11*s, 11*s+5, "3", "2") + // crossed
		l(12, 11*s-1, 11*s+6, "1", "2") + // event time back
		l(13, 12*s, 11*s+3, "1", "2") + // received before the one before: raised, and skewed beyond tolerance
		l(16, 13*s, 13*s, "1", "2") + // two numbers missing
		l(16, 13*s, 13*s+1, "1", "2") + // the same again
		l(15, 13*s+1, 13*s+2, "1", "2") + // late number
		l(17, 14*s, 14*s-s/4, "1", "2") // skew within tolerance
	events, errs := read(t, mustOpen(t, write(t, "f.jsonl", content), Options{}))
	if len(errs) != 0 || len(events) != 8 {
		t.Fatalf("%d events, %v", len(events), errs)
	}
	want := []ipc.Quality{0, ipc.QualityCrossed, ipc.QualityOutOfOrder, ipc.QualityOutOfOrder | ipc.QualityClockSkew,
		ipc.QualityGap, ipc.QualityDup, ipc.QualityOutOfOrder, 0}
	for i, ev := range events {
		if got := ev.Header().Quality; got != want[i] {
			t.Errorf("event %d has quality %07b, want %07b", i+1, got, want[i])
		}
		if ev.Header().Seq != uint64(i+1) {
			t.Errorf("event %d has seq %d: it must be the record number", i+1, ev.Header().Seq)
		}
	}
	if events[3].Header().RecvTS != 11*s+6 {
		t.Errorf("recv_ts %d went back", events[3].Header().RecvTS)
	}
}

// Proves: DQ-1
func TestBinanceNumberingShowsGaps_DQ1(t *testing.T) {
	depth := func(U, u, pu int) string {
		return fmt.Sprintf(`1723161255030314667 {"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161255030,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["1","2"]],"a":[]}}`+"\n", U, u, pu)
	}
	trade := func(id int) string {
		return fmt.Sprintf(`1723161255030314667 {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1723161255030,"s":"BTCUSDT","a":%d,"p":"5","q":"1","f":1,"l":2,"m":true}}`+"\n", id)
	}
	content := depth(10, 20, 9) + trade(1) + depth(25, 30, 20) + trade(2) + depth(40, 50, 39) + trade(4) + trade(4) + trade(3) +
		`1723161255030314668 {"stream":"btcusdt@markPrice","data":{"e":"markPriceUpdate","p":"1"}}` + "\n"
	s := mustOpen(t, write(t, "um/btcusdt_20240101.gz", gz(t, content)), Options{})
	events, errs := read(t, s)
	if len(errs) != 0 || len(events) != 8 {
		t.Fatalf("%d events, %v", len(events), errs)
	}
	want := []ipc.Quality{0, 0, 0, 0, ipc.QualityGap, ipc.QualityGap, ipc.QualityDup, ipc.QualityOutOfOrder}
	for i, ev := range events {
		if got := ev.Header().Quality; got != want[i] || ev.Header().Instrument != "BTCUSDT-PERP.BINANCE" {
			t.Errorf("event %d: %+v, want quality %07b", i+1, ev.Header(), want[i])
		}
	}
	if tr := events[1].(*ipc.Trade); tr.Side != ipc.SideSell || tr.TradeID != "1" || tr.VenueSeq != 1 {
		t.Errorf("aggTrade %+v", tr)
	}
	if got := s.Info().Skipped; len(got) != 1 || got["markPriceUpdate"] != 1 {
		t.Errorf("skipped %v, want the one mark price", got)
	}
}

// Outside a folder that names the market, the messages' own marks tell it.
// Proves: EV-1
func TestBinanceMarketByMessage_EV1(t *testing.T) {
	for message, want := range map[string]ipc.InstrumentID{
		`{"u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}`:                                        "BTCUSDT.BINANCE",
		`{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1","E":5}`:                 "BTCUSDT-PERP.BINANCE",
		`{"e":"trade","E":1,"s":"BTCUSD_PERP","t":1,"p":"1","q":"1","X":"MARKET","m":true}`:            "BTCUSD-PERP.BINANCE",
		`{"e":"trade","E":1,"s":"BTCUSDT_240927","t":1,"p":"1","q":"1","X":"MARKET","m":false}`:        "BTCUSDT-240927.BINANCE",
		`{"stream":"ethusdt@trade","data":{"e":"trade","s":"ETHUSDT","t":1,"p":"1","q":"1"}}`:          "ETHUSDT.BINANCE",
		`{"stream":"ethusdt@depth","data":{"e":"depthUpdate","s":"ETHUSDT","U":1,"u":2,"pu":3}}`:       "ETHUSDT-PERP.BINANCE",
		`{"stream":"ethusdt@bookTicker","data":{"u":1,"s":"ETHUSDT","b":"0","B":"0","a":"2","A":"1"}}`: "ETHUSDT.BINANCE",
	} {
		events, errs := read(t, mustOpen(t, write(t, "rec.gz", gz(t, "1723161255030314667 "+message+"\n")), Options{}))
		if len(errs) != 0 || len(events) != 1 || events[0].Header().Instrument != want {
			t.Errorf("%s: %v %v, want %s", message, events, errs, want)
			continue
		}
		if q, ok := events[0].(*ipc.Quote); ok && strings.Contains(message, `"b":"0"`) && (q.Bid != nil || q.BidSize != nil || q.Ask == nil) {
			t.Errorf("an empty side is %+v", q)
		}
	}
}

// Candles whose columns stand in another order look like candles until high and low give them away.
// Proves: EV-1
func TestCandleColumnsByHeaderOptionAndDefault_EV1(t *testing.T) {
	o := Options{Instrument: "X.Y", Period: 60e9}
	for name, c := range map[string]struct {
		content string
		columns string
		bad     bool
	}{
		"default": {"1451606400000,1,4,0.5,2,9\n", "", false},
		"header":  {"Volume,Close,Low,High,Open,Date,Extra\n9,2,0.5,4,1,2016-01-01 00:00,x\n", "", false},
		"option":  {"1451606400,1,2,4,0.5,9\n", "time,open,close,high,low,volume", false},
		"bom":     {"\xef\xbb\xbftime,open,high,low,close,volume\n1451606400,1,4,0.5,2,9\n", "", false},
		"wrong":   {"1451606400000,1,2,4,0.5,9\n", "", true},
		"few":     {"1451606400000,1,4,0.5,2\n1,1,1,1,1,1\n", "", true},
	} {
		o := o
		o.Columns, o.Format = c.columns, FormatOHLCV
		events, errs := read(t, mustOpen(t, write(t, "c.csv", c.content), o))
		if c.bad {
			if len(errs) == 0 || !errors.Is(errs[0], ErrMalformed) {
				t.Errorf("%s: %v %v, want a malformed line", name, events, errs)
			}
			continue
		}
		if len(errs) != 0 || len(events) != 1 {
			t.Errorf("%s: %v %v", name, events, errs)
			continue
		}
		b := events[0].(*ipc.Bar)
		if b.EventTS != 1451606400e9 || b.RecvTS != b.EventTS+60e9 || b.Open.String() != "1" || b.High.String() != "4" || b.Low.String() != "0.5" || b.Close.String() != "2" || b.Volume.String() != "9" {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

// Proves: BC-F
func TestTimeZonesOfData_BCF(t *testing.T) {
	content := zipped1(t, "20140701_eurusd_tick_quote.csv", "0,1.1,1.2\n3600000.5,1.1,1.2\n")
	for market, c := range map[string]struct {
		zone string
		want ipc.Nanos // of midnight
		err  bool
	}{
		"fxcm":  {"", 1404172800e9 + 5*3600e9, false}, // no daylight saving in July
		"oanda": {"", 1404172800e9, false},
		"other": {"America/New_York", 1404172800e9 + 4*3600e9, false},
		"third": {"UTC+09:30", 1404172800e9 - 9*3600e9 - 1800e9, false},
		"bad":   {"Mars/Olympus", 0, true},
		"none":  {"", 0, true},
	} {
		path := write(t, "forex/"+market+"/tick/eurusd/20140701_quote.zip", content)
		s, err := Open(path, Options{TimeZone: c.zone})
		if c.err {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v, want a refusal", market, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", market, err)
			continue
		}
		events, errs := read(t, s)
		if len(errs) != 0 || len(events) != 2 || events[0].Header().EventTS != c.want || events[1].Header().EventTS != c.want+3600e9+500_000 {
			t.Errorf("%s: %v %v, want midnight at %d", market, events, errs, c.want)
		}
	}
	// On the day of the change the clock jumps from 02:00 to 03:00: what the file calls 04:00 is 08:00 UTC.
	path := write(t, "forex/other/tick/eurusd/20140309_quote.zip", zipped1(t, "20140309_eurusd_tick_quote.csv", "14400000,1.1,1.2\n"))
	events, errs := read(t, mustOpen(t, path, Options{TimeZone: "America/New_York"}))
	if len(errs) != 0 || events[0].Header().EventTS != 1394352000e9 {
		t.Errorf("daylight saving: %v %v", events, errs)
	}
}

// Proves: BC-H
func TestOpenRefusesWithCauseAndRemedy_BCH(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		o             Options
		want          string
	}{
		"empty":           {"a.csv", "", Options{}, "empty"},
		"prose":           {"a.txt", "hello world\n", Options{}, "force one of"},
		"format":          {"a.csv", "x\n", Options{Format: "parquet"}, "use one of"},
		"candles unnamed": {"a.csv", "time,open,high,low,close,volume\n1,1,1,1,1,1\n", Options{}, "name it by option"},
		"no period":       {"a.csv", "time,open,high,low,close,volume\n1,1,1,1,1,1\n", Options{Instrument: "A.B"}, "give the period"},
		"bad columns":     {"a.csv", "1,1,1,1,1,1\n", Options{Instrument: "A.B", Period: 1e9, Columns: "time,open,open"}, "two columns"},
		"bad instrument":  {"a.jsonl", "{}\n", Options{Instrument: "\x00"}, "control"},
		"zip of two":      {"forex/fxcm/tick/eurusd/20140501_quote.zip", "", Options{}, ""},
		"equity":          {"equity/usa/minute/spy/20131007_trade.zip", zipped1(t, "20131007_spy_minute_trade.csv", "1,1,1,1,1,1\n"), Options{}, "scales"},
		"hour":            {"crypto/coinbase/hour/btcusd_trade.zip", zipped1(t, "btcusd.csv", "20140501 00:00,1,1,1,1,1\n"), Options{}, "hour and daily"},
	} {
		path := write(t, c.file, c.content)
		if name == "zip of two" {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for _, n := range []string{"a.csv", "b.csv"} {
				if _, err := w.Create(n); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			c.want = "several files"
		}
		s, err := Open(path, c.o)
		if err == nil {
			_, err = s.Next()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, ErrFormat) {
		t.Errorf("empty directory: %v", err)
	}
}

// Proves: BC-H
func TestMergeIsStable_BCH(t *testing.T) {
	l := func(id string, ts int) string {
		return fmt.Sprintf(`{"kind":"quote","instrument":"%s","event_ts":%d}`+"\n", id, ts)
	}
	a := mustOpen(t, write(t, "a.jsonl", l("A", 1)+l("A", 5)+l("A", 5)+l("A", 9)), Options{})
	b := mustOpen(t, write(t, "b.jsonl", l("B", 1)+"broken\n"+l("B", 5)+l("B", 20)), Options{})
	m := Merge(a, b)
	events, errs := read(t, m)
	var order []string
	for _, ev := range events {
		order = append(order, fmt.Sprintf("%s%d", ev.Header().Instrument, ev.Header().EventTS))
	}
	if got := strings.Join(order, " "); got != "A1 B1 A5 A5 B5 A9 B20" || len(errs) != 1 {
		t.Errorf("order %s, errors %v", got, errs)
	}
	if m.Progress() != 1 {
		t.Errorf("progress %v", m.Progress())
	}
	if _, err := m.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// No input may panic or hang a reader, and what it gives must be able to cross a process boundary.
func FuzzOwnLines(f *testing.F) {
	for _, line := range strings.Split(ownLines, "\n") {
		f.Add([]byte(line), false)
	}
	f.Add([]byte("A.SIM,1,1.5,2"), true)
	f.Fuzz(func(t *testing.T, line []byte, csv bool) {
		p, _, err := newOwn("x.jsonl", Options{}, csv)
		if err != nil {
			t.Fatal(err)
		}
		if csv {
			if _, _, err := p.parse([]byte("instrument,event_ts,bid,ask")); err != nil {
				t.Fatal(err)
			}
		}
		checkParsed(t, p, line)
	})
}

func FuzzBinanceLine(f *testing.F) {
	f.Add([]byte(`1723161255030314667 {"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[["1","2"]],"a":[]}}`))
	f.Add([]byte(`1723161255030314667 {"lastUpdateId":5,"bids":[["1","1"]],"asks":[]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		p, _, err := newBinance("/spot/btcusdt_20240101.gz", Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkParsed(t, p, line)
	})
}

func checkParsed(t *testing.T, p parser, line []byte) {
	ev, n, err := p.parse(line)
	if err != nil || ev == nil {
		return
	}
	NewTracker(0).observe(ev, n)
	if _, err := ipc.AppendEvent(nil, ev); err != nil {
		t.Fatalf("%q gave an event that cannot be encoded: %v", line, err)
	}
}
