package mailbox

import "github.com/msup/msup/ipc"

// suspect are the flags of events that a strategy may want to leave out: such an event is delivered as it came.
const suspect = ipc.QualityDup | ipc.QualityGap

// mergesLater reports whether later events may be merged into a delivery that begins with e.
func mergesLater(e ipc.MarketEvent, q ipc.Quality) bool {
	switch e := e.(type) {
	case *ipc.Quote:
		return true
	case *ipc.Trade:
		return q&ipc.QualityDup == 0 && summable(e)
	case *ipc.BookDelta:
		return q&(suspect|ipc.QualityOutOfOrder) == 0
	case *ipc.BookSnapshot:
		return q&(ipc.QualityDup|ipc.QualityOutOfOrder) == 0
	}
	return false
}

// merge takes item into a delivery that waits and returns the bytes that it holds more; false: it must stand alone.
func (m *market) merge(s *slot, item Market) (added int, ok bool) {
	if (s.quality^item.Decoded.Header().Quality)&ipc.QualityWarmup != 0 {
		return 0, false // history is not flagged live, nor the other way round
	}
	switch e := item.Decoded.(type) {
	case *ipc.Quote:
		added, ok = mergeQuote(s, e, item), true
	case *ipc.Trade:
		ok = m.mergeTrade(s, e)
	case *ipc.BookDelta:
		added, ok = m.mergeDelta(s, e)
	case *ipc.BookSnapshot:
		added, ok = m.mergeSnapshot(s, e, item)
	}
	if !ok {
		return 0, false
	}
	if s.quality |= item.Decoded.Header().Quality; s.family != quotes {
		s.item = item
	}
	return added, true
}

// mergeQuote keeps the newest by the venue's time. One that comes later and is older leaves its flags only.
func mergeQuote(s *slot, e *ipc.Quote, item Market) (added int) {
	if was := s.item.Decoded.Header().EventTS; e.EventTS != 0 && e.EventTS < was {
		return 0
	}
	added = weight(item) - s.weight
	s.item = item
	return added
}

// spare keeps what merged deliveries were made of, for the next ones.
type spare struct {
	sums  []*tradeSum
	folds []*bookFold
}

// Bounds of what is kept.
const (
	maxSpare       = 64
	maxSpareLevels = 1024
)

func (f *spare) give(s *slot) {
	if s.trades != nil && len(f.sums) < maxSpare {
		f.sums = append(f.sums, s.trades)
	}
	if s.book != nil && s.book.most <= maxSpareLevels && len(f.folds) < maxSpare {
		f.folds = append(f.folds, s.book)
	}
	s.trades, s.book = nil, nil
}

func (f *spare) sum() *tradeSum {
	if n := len(f.sums); n > 0 {
		t := f.sums[n-1]
		f.sums = f.sums[:n-1]
		return t
	}
	return new(tradeSum)
}

func (f *spare) fold() *bookFold {
	if n := len(f.folds); n > 0 {
		b := f.folds[n-1]
		f.folds = f.folds[:n-1]
		b.reset()
		return b
	}
	b := &bookFold{bids: map[ipc.Decimal]ipc.Decimal{}, asks: map[ipc.Decimal]ipc.Decimal{}}
	return b
}
