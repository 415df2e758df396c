package feed

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
)

// Column orders of files without a header. Bitfinex puts close before high and low.
const (
	defaultColumns  = "time,open,high,low,close,volume"
	bitfinexColumns = "time,open,close,high,low,volume"
)

var (
	periodPattern  = regexp.MustCompile(`(?i)(?:^|[^a-z0-9])(\d{1,4})(s|m|min|h|d)(?:[^a-z0-9]|$)`)
	columnSynonyms = map[string]string{
		"time": "time", "timestamp": "time", "ts": "time", "date": "time", "datetime": "time", "open_time": "time", "open time": "time",
		"opentime": "time", "start": "time", "unix": "time", "time_ms": "time",
		"open": "open", "o": "open", "high": "high", "h": "high", "low": "low", "l": "low", "close": "close", "c": "close",
		"volume": "volume", "vol": "volume", "v": "volume", "volume_base": "volume", "base_volume": "volume",
	}
	ohlcvNames = []string{"time", "open", "high", "low", "close", "volume"}
)

// ohlcvParser reads plain candles.
type ohlcvParser struct {
	instrument ipc.InstrumentID
	source     ipc.SourceID
	periodNS   ipc.Nanos
	location   *time.Location
	fixed      []string // column order by option or venue; nil = by header, or the default
	order      [6]int   // index in the row of time, open, high, low, close, volume
	width      int
	first      bool
	fields     [64][]byte
}

func newOHLCV(first string, o Options) (*ohlcvParser, Info, error) {
	p := &ohlcvParser{instrument: o.Instrument, location: time.UTC}
	parts := strings.Split(filepath.ToSlash(first), "/")
	bitfinex := slices.ContainsFunc(parts, func(s string) bool { return strings.Contains(strings.ToLower(s), "bitfinex") })
	if p.instrument == "" && bitfinex {
		for i, part := range parts { // …/BTCUSD/Candles_1m/2016/merged.csv.gz
			if i > 0 && strings.HasPrefix(part, "Candles_") {
				p.instrument = ipc.InstrumentID(strings.ToUpper(parts[i-1]) + ".BITFINEX")
			}
		}
	}
	if p.instrument == "" {
		return nil, Info{}, formatError(first, "candles name no instrument", "name it by option, for example BTCUSD.BITFINEX")
	}
	if p.periodNS = ipc.Nanos(o.Period); p.periodNS == 0 {
		p.periodNS = pathPeriod(parts)
	}
	if p.periodNS <= 0 {
		return nil, Info{}, formatError(first, "neither path nor option tells the length of a candle", "give the period, for example 1m")
	}
	var err error
	if o.TimeZone != "" {
		if p.location, err = zone(o.TimeZone); err != nil {
			return nil, Info{}, err
		}
	}
	switch {
	case o.Columns != "":
		p.fixed = strings.Split(o.Columns, ",")
		if err := p.arrange(p.fixed); err != nil {
			return nil, Info{}, formatError(first, err.Error(), "name all of "+defaultColumns+" once, others as you like")
		}
	case bitfinex:
		p.fixed = strings.Split(bitfinexColumns, ",")
	}
	p.source = ipc.SourceID("ohlcv/" + strings.ToLower(string(p.instrument)) + "/" + time.Duration(p.periodNS).String())
	return p, Info{Format: FormatOHLCV, Instruments: []ipc.InstrumentID{p.instrument}}, nil
}

// pathPeriod finds "1m", "15min", "1h" in the path's last parts.
func pathPeriod(parts []string) ipc.Nanos {
	for i := len(parts) - 1; i >= 0 && i >= len(parts)-3; i-- {
		m := periodPattern.FindStringSubmatch(parts[i])
		if m == nil {
			continue
		}
		n, _ := parseUint([]byte(m[1]))
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[strings.ToLower(m[2])]
		return ipc.Nanos(n) * ipc.Nanos(unit)
	}
	return 0
}

// arrange learns the order of columns from their names.
func (p *ohlcvParser) arrange(names []string) error {
	p.width = len(names)
	if p.width >= len(p.fields) {
		return fmt.Errorf("%d columns; at most %d are read", p.width, len(p.fields)-1)
	}
	for i := range p.order {
		p.order[i] = -1
	}
	for i, name := range names {
		std, ok := columnSynonyms[strings.ToLower(strings.Trim(strings.TrimSpace(name), `"`))]
		if !ok {
			continue
		}
		at := slices.Index(ohlcvNames, std)
		if p.order[at] >= 0 {
			return fmt.Errorf("two columns mean %q", std)
		}
		p.order[at] = i
	}
	for i, at := range p.order {
		if at < 0 {
			return fmt.Errorf("no column %q among %q", ohlcvNames[i], names)
		}
	}
	return nil
}

func (p *ohlcvParser) begin(*file) error {
	p.first = true
	return nil
}

func (p *ohlcvParser) parse(line []byte) (ipc.MarketEvent, numbering, error) {
	if p.first {
		p.first = false
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		if header, err := p.header(line); header || err != nil {
			return nil, numbering{}, err
		}
	}
	f := splitFields(line, p.fields[:0])
	if len(f) != p.width {
		return nil, numbering{}, refuse("every row must have the columns of the header or of the columns option", "%d columns, %d expected", len(f), p.width)
	}
	start, err := parseTime(f[p.order[0]], p.location)
	if err != nil {
		return nil, numbering{}, err
	}
	b := &ipc.Bar{PeriodNS: p.periodNS}
	b.Market = ipc.Market{Instrument: p.instrument, Source: p.source, EventTS: start, RecvTS: start + p.periodNS}
	for i, into := range [5]*ipc.Decimal{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume} {
		if err := decimal(f[p.order[i+1]], into); err != nil {
			return nil, numbering{}, fmt.Errorf("%s: %w", ohlcvNames[i+1], err)
		}
	}
	// Prices in the wrong columns look like prices. Only their order betrays them, so such a row is refused, not flagged.
	if b.High.Cmp(b.Open) < 0 || b.High.Cmp(b.Close) < 0 || b.Low.Cmp(b.Open) > 0 || b.Low.Cmp(b.Close) > 0 {
		return nil, numbering{}, refuse("check the order of the columns and set it by option, for example "+bitfinexColumns,
			"high %s and low %s do not enclose open %s and close %s", b.High, b.Low, b.Open, b.Close)
	}
	return b, numbering{}, nil
}

// header takes the first line when it names columns.
func (p *ohlcvParser) header(line []byte) (bool, error) {
	cell, _, _ := bytes.Cut(line, []byte{','})
	if _, err := parseTime(cell, p.location); err == nil {
		if p.fixed == nil {
			p.fixed = strings.Split(defaultColumns, ",")
		}
		return false, p.arrange(p.fixed)
	}
	if err := p.arrange(strings.Split(string(line), ",")); err != nil {
		return false, refuse("the header must name "+defaultColumns+" in any order", "header: %w", err)
	}
	return true, nil
}

// parseTime reads integer s, ms, µs or ns since the epoch (told apart by size: good from April 1970 to 2255), RFC 3339, or
// "2006-01-02[ 15:04[:05]]" in the given zone.
func parseTime(b []byte, loc *time.Location) (ipc.Nanos, error) {
	b = bytes.Trim(bytes.TrimSpace(b), `"`)
	if n, ok := parseUint(b); ok || len(b) == 19 && b[4] != '-' {
		if !ok {
			ns, ok := parseStamp(b)
			if !ok {
				return 0, badTime(b)
			}
			return ipc.Nanos(ns), nil
		}
		switch {
		case n < 9e9:
			return ipc.Nanos(n) * 1e9, nil
		case n < 9e12:
			return ipc.Nanos(n) * 1e6, nil
		case n < 9e15:
			return ipc.Nanos(n) * 1e3, nil
		}
		return ipc.Nanos(n), nil
	}
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, string(b), loc); err == nil {
			return ipc.Nanos(t.UnixNano()), nil
		}
	}
	return 0, badTime(b)
}

func badTime(b []byte) error {
	return refuse("write s, ms, µs or ns since 1970, or 2006-01-02T15:04:05Z", "time %q", clip(b))
}
