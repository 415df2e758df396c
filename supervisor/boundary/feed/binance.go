package feed

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/msup/msup/ipc"
)

// binanceMarket is one of Binance's three books; they number and name differently.
type binanceMarket uint8

const (
	binanceUnknown binanceMarket = iota
	binanceSpot
	binanceUSDM  // linear futures, sizes in the base coin
	binanceCOINM // inverse futures, sizes in contracts
)

// binanceFolders names the market of a recording by the folder it lies in.
var binanceFolders = map[string]binanceMarket{
	"spot": binanceSpot, "usdm": binanceUSDM, "um": binanceUSDM, "usd-m": binanceUSDM, "futures": binanceUSDM,
	"cm": binanceCOINM, "coinm": binanceCOINM, "coin-m": binanceCOINM,
}

// maxSkippedNames bounds how many unknown message names are counted apart: they come from the file.
const maxSkippedNames = 64

// binanceParser reads lines of `<receive time, ns> <JSON as received>`.
type binanceParser struct {
	json       fastjson.Parser
	options    Options
	source     ipc.SourceID
	market     binanceMarket // by folder
	fileSymbol string
	lastSymbol string // as written in the last message
	lastID     ipc.InstrumentID
	unknown    map[string]uint64
}

func newBinance(first string, o Options) (*binanceParser, Info, error) {
	p := &binanceParser{options: o, unknown: make(map[string]uint64)}
	folder := strings.ToLower(filepath.Base(filepath.Dir(first)))
	p.market = binanceFolders[folder]
	name := strings.ToLower(filepath.Base(first))
	name, _, _ = strings.Cut(name, ".")
	p.fileSymbol = strings.ToUpper(strings.Trim(datePattern.ReplaceAllString(name, ""), "_-"))
	parts := []string{"binance", strings.ToLower(p.fileSymbol)}
	if p.market != binanceUnknown {
		parts = []string{"binance", folder, strings.ToLower(p.fileSymbol)}
	}
	p.source = ipc.SourceID(strings.Join(parts, "/"))
	return p, Info{Format: FormatBinance}, nil
}

func (p *binanceParser) begin(*file) error { return nil }

func (p *binanceParser) skipped() map[string]uint64 { return maps.Clone(p.unknown) }

const binanceRemedy = "each line is <receive time in ns> <one JSON message>; correct or remove it"

func (p *binanceParser) parse(line []byte) (ipc.MarketEvent, numbering, error) {
	stamp, message, ok := bytes.Cut(line, []byte{' '})
	recv, isNumber := parseStamp(stamp)
	if !ok || !isNumber {
		return nil, numbering{}, refuse(binanceRemedy, "no receive time in %q", clip(line))
	}
	v, err := p.json.ParseBytes(message)
	if err != nil {
		return nil, numbering{}, refuse(binanceRemedy, "bad JSON: %s", clip([]byte(err.Error())))
	}
	data := v
	if d := v.Get("data"); d != nil {
		data = d
	}
	o, err := data.Object()
	if err != nil {
		return nil, numbering{}, refuse(binanceRemedy, "the message is no JSON object")
	}
	ev, n, err := p.message(o, v.GetStringBytes("stream"), ipc.Nanos(recv))
	if err != nil {
		return nil, numbering{}, refuse(binanceRemedy, "%w", err)
	}
	return ev, n, nil
}

// binanceMessage is a message's fields, collected in one pass over the object: Get would search it anew for each of them.
type binanceMessage struct {
	name                        []byte // "e"
	symbol                      []byte // "s" or "symbol"
	eventMS                     *fastjson.Value
	first, last, prev, tradeID  *fastjson.Value // U, u, pu, t or a
	bid, bidSize, ask, askSize  *fastjson.Value // b, B, a, A
	price, quantity, buyerMaker *fastjson.Value // p, q, m
	bids, asks, lastUpdateID    *fastjson.Value // REST
	pair, order                 bool            // "ps": COIN-M; "X": futures
}

func (m *binanceMessage) collect(key []byte, v *fastjson.Value) {
	switch string(key) {
	case "e":
		m.name = v.GetStringBytes()
	case "s", "symbol":
		m.symbol = v.GetStringBytes()
	case "E":
		m.eventMS = v
	case "U":
		m.first = v
	case "u":
		m.last = v
	case "pu":
		m.prev = v
	case "t":
		m.tradeID = v
	case "b":
		m.bid = v
	case "B":
		m.bidSize = v
	case "a":
		m.ask = v
	case "A":
		m.askSize = v
	case "p":
		m.price = v
	case "q":
		m.quantity = v
	case "m":
		m.buyerMaker = v
	case "bids":
		m.bids = v
	case "asks":
		m.asks = v
	case "lastUpdateId":
		m.lastUpdateID = v
	case "ps", "pair":
		m.pair = true
	case "X":
		m.order = true
	}
}

func (p *binanceParser) message(o *fastjson.Object, stream []byte, recv ipc.Nanos) (ipc.MarketEvent, numbering, error) {
	var m binanceMessage
	o.Visit(m.collect)
	ms := number(m.eventMS)
	if ms > 9e12 {
		return nil, numbering{}, fmt.Errorf(`"E" is %d ms, beyond the year 2255`, ms)
	}
	h := ipc.Market{Source: p.source, RecvTS: recv, EventTS: ipc.Nanos(ms) * 1e6}
	var ev ipc.MarketEvent
	var n numbering
	var err error
	switch {
	case string(m.name) == "depthUpdate":
		ev, n, err = m.delta(h)
	case string(m.name) == "trade":
		ev, n, err = m.trade(h, m.tradeID)
	case string(m.name) == "aggTrade":
		ev, n, err = m.trade(h, m.ask)
	case string(m.name) == "bookTicker", m.name == nil && m.bidSize != nil && m.askSize != nil:
		ev, n, err = m.quote(h)
	case m.lastUpdateID != nil:
		ev, n, err = m.snapshot(h)
	default:
		p.skip(m.name, stream)
		return nil, numbering{}, nil
	}
	if err != nil {
		return nil, numbering{}, err
	}
	id, err := p.instrument(&m, stream)
	ev.Header().Instrument = id
	return ev, n, err
}

func (p *binanceParser) skip(name, stream []byte) {
	if len(name) == 0 {
		name = stream
	}
	key := clip(name)
	if _, ok := p.unknown[key]; !ok && len(p.unknown) >= maxSkippedNames {
		key = "other"
	}
	p.unknown[key]++
}

// instrument names what a message is about. The same symbol is another instrument in another of Binance's markets.
func (p *binanceParser) instrument(m *binanceMessage, stream []byte) (ipc.InstrumentID, error) {
	if p.options.Instrument != "" {
		return p.options.Instrument, nil
	}
	symbol := m.symbol
	if len(symbol) == 0 { // the REST snapshot of spot and USD-M names none: the recording is of one symbol
		symbol, _, _ = bytes.Cut(stream, []byte{'@'})
		if len(symbol) == 0 && p.lastSymbol != "" {
			return p.lastID, nil
		}
		if len(symbol) == 0 {
			symbol = []byte(p.fileSymbol)
		}
	} else if string(symbol) == p.lastSymbol {
		return p.lastID, nil
	}
	id, err := p.name(strings.ToUpper(string(symbol)), m)
	if err != nil {
		return "", err
	}
	p.lastSymbol, p.lastID = string(symbol), id
	return id, nil
}

func (p *binanceParser) name(symbol string, m *binanceMessage) (ipc.InstrumentID, error) {
	if err := ipc.CheckID(symbol); err != nil || len(symbol) > 64 {
		return "", fmt.Errorf("symbol %q is no name (%v); name the instrument by option", clip([]byte(symbol)), err)
	}
	market := p.market
	if market == binanceUnknown { // no telling folder: futures messages carry marks that spot's do not
		switch {
		case m.pair, strings.HasSuffix(symbol, "_PERP"):
			market = binanceCOINM
		case m.order, m.prev != nil, string(m.name) == "bookTicker":
			market = binanceUSDM
		default:
			market = binanceSpot
		}
	}
	base, suffix, dated := strings.Cut(symbol, "_")
	switch {
	case dated: // BTCUSD_PERP, BTCUSDT_240927
		return ipc.InstrumentID(base + "-" + suffix + ".BINANCE"), nil
	case market == binanceSpot:
		return ipc.InstrumentID(base + ".BINANCE"), nil
	}
	return ipc.InstrumentID(base + "-PERP.BINANCE"), nil
}

func (m *binanceMessage) delta(h ipc.Market) (ipc.MarketEvent, numbering, error) {
	d := &ipc.BookDelta{Market: h, FirstSeq: number(m.first), LastSeq: number(m.last)}
	if d.LastSeq == 0 {
		return nil, numbering{}, fmt.Errorf(`depthUpdate without "u"`)
	}
	d.VenueSeq = d.LastSeq
	var err error
	if d.Bids, d.Asks, err = sides(m.bid, m.ask); err != nil {
		return nil, numbering{}, err
	}
	// Futures name the predecessor, as their ids leave holes; on spot ids follow one another.
	return d, numbering{first: d.FirstSeq, last: d.LastSeq, prev: number(m.prev)}, nil
}

func (m *binanceMessage) snapshot(h ipc.Market) (ipc.MarketEvent, numbering, error) {
	s := &ipc.BookSnapshot{Market: h, LastSeq: number(m.lastUpdateID)}
	s.VenueSeq = s.LastSeq
	var err error
	s.Bids, s.Asks, err = sides(m.bids, m.asks)
	return s, numbering{}, err
}

func (m *binanceMessage) quote(h ipc.Market) (ipc.MarketEvent, numbering, error) {
	q := &quoteCells{Quote: ipc.Quote{Market: h}}
	q.VenueSeq = number(m.last)
	err := firstError(text(m.bid, &q.bid), text(m.bidSize, &q.bidSize), text(m.ask, &q.ask), text(m.askSize, &q.askSize))
	if err != nil {
		return nil, numbering{}, err
	}
	if !q.bid.IsZero() { // an empty side comes as price zero
		q.Bid, q.BidSize = &q.bid, &q.bidSize
	}
	if !q.ask.IsZero() {
		q.Ask, q.AskSize = &q.ask, &q.askSize
	}
	return &q.Quote, numbering{last: q.VenueSeq, sparse: true}, nil
}

func (m *binanceMessage) trade(h ipc.Market, id *fastjson.Value) (ipc.MarketEvent, numbering, error) {
	t := &ipc.Trade{Market: h, Side: ipc.SideBuy}
	t.VenueSeq = number(id)
	if t.VenueSeq != 0 {
		t.TradeID = strconv.FormatUint(t.VenueSeq, 10)
	}
	if m.buyerMaker != nil && m.buyerMaker.Type() == fastjson.TypeTrue { // the buyer was resting, so the seller took
		t.Side = ipc.SideSell
	}
	err := firstError(text(m.price, &t.Price), text(m.quantity, &t.Quantity))
	return t, numbering{first: t.VenueSeq, last: t.VenueSeq}, err
}

// sides reads the levels of a book.
func sides(bids, asks *fastjson.Value) (b, a []ipc.Level, err error) {
	if b, err = levels(bids); err == nil {
		a, err = levels(asks)
	}
	return b, a, err
}

func levels(v *fastjson.Value) ([]ipc.Level, error) {
	if v == nil {
		return nil, nil
	}
	rows, err := v.Array()
	if err != nil || len(rows) > ipc.MaxLevels {
		return nil, fmt.Errorf("levels of a book: want an array of at most %d [price, quantity]", ipc.MaxLevels)
	}
	out := make([]ipc.Level, len(rows))
	for i, row := range rows {
		pair, err := row.Array()
		if err != nil || len(pair) < 2 {
			return nil, fmt.Errorf("level %d of a book: want [price, quantity]", i)
		}
		if err := firstError(text(pair[0], &out[i].Price), text(pair[1], &out[i].Quantity)); err != nil {
			return nil, fmt.Errorf("level %d of a book: %w", i, err)
		}
	}
	return out, nil
}

// text reads a decimal written as a JSON string, or as a number in its own digits.
func text(v *fastjson.Value, into *ipc.Decimal) error {
	if v == nil {
		return fmt.Errorf("a price or quantity is missing")
	}
	switch v.Type() {
	case fastjson.TypeString:
		return decimal(v.GetStringBytes(), into)
	case fastjson.TypeNumber:
		var digits [64]byte
		return decimal(v.MarshalTo(digits[:0]), into)
	}
	return fmt.Errorf("a price or quantity is a JSON %s; want a string such as \"61837.63\"", v.Type())
}

func number(v *fastjson.Value) uint64 {
	if v == nil {
		return 0
	}
	n, err := v.Uint64()
	if err != nil {
		return 0
	}
	return n
}

// parseStamp reads ns since the epoch: 19 digits until the year 2286.
func parseStamp(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil && n > 0
}
