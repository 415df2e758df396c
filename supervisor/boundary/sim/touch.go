package sim

import "github.com/msup/msup/ipc"

// rank orders the kinds of event by how well they tell the touch. An instrument is held at the best rank it has shown: the
// close of a bar must not overwrite a fresh quote.
type rank uint8

const (
	rankNone  rank = iota
	rankPrice      // trades and bars: one price for both sides
	rankBar        // quote bars
	rankBook
	rankQuote
)

// touch is what the simulated venue knows of one instrument.
type touch struct {
	bid, ask *ipc.Decimal
	rank     rank
	halted   bool
	book     *book
}

// take updates the touch; it reports whether orders may have become marketable.
func (t *touch) take(ev ipc.MarketEvent) bool {
	switch e := ev.(type) {
	case *ipc.Quote:
		return t.set(rankQuote, e.Bid, e.Ask)
	case *ipc.BookSnapshot:
		if t.rank > rankBook {
			return false
		}
		if t.book == nil {
			t.book = &book{}
		}
		t.book.snapshot(e)
		return t.set(rankBook, t.book.bids.best(), t.book.asks.best())
	case *ipc.BookDelta:
		if t.rank > rankBook || t.book == nil {
			return false
		}
		t.book.delta(e)
		return t.set(rankBook, t.book.bids.best(), t.book.asks.best())
	case *ipc.QuoteBar:
		return t.set(rankBar, e.BidClose, e.AskClose)
	case *ipc.Bar:
		return t.set(rankPrice, &e.Close, &e.Close)
	case *ipc.Trade:
		return t.set(rankPrice, &e.Price, &e.Price)
	case *ipc.TradeAggregate:
		return t.set(rankPrice, &e.Last, &e.Last)
	case *ipc.TradingStatus:
		t.halted = e.Status == ipc.TradingHalted || e.Status == ipc.TradingClosed
		return !t.halted
	}
	return false
}

func (t *touch) set(r rank, bid, ask *ipc.Decimal) bool {
	if r < t.rank {
		return false
	}
	if r == rankQuote {
		t.book = nil // quotes tell the touch from here on: stop paying for the book
	}
	t.rank, t.bid, t.ask = r, bid, ask
	return !t.halted
}

// opposite is the price at which an order of this side is matched at once; nil = nobody there.
func (t *touch) opposite(s ipc.Side) *ipc.Decimal {
	if t == nil {
		return nil
	}
	if s == ipc.SideBuy {
		return t.ask
	}
	return t.bid
}
