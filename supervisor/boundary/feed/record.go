package feed

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/msup/msup/ipc"
)

// The words of msup's own files for the numbers of PROTOCOL.md; numbers are read as well.
var (
	kindNames = map[string]ipc.EventKind{
		"quote": ipc.KindQuote, "trade": ipc.KindTrade, "trade_aggregate": ipc.KindTradeAggregate, "book_delta": ipc.KindBookDelta,
		"book_snapshot": ipc.KindBookSnapshot, "bar": ipc.KindBar, "quote_bar": ipc.KindQuoteBar, "trading_status": ipc.KindTradingStatus,
	}
	sideNames    = []string{"unknown", "buy", "sell"}
	statusNames  = []string{"unknown", "open", "halted", "closed", "auction"}
	qualityNames = []string{"stale", "gap", "dup", "out_of_order", "clock_skew", "crossed", "warmup"}
)

// The fields of PROTOCOL.md section 3, by kind: what one may name in a line. "!" marks the mandatory ones.
var kindFields = map[ipc.EventKind][]string{
	ipc.KindQuote: {"bid", "bid_size", "ask", "ask_size"},
	ipc.KindTrade: {"!price", "!quantity", "side", "trade_id"},
	ipc.KindTradeAggregate: {"!count", "!buy_quantity", "!sell_quantity", "!first", "!last", "!high", "!low", "!vwap",
		"first_seq", "last_seq"},
	ipc.KindBookDelta:    {"first_seq", "last_seq", "bids", "asks"},
	ipc.KindBookSnapshot: {"last_seq", "bids", "asks"},
	ipc.KindBar:          {"!period", "!open", "!high", "!low", "!close", "!volume"},
	ipc.KindQuoteBar: {"!period", "bid_open", "bid_high", "bid_low", "bid_close", "bid_size",
		"ask_open", "ask_high", "ask_low", "ask_close", "ask_size"},
	ipc.KindTradingStatus: {"!status", "reason"},
}

var marketFields = []string{"kind", "instrument", "source", "event_ts", "recv_ts", "seq", "venue_seq", "quality"}

// decimalFields names every field that holds one decimal; record keeps them by index.
var decimalFields = []string{
	"bid", "bid_size", "ask", "ask_size", "price", "quantity", "buy_quantity", "sell_quantity", "first", "last", "high", "low", "vwap",
	"open", "close", "volume", "bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close",
}

// Indices into decimalFields.
const (
	fBid = iota
	fBidSize
	fAsk
	fAskSize
	fPrice
	fQuantity
	fBuyQuantity
	fSellQuantity
	fFirst
	fLast
	fHigh
	fLow
	fVWAP
	fOpen
	fClose
	fVolume
	fBidOpen
	fBidHigh
	fBidLow
	fBidClose
	fAskOpen
	fAskHigh
	fAskLow
	fAskClose
	decimalCount
)

var decimalIndex = func() map[string]int {
	out := make(map[string]int, len(decimalFields))
	for i, name := range decimalFields {
		out[name] = i
	}
	return out
}()

// record is one line of msup's own files before it is known to be an event.
type record struct {
	kind          ipc.EventKind
	market        ipc.Market
	decimals      [decimalCount]ipc.Decimal
	has           [decimalCount]bool
	count         uint64
	first, last   uint64
	periodNS      ipc.Nanos
	bids, asks    []ipc.Level
	side          uint64
	status        uint64
	tradeID       string
	reason        string
	given         []string // names of the fields in the line
	hasTS, hasRec bool
}

func (r *record) reset() {
	given := r.given[:0]
	*r = record{given: given}
}

// setDecimal stores a decimal field; false when the name is none.
func (r *record) setDecimal(name string, text []byte) (bool, error) {
	i, ok := decimalIndex[name]
	if !ok {
		return false, nil
	}
	r.has[i] = true
	if err := decimal(text, &r.decimals[i]); err != nil {
		return true, fmt.Errorf("field %q: %w", name, err)
	}
	return true, nil
}

// check refuses fields that the kind does not have and lacks of those that it must have: a misspelt field must not pass for
// an absent one.
func (r *record) check() error {
	fields, ok := kindFields[r.kind]
	if !ok {
		return refuse("name one of quote, trade, trade_aggregate, book_delta, book_snapshot, bar, quote_bar, trading_status", `no "kind"`)
	}
	for _, name := range r.given {
		if !slices.Contains(fields, name) && !slices.Contains(fields, "!"+name) && !slices.Contains(marketFields, name) {
			return refuse("its fields are "+strings.ReplaceAll(strings.Join(fields, ", "), "!", "")+" and "+strings.Join(marketFields, ", "),
				"a %s has no field %q", r.kind, clip([]byte(name)))
		}
	}
	for _, name := range fields {
		if must, ok := strings.CutPrefix(name, "!"); ok && !slices.Contains(r.given, must) {
			return refuse("add it", "a %s without field %q", r.kind, must)
		}
	}
	if err := ipc.CheckID(string(r.market.Instrument)); err != nil {
		return refuse(`give every line an "instrument", or name it by option`, "instrument: %w", err)
	}
	if err := ipc.CheckID(string(r.market.Source)); err != nil {
		return refuse(`correct "source"`, "source: %w", err)
	}
	if !r.hasTS && !r.hasRec {
		return refuse("give event_ts, recv_ts or both in ns UTC", "no time")
	}
	if r.kind == ipc.KindBar || r.kind == ipc.KindQuoteBar {
		if r.periodNS <= 0 || !r.hasTS {
			return refuse("a bar needs event_ts (its start) and period, both in ns", "period %d", r.periodNS)
		}
	}
	if r.side >= uint64(len(sideNames)) || r.status >= uint64(len(statusNames)) {
		return refuse("use "+strings.Join(sideNames, ", ")+"; "+strings.Join(statusNames, ", "), "side %d, status %d", r.side, r.status)
	}
	return nil
}

// optional copies the decimals that the line has to the heap and points at them.
func (r *record) optional(into map[int]**ipc.Decimal) {
	for i, p := range into {
		if r.has[i] {
			d := r.decimals[i]
			*p = &d
		}
	}
}

// event makes the event of a checked record.
func (r *record) event() ipc.MarketEvent {
	d := &r.decimals
	switch r.kind {
	case ipc.KindQuote:
		q := &quoteCells{Quote: ipc.Quote{Market: r.market}, bid: d[fBid], bidSize: d[fBidSize], ask: d[fAsk], askSize: d[fAskSize]}
		for i, p := range [4]struct{ into, from **ipc.Decimal }{{&q.Bid, ptr(&q.bid)}, {&q.BidSize, ptr(&q.bidSize)}, {&q.Ask, ptr(&q.ask)}, {&q.AskSize, ptr(&q.askSize)}} {
			if r.has[i] {
				*p.into = *p.from
			}
		}
		return &q.Quote
	case ipc.KindTrade:
		return &ipc.Trade{Market: r.market, Price: d[fPrice], Quantity: d[fQuantity], Side: ipc.Side(r.side), TradeID: r.tradeID}
	case ipc.KindTradeAggregate:
		return &ipc.TradeAggregate{Market: r.market, Count: r.count, BuyQuantity: d[fBuyQuantity], SellQuantity: d[fSellQuantity],
			First: d[fFirst], Last: d[fLast], High: d[fHigh], Low: d[fLow], VWAP: d[fVWAP], FirstSeq: r.first, LastSeq: r.last}
	case ipc.KindBookDelta:
		return &ipc.BookDelta{Market: r.market, FirstSeq: r.first, LastSeq: r.last, Bids: r.bids, Asks: r.asks}
	case ipc.KindBookSnapshot:
		return &ipc.BookSnapshot{Market: r.market, LastSeq: r.last, Bids: r.bids, Asks: r.asks}
	case ipc.KindBar:
		return &ipc.Bar{Market: r.market, PeriodNS: r.periodNS, Open: d[fOpen], High: d[fHigh], Low: d[fLow], Close: d[fClose], Volume: d[fVolume]}
	case ipc.KindQuoteBar:
		b := &ipc.QuoteBar{Market: r.market, PeriodNS: r.periodNS}
		r.optional(map[int]**ipc.Decimal{
			fBidOpen: &b.BidOpen, fBidHigh: &b.BidHigh, fBidLow: &b.BidLow, fBidClose: &b.BidClose, fBidSize: &b.BidSize,
			fAskOpen: &b.AskOpen, fAskHigh: &b.AskHigh, fAskLow: &b.AskLow, fAskClose: &b.AskClose, fAskSize: &b.AskSize,
		})
		return b
	}
	return &ipc.TradingStatus{Market: r.market, Status: ipc.Trading(r.status), Reason: r.reason}
}

func ptr(d *ipc.Decimal) **ipc.Decimal { return &d }

// setText stores a field from its text: the form of CSV cells and of JSON strings.
func (r *record) setText(name string, text []byte) error {
	if isDecimal, err := r.setDecimal(name, text); isDecimal {
		return err
	}
	var err error
	switch name {
	case "kind":
		k, ok := kindNames[string(text)]
		if !ok {
			return refuse("use quote, trade, trade_aggregate, book_delta, book_snapshot, bar, quote_bar or trading_status", "kind %q", clip(text))
		}
		r.kind = k
	case "instrument":
		r.market.Instrument = ipc.InstrumentID(text)
	case "source":
		r.market.Source = ipc.SourceID(text)
	case "event_ts":
		r.hasTS = true
		r.market.EventTS, err = stamp(text)
	case "recv_ts":
		r.hasRec = true
		r.market.RecvTS, err = stamp(text)
	case "period":
		r.periodNS, err = period(text)
	case "quality":
		r.market.Quality, err = qualityFlags(strings.Fields(string(text)))
	case "side":
		r.side, err = word(sideNames, text)
	case "status":
		r.status, err = word(statusNames, text)
	case "trade_id":
		r.tradeID, err = freeText(text, ipc.MaxIDBytes)
	case "reason":
		r.reason, err = freeText(text, ipc.MaxTagBytes)
	default:
		var n uint64
		if n, err = strconv.ParseUint(string(text), 10, 64); err != nil {
			err = fmt.Errorf("%q is no whole number", clip(text))
		}
		if !r.setNumber(name, n) {
			return nil // an unknown name: check reports it with the names there are
		}
	}
	if err != nil {
		return fmt.Errorf("field %q: %w", name, err)
	}
	return nil
}

// freeText is what a source may write as it likes, as far as a message can carry it.
func freeText(text []byte, most int) (string, error) {
	if len(text) > most {
		return "", fmt.Errorf("%d bytes; at most %d are read", len(text), most)
	}
	if !utf8.Valid(text) {
		return "", refuse("write the file as UTF-8", "%q is not UTF-8", clip(text))
	}
	return string(text), nil
}

// setNumber stores a whole-number field; false when the name is none.
func (r *record) setNumber(name string, n uint64) bool {
	switch name {
	case "seq":
		r.market.Seq = n
	case "venue_seq":
		r.market.VenueSeq = n
	case "first_seq":
		r.first = n
	case "last_seq":
		r.last = n
	case "count":
		r.count = n
	default:
		return false
	}
	return true
}

// stamp reads a time: ns UTC as digits, or RFC 3339.
func stamp(text []byte) (ipc.Nanos, error) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		if n < 0 {
			return 0, fmt.Errorf("time %d is before 1970", n)
		}
		return ipc.Nanos(n), nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil || t.Year() < 1970 || t.Year() > 2255 {
		return 0, fmt.Errorf("time %q is neither ns since 1970 nor 2006-01-02T15:04:05Z", clip(text))
	}
	return ipc.Nanos(t.UnixNano()), nil
}

// period reads a length of time: ns as digits, or Go's form ("1m", "1h").
func period(text []byte) (ipc.Nanos, error) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return ipc.Nanos(n), nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return 0, fmt.Errorf("period %q is neither ns nor a duration such as 1m", clip(text))
	}
	return ipc.Nanos(d), nil
}

func word(names []string, text []byte) (uint64, error) {
	if i := slices.Index(names, string(text)); i >= 0 {
		return uint64(i), nil
	}
	n, ok := parseUint(text)
	if !ok || n >= uint64(len(names)) {
		return 0, fmt.Errorf("%q is none of %s", clip(text), strings.Join(names, ", "))
	}
	return n, nil
}

func qualityFlags(names []string) (ipc.Quality, error) {
	var q ipc.Quality
	for _, name := range names {
		i := slices.Index(qualityNames, name)
		if i < 0 {
			n, err := strconv.ParseUint(name, 10, 7)
			if err != nil {
				return 0, fmt.Errorf("%q is none of %s", clip([]byte(name)), strings.Join(qualityNames, ", "))
			}
			q |= ipc.Quality(n)
			continue
		}
		q |= 1 << i
	}
	return q, nil
}
