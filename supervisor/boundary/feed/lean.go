package feed

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
)

// leanSeries is what the path of a LEAN zip and the name of its entry say.
type leanSeries struct {
	class      string // "forex", "crypto", "cfd"; "" = not known
	market     string // "fxcm"
	resolution string // "tick", "second", "minute"
	symbol     string // "eurusd"
	kind       string // "quote", "trade"
	date       string // "20140501"
}

// leanPath reads …/<class>/<market>/<resolution>/<symbol>/<date>_<kind>.zip from the right.
func leanPath(p string) (s leanSeries, ok bool) {
	parts := strings.Split(strings.ToLower(strings.ReplaceAll(p, `\`, "/")), "/")
	if len(parts) < 4 {
		return s, false
	}
	parts = parts[max(0, len(parts)-5):]
	name := parts[len(parts)-1]
	s.date, s.kind, ok = strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "_")
	at := func(fromRight int) string {
		if i := len(parts) - 1 - fromRight; i >= 0 {
			return parts[i]
		}
		return ""
	}
	s.symbol, s.resolution, s.market, s.class = at(1), at(2), at(3), at(4)
	return s, ok && s.valid()
}

// leanEntry reads the entry's name, <date>_<symbol>_<resolution>_<kind>.csv; it says what a renamed zip does not.
func leanEntry(name string) (s leanSeries, ok bool) {
	parts := strings.Split(strings.TrimSuffix(strings.ToLower(path.Base(name)), ".csv"), "_")
	if len(parts) != 4 {
		return s, false
	}
	s = leanSeries{date: parts[0], symbol: parts[1], resolution: parts[2], kind: parts[3]}
	return s, s.valid()
}

func (s leanSeries) valid() bool {
	_, err := time.Parse("20060102", s.date)
	return err == nil && s.symbol != "" && (s.kind == "quote" || s.kind == "trade") &&
		(s.resolution == "tick" || s.resolution == "second" || s.resolution == "minute")
}

// leanUTC lists the markets whose data time zone is UTC: OANDA and every crypto market.
var leanUTC = map[string]bool{
	"oanda": true, "coinbase": true, "gdax": true, "binance": true, "binanceus": true, "bitfinex": true, "bybit": true, "kraken": true,
	"bitstamp": true, "dydx": true,
}

// leanZone is the clock of a market's data. FXCM's is New York's standard time all year round, without daylight saving: the
// EURUSD high of 2014-05-08 stands at 12:46 in OANDA's file and at 07:46 in FXCM's.
func leanZone(file string, s leanSeries, o Options) (*time.Location, error) {
	switch {
	case o.TimeZone != "":
		return zone(o.TimeZone)
	case s.market == "fxcm":
		return time.FixedZone("UTC-05", -5*3600), nil
	case leanUTC[s.market] || s.class == "crypto" || s.class == "cryptofuture":
		return time.UTC, nil
	}
	return nil, formatError(file, fmt.Sprintf("the time zone of market %q is not known", s.market),
		`set the time zone option, for example "UTC" or "America/New_York"`)
}

// zone reads "UTC", "UTC±hh:mm" or an IANA name.
func zone(name string) (*time.Location, error) {
	if rest, ok := strings.CutPrefix(name, "UTC"); ok && rest != "" {
		t, err := time.Parse("-07:00", rest)
		if err != nil {
			t, err = time.Parse("-07", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("time zone %q: %w: write it as UTC-05:00", name, ErrFormat)
		}
		_, offset := t.Zone()
		return time.FixedZone(name, offset), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w: %v; use UTC, UTC-05:00 or an IANA name such as America/New_York", name, ErrFormat, err)
	}
	return loc, nil
}

// leanParser reads the rows of LEAN's zips: quotes and bars in plain decimals, times in ms since the day's midnight.
type leanParser struct {
	options    Options
	instrument ipc.InstrumentID
	source     ipc.SourceID
	series     leanSeries
	location   *time.Location
	midnight   ipc.Nanos
	shifts     bool // the day has a change of the clock
	day        time.Time
	periodNS   ipc.Nanos
	fields     [12][]byte
}

// newLEAN reads the series of the group from its first file.
func newLEAN(first string, o Options) (*leanParser, Info, error) {
	p := &leanParser{options: o}
	s, ok := leanPath(first)
	if !ok {
		f, err := openFile(first, new(discard))
		if err != nil {
			return nil, Info{}, err
		}
		entry := f.entry
		if err := f.close(); err != nil {
			return nil, Info{}, err
		}
		if s, ok = leanEntry(entry); !ok {
			return nil, Info{}, formatError(first, "neither its path nor the name inside the zip is LEAN's",
				"keep LEAN's layout, <class>/<market>/<tick|second|minute>/<symbol>/<date>_<quote|trade>.zip; hour and daily files are not read")
		}
		if _, venue, ok := strings.Cut(string(o.Instrument), "."); ok {
			s.market = strings.ToLower(venue)
		}
	}
	switch s.class {
	case "equity", "option", "index", "indexoption", "future", "futureoption":
		return nil, Info{}, formatError(first, fmt.Sprintf("LEAN scales the prices of class %q", s.class), "forex, cfd and crypto are read")
	}
	p.instrument = o.Instrument
	if p.instrument == "" {
		if s.market == "" {
			return nil, Info{}, formatError(first, "the path does not tell the market", "name the instrument, for example EURUSD.FXCM")
		}
		p.instrument = ipc.InstrumentID(strings.ToUpper(s.symbol + "." + s.market))
	}
	var err error
	if p.location, err = leanZone(first, s, o); err != nil {
		return nil, Info{}, err
	}
	p.source = ipc.SourceID(strings.Join([]string{"lean", s.market, s.resolution, s.symbol, s.kind}, "/"))
	p.series = s
	return p, Info{Format: FormatLEAN, Instruments: []ipc.InstrumentID{p.instrument}}, nil
}

func (p *leanParser) begin(f *file) error {
	s, ok := leanEntry(f.entry)
	if !ok {
		s, ok = leanPath(f.path)
	}
	if !ok {
		return formatError(f.path, "neither its path nor the name inside the zip tells the date", "keep LEAN's names, 20140501_quote.zip")
	}
	day, err := time.ParseInLocation("20060102", s.date, p.location)
	if err != nil {
		return formatError(f.path, err.Error(), "keep LEAN's names, 20140501_quote.zip")
	}
	_, before := day.Zone()
	_, after := day.AddDate(0, 0, 1).Zone()
	p.day, p.midnight, p.shifts = day, ipc.Nanos(day.UnixNano()), before != after
	p.series.resolution, p.series.kind = s.resolution, s.kind
	switch s.resolution {
	case "second":
		p.periodNS = ipc.Nanos(time.Second)
	case "minute":
		p.periodNS = ipc.Nanos(time.Minute)
	}
	return nil
}

func (p *leanParser) parse(line []byte) (ipc.MarketEvent, numbering, error) {
	fields := splitFields(line, p.fields[:0])
	ts, err := p.time(fields[0])
	if err != nil {
		return nil, numbering{}, err
	}
	m := ipc.Market{Instrument: p.instrument, Source: p.source, EventTS: ts, RecvTS: ts + p.periodNS}
	var ev ipc.MarketEvent
	switch {
	case p.series.resolution == "tick" && p.series.kind == "quote":
		ev, err = p.tickQuote(m, fields)
	case p.series.resolution == "tick":
		ev, err = p.tickTrade(m, fields)
	case p.series.kind == "quote":
		ev, err = p.quoteBar(m, fields)
	default:
		ev, err = p.tradeBar(m, fields)
	}
	if err != nil {
		return nil, numbering{}, err
	}
	return ev, numbering{}, nil
}

// time reads ms since midnight, with up to six decimals.
func (p *leanParser) time(b []byte) (ipc.Nanos, error) {
	whole, frac, _ := bytes.Cut(b, []byte{'.'})
	ms, ok := parseUint(whole)
	if !ok || ms >= 25*3600*1000 || len(frac) > 6 {
		return 0, refuse("the first column is milliseconds since midnight, 0 to 86399999", "time %q", clip(b))
	}
	ns := ipc.Nanos(ms) * 1e6
	for i, unit := 0, ipc.Nanos(1e5); i < len(frac); i, unit = i+1, unit/10 {
		if frac[i] < '0' || frac[i] > '9' {
			return 0, refuse("the first column is milliseconds since midnight, 0 to 86399999", "time %q", clip(b))
		}
		ns += ipc.Nanos(frac[i]-'0') * unit
	}
	if p.shifts {
		y, mo, d := p.day.Date()
		return ipc.Nanos(time.Date(y, mo, d, 0, 0, int(ms/1000), int(ns%1e9), p.location).UnixNano()), nil
	}
	return p.midnight + ns, nil
}

// quoteCells is a quote and its numbers in one allocation.
type quoteCells struct {
	ipc.Quote
	bid, bidSize, ask, askSize ipc.Decimal
}

func (p *leanParser) tickQuote(m ipc.Market, f [][]byte) (ipc.MarketEvent, error) {
	q := &quoteCells{Quote: ipc.Quote{Market: m}}
	var err error
	switch len(f) {
	case 3:
		err = firstError(cell(f[1], &q.bid, &q.Bid), cell(f[2], &q.ask, &q.Ask))
	case 5, 6, 7: // crypto: with sizes; newer files append exchange and a suspicious flag
		err = firstError(cell(f[1], &q.bid, &q.Bid), cell(f[2], &q.bidSize, &q.BidSize), cell(f[3], &q.ask, &q.Ask), cell(f[4], &q.askSize, &q.AskSize))
	default:
		return nil, columns("ms,bid,ask or ms,bid,bid size,ask,ask size", len(f))
	}
	if err != nil {
		return nil, err
	}
	return &q.Quote, nil
}

func (p *leanParser) tickTrade(m ipc.Market, f [][]byte) (ipc.MarketEvent, error) {
	if len(f) < 3 || len(f) > 5 {
		return nil, columns("ms,price,quantity", len(f))
	}
	t := &ipc.Trade{Market: m}
	if err := firstError(decimal(f[1], &t.Price), decimal(f[2], &t.Quantity)); err != nil {
		return nil, err
	}
	return t, nil
}

func (p *leanParser) tradeBar(m ipc.Market, f [][]byte) (ipc.MarketEvent, error) {
	if len(f) != 6 {
		return nil, columns("ms,open,high,low,close,volume", len(f))
	}
	b := &ipc.Bar{Market: m, PeriodNS: p.periodNS}
	err := firstError(decimal(f[1], &b.Open), decimal(f[2], &b.High), decimal(f[3], &b.Low), decimal(f[4], &b.Close), decimal(f[5], &b.Volume))
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (p *leanParser) quoteBar(m ipc.Market, f [][]byte) (ipc.MarketEvent, error) {
	if len(f) != 11 {
		return nil, columns("ms, bid open,high,low,close, bid size, ask open,high,low,close, ask size", len(f))
	}
	cells := new([10]ipc.Decimal)
	b := &ipc.QuoteBar{Market: m, PeriodNS: p.periodNS}
	for i, into := range [10]**ipc.Decimal{
		&b.BidOpen, &b.BidHigh, &b.BidLow, &b.BidClose, &b.BidSize, &b.AskOpen, &b.AskHigh, &b.AskLow, &b.AskClose, &b.AskSize,
	} {
		if err := cell(f[i+1], &cells[i], into); err != nil {
			return nil, err
		}
	}
	if p.series.class == "forex" || p.series.class == "cfd" { // these markets publish no sizes; LEAN writes zero
		if b.BidSize != nil && b.BidSize.IsZero() {
			b.BidSize = nil
		}
		if b.AskSize != nil && b.AskSize.IsZero() {
			b.AskSize = nil
		}
	}
	return b, nil
}
