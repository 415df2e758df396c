package mailbox

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/msup/msup/ipc"
)

// reader is a strategy that keeps everything that it is told of one instrument: once of all events of a feed, once of what the mailbox made of
// them. Where both have a valid book it must be the same, and the sums of trades must.
type reader struct {
	careful    bool // leaves out deltas that are old, repeated or out of order, by flags and numbers; else it applies whatever comes
	valid      bool // no gap since the last snapshot
	seq        uint64
	bids, asks map[ipc.Decimal]ipc.Decimal

	quote            *ipc.Quote // newest by the venue's time
	trades           uint64
	buy, sell        big.Rat
	amount           big.Rat // price · quantity
	bars, statuses   []uint64
	lastFamilyRecvTS [4]ipc.Nanos
	seen             ipc.Quality
}

func newReader(careful bool) *reader {
	return &reader{careful: careful, valid: true, bids: map[ipc.Decimal]ipc.Decimal{}, asks: map[ipc.Decimal]ipc.Decimal{}}
}

func toRat(d ipc.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(fmt.Sprintf("%de%d", d.M, d.E))
	if !ok {
		panic(d)
	}
	return r
}

func (r *reader) read(e ipc.MarketEvent) {
	r.seen |= e.Header().Quality
	switch e := e.(type) {
	case *ipc.Quote:
		if r.quote == nil || e.EventTS == 0 || e.EventTS >= r.quote.EventTS {
			r.quote = e
		}
	case *ipc.Trade:
		r.add(1, e.Quantity, e.Price, e.Side)
	case *ipc.TradeAggregate:
		r.trades += e.Count
		r.buy.Add(&r.buy, toRat(e.BuyQuantity))
		r.sell.Add(&r.sell, toRat(e.SellQuantity))
		total := new(big.Rat).Add(toRat(e.BuyQuantity), toRat(e.SellQuantity))
		r.amount.Add(&r.amount, total.Mul(total, toRat(e.VWAP)))
	case *ipc.BookDelta:
		r.delta(e)
	case *ipc.BookSnapshot:
		clear(r.bids)
		clear(r.asks)
		r.valid, r.seq = true, e.LastSeq
		r.levels(e.Bids, e.Asks)
	case *ipc.Bar:
		r.bars = append(r.bars, e.Seq)
	case *ipc.TradingStatus:
		r.statuses = append(r.statuses, e.Seq)
	}
}

func (r *reader) add(n uint64, quantity, price ipc.Decimal, side ipc.Side) {
	r.trades += n
	q := toRat(quantity)
	if side == ipc.SideBuy {
		r.buy.Add(&r.buy, q)
	} else {
		r.sell.Add(&r.sell, q)
	}
	r.amount.Add(&r.amount, q.Mul(q, toRat(price)))
}

func (r *reader) delta(e *ipc.BookDelta) {
	if e.Quality&ipc.QualityGap != 0 {
		r.valid = false
	}
	if r.careful && (e.Quality&(ipc.QualityDup|ipc.QualityOutOfOrder) != 0 || e.LastSeq != 0 && e.LastSeq <= r.seq) {
		return
	}
	r.seq = e.LastSeq
	r.levels(e.Bids, e.Asks)
}

func (r *reader) levels(bids, asks []ipc.Level) {
	for side, levels := range map[*map[ipc.Decimal]ipc.Decimal][]ipc.Level{&r.bids: bids, &r.asks: asks} {
		for _, l := range levels {
			if l.Quantity.IsZero() {
				delete(*side, l.Price)
			} else {
				(*side)[l.Price] = l.Quantity
			}
		}
	}
}

// differs says how what the mailbox delivered differs from the feed, both at the same place of it; "" when in nothing. lossless: nothing was
// dropped.
func (r *reader) differs(feed *reader, lossless bool) string {
	switch {
	case r.valid && feed.valid && !maps.Equal(r.bids, feed.bids):
		return fmt.Sprintf("the bids are %v, the feed's %v", r.bids, feed.bids)
	case r.valid && feed.valid && !maps.Equal(r.asks, feed.asks):
		return fmt.Sprintf("the asks are %v, the feed's %v", r.asks, feed.asks)
	case r.valid && !feed.valid:
		return "the book is valid, the feed's is not"
	case !slices.Equal(r.bars, feed.bars):
		return fmt.Sprintf("bars %v, %v were put", r.bars, feed.bars)
	case !slices.Equal(r.statuses, feed.statuses):
		return fmt.Sprintf("statuses %v, %v were put", r.statuses, feed.statuses)
	case !lossless:
		return ""
	case r.valid != feed.valid:
		return "the feed's book is valid, this one is not"
	case r.trades != feed.trades || r.buy.Cmp(&feed.buy) != 0 || r.sell.Cmp(&feed.sell) != 0:
		return fmt.Sprintf("%d trades, bought %s, sold %s; the feed has %d, %s, %s", r.trades, r.buy.RatString(), r.sell.RatString(), feed.trades,
			feed.buy.RatString(), feed.sell.RatString())
	case (r.quote == nil) != (feed.quote == nil) || r.quote != nil && (r.quote.Seq != feed.quote.Seq || r.quote.EventTS != feed.quote.EventTS):
		return fmt.Sprintf("the quote is %+v, the feed's %+v", r.quote, feed.quote)
	case r.seen != feed.seen && feed.seen&ipc.QualityGap == 0: // the flags of deltas that wait for a snapshot go with them
		return fmt.Sprintf("flags %b, the feed has %b", r.seen, feed.seen)
	}
	off := new(big.Rat).Sub(&r.amount, &feed.amount)
	if bound := new(big.Rat).Mul(&feed.amount, big.NewRat(1, 1e15)); off.Abs(off).Cmp(bound.Abs(bound)) > 0 {
		return fmt.Sprintf("the trades amount to %s, the feed's to %s", r.amount.FloatString(20), feed.amount.FloatString(20))
	}
	return ""
}
