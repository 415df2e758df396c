package ipc

// Least wire sizes of list elements: a count is compared with the bytes that are left before anything is allocated.
const (
	leastLevel  = 1 + 2*decimalBytes
	leastRow    = 1 + 1 + decimalBytes
	leastString = 1
)

func (w *writer) market(kind EventKind, fields int, m *Market) {
	w.array(8 + fields)
	w.uint(uint64(kind))
	w.id("instrument", string(m.Instrument))
	w.id("source", string(m.Source))
	w.nanos(m.EventTS)
	w.nanos(m.RecvTS)
	w.uint(m.Seq)
	w.uint(m.VenueSeq)
	w.uint(uint64(m.Quality))
}

func (r *Reader) market(m *Market) {
	m.Instrument = InstrumentID(r.id("instrument"))
	m.Source = SourceID(r.id("source"))
	m.EventTS = r.nanos("event_ts")
	m.RecvTS = r.nanos("recv_ts")
	m.Seq = r.u64("seq")
	m.VenueSeq = r.u64("venue_seq")
	m.Quality = Quality(r.u8("quality"))
}

func (w *writer) quote(e *Quote) {
	w.market(KindQuote, 4, &e.Market)
	w.optDec("bid", e.Bid)
	w.optDec("bid_size", e.BidSize)
	w.optDec("ask", e.Ask)
	w.optDec("ask_size", e.AskSize)
}

func (r *Reader) quote() Event {
	var x struct { // one allocation for the quote and its numbers
		Quote
		dec [4]Decimal
	}
	e := &x
	r.market(&e.Market)
	e.Bid = r.optDec("bid", &e.dec[0])
	e.BidSize = r.optDec("bid_size", &e.dec[1])
	e.Ask = r.optDec("ask", &e.dec[2])
	e.AskSize = r.optDec("ask_size", &e.dec[3])
	return &e.Quote
}

func (w *writer) trade(e *Trade) {
	w.market(KindTrade, 4, &e.Market)
	w.dec("price", e.Price)
	w.dec("quantity", e.Quantity)
	w.enum("side", uint8(e.Side), 0, uint8(SideSell))
	w.id("trade_id", e.TradeID)
}

func (r *Reader) trade() Event {
	e := new(Trade)
	r.market(&e.Market)
	e.Price = r.dec("price")
	e.Quantity = r.dec("quantity")
	e.Side = Side(r.enum("side", 0, uint8(SideSell)))
	e.TradeID = r.id("trade_id")
	return e
}

func (w *writer) tradeAggregate(e *TradeAggregate) {
	w.market(KindTradeAggregate, 10, &e.Market)
	w.uint(e.Count)
	w.dec("buy_quantity", e.BuyQuantity)
	w.dec("sell_quantity", e.SellQuantity)
	w.dec("first", e.First)
	w.dec("last", e.Last)
	w.dec("high", e.High)
	w.dec("low", e.Low)
	w.dec("vwap", e.VWAP)
	w.uint(e.FirstSeq)
	w.uint(e.LastSeq)
}

func (r *Reader) tradeAggregate() Event {
	e := new(TradeAggregate)
	r.market(&e.Market)
	e.Count = r.u64("count")
	e.BuyQuantity = r.dec("buy_quantity")
	e.SellQuantity = r.dec("sell_quantity")
	e.First = r.dec("first")
	e.Last = r.dec("last")
	e.High = r.dec("high")
	e.Low = r.dec("low")
	e.VWAP = r.dec("vwap")
	e.FirstSeq = r.u64("first_seq")
	e.LastSeq = r.u64("last_seq")
	return e
}

func (w *writer) levels(side string, levels []Level) {
	w.list(side, len(levels), MaxLevels)
	for i := range levels {
		w.array(2)
		w.dec("price", levels[i].Price)
		w.dec("quantity", levels[i].Quantity)
		if w.err != nil {
			w.within(side, i)
			return
		}
	}
}

func (r *Reader) levels(side string) []Level {
	n := r.list(side, MaxLevels, leastLevel)
	if n == 0 {
		r.endList()
		return nil
	}
	levels := make([]Level, n)
	for i := range levels {
		got := r.array("", 2)
		levels[i].Price = r.dec("price")
		levels[i].Quantity = r.dec("quantity")
		r.end(got, 2)
		if r.err != nil {
			r.within(side, i)
			return nil
		}
	}
	r.endList()
	return levels
}

func (w *writer) bookDelta(e *BookDelta) {
	w.market(KindBookDelta, 4, &e.Market)
	w.uint(e.FirstSeq)
	w.uint(e.LastSeq)
	w.levels("bids", e.Bids)
	w.levels("asks", e.Asks)
}

func (r *Reader) bookDelta() Event {
	e := new(BookDelta)
	r.market(&e.Market)
	e.FirstSeq = r.u64("first_seq")
	e.LastSeq = r.u64("last_seq")
	e.Bids = r.levels("bids")
	e.Asks = r.levels("asks")
	return e
}

func (w *writer) bookSnapshot(e *BookSnapshot) {
	w.market(KindBookSnapshot, 3, &e.Market)
	w.uint(e.LastSeq)
	w.levels("bids", e.Bids)
	w.levels("asks", e.Asks)
}

func (r *Reader) bookSnapshot() Event {
	e := new(BookSnapshot)
	r.market(&e.Market)
	e.LastSeq = r.u64("last_seq")
	e.Bids = r.levels("bids")
	e.Asks = r.levels("asks")
	return e
}

func (w *writer) bar(e *Bar) {
	w.market(KindBar, 6, &e.Market)
	w.nanos(e.PeriodNS)
	w.dec("open", e.Open)
	w.dec("high", e.High)
	w.dec("low", e.Low)
	w.dec("close", e.Close)
	w.dec("volume", e.Volume)
}

func (r *Reader) bar() Event {
	e := new(Bar)
	r.market(&e.Market)
	e.PeriodNS = r.nanos("period")
	e.Open = r.dec("open")
	e.High = r.dec("high")
	e.Low = r.dec("low")
	e.Close = r.dec("close")
	e.Volume = r.dec("volume")
	return e
}

func (w *writer) quoteBar(e *QuoteBar) {
	w.market(KindQuoteBar, 11, &e.Market)
	w.nanos(e.PeriodNS)
	w.optDec("bid_open", e.BidOpen)
	w.optDec("bid_high", e.BidHigh)
	w.optDec("bid_low", e.BidLow)
	w.optDec("bid_close", e.BidClose)
	w.optDec("bid_size", e.BidSize)
	w.optDec("ask_open", e.AskOpen)
	w.optDec("ask_high", e.AskHigh)
	w.optDec("ask_low", e.AskLow)
	w.optDec("ask_close", e.AskClose)
	w.optDec("ask_size", e.AskSize)
}

func (r *Reader) quoteBar() Event {
	var x struct { // one allocation for the bar and its numbers
		QuoteBar
		dec [10]Decimal
	}
	e := &x
	r.market(&e.Market)
	e.PeriodNS = r.nanos("period")
	e.BidOpen = r.optDec("bid_open", &e.dec[0])
	e.BidHigh = r.optDec("bid_high", &e.dec[1])
	e.BidLow = r.optDec("bid_low", &e.dec[2])
	e.BidClose = r.optDec("bid_close", &e.dec[3])
	e.BidSize = r.optDec("bid_size", &e.dec[4])
	e.AskOpen = r.optDec("ask_open", &e.dec[5])
	e.AskHigh = r.optDec("ask_high", &e.dec[6])
	e.AskLow = r.optDec("ask_low", &e.dec[7])
	e.AskClose = r.optDec("ask_close", &e.dec[8])
	e.AskSize = r.optDec("ask_size", &e.dec[9])
	return &e.QuoteBar
}

func (w *writer) tradingStatus(e *TradingStatus) {
	w.market(KindTradingStatus, 2, &e.Market)
	w.enum("status", uint8(e.Status), 0, uint8(TradingAuction))
	w.tag("reason", e.Reason)
}

func (r *Reader) tradingStatus() Event {
	e := new(TradingStatus)
	r.market(&e.Market)
	e.Status = Trading(r.enum("status", 0, uint8(TradingAuction)))
	e.Reason = r.tag("reason")
	return e
}
