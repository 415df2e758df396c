package mailbox

import (
	"slices"

	"github.com/msup/msup/ipc"
)

// bookFold is the level map of a merged delta, or of a snapshot with deltas after it.
type bookFold struct {
	snapshot   bool
	firstSeq   uint64
	bids, asks map[ipc.Decimal]ipc.Decimal // price → quantity; in a delta zero removes the level
	most       int                         // levels that it ever held
	bidList    []ipc.Level                 // as written
	askList    []ipc.Level
}

func (b *bookFold) reset() {
	clear(b.bids)
	clear(b.asks)
	b.snapshot, b.firstSeq = false, 0
}

func (b *bookFold) levels() int { return len(b.bids) + len(b.asks) }

func (b *bookFold) apply(bids, asks []ipc.Level) {
	b.side(b.bids, bids)
	b.side(b.asks, asks)
	b.most = max(b.most, b.levels())
}

func (b *bookFold) side(levels map[ipc.Decimal]ipc.Decimal, changes []ipc.Level) {
	for _, l := range changes {
		if b.snapshot && l.Quantity.IsZero() {
			delete(levels, l.Price)
			continue
		}
		levels[l.Price] = l.Quantity
	}
}

// sorted writes a side's levels, best first.
func sorted(list []ipc.Level, levels map[ipc.Decimal]ipc.Decimal, bids bool) []ipc.Level {
	list = list[:0]
	for price, quantity := range levels {
		list = append(list, ipc.Level{Price: price, Quantity: quantity})
	}
	slices.SortFunc(list, func(a, b ipc.Level) int {
		if bids {
			return b.Price.Cmp(a.Price)
		}
		return a.Price.Cmp(b.Price)
	})
	return list
}

func lastSeq(e ipc.MarketEvent) uint64 {
	switch e := e.(type) {
	case *ipc.BookDelta:
		return e.LastSeq
	case *ipc.BookSnapshot:
		return e.LastSeq
	}
	return 0
}

// continues reports whether a delta can be merged into what waits: it comes next, by its flags and by its number where there is one. Whatever
// else a strategy may think of a delta (old, repeated, after a gap), it must be able to think of it alone.
func continues(s *slot, e *ipc.BookDelta) bool {
	if e.Quality&(suspect|ipc.QualityOutOfOrder) != 0 || (e.LastSeq != 0 || s.lastSeq != 0) && e.LastSeq <= s.lastSeq {
		return false
	}
	if snapshot, ok := s.item.Decoded.(*ipc.BookSnapshot); ok && s.book == nil {
		return e.FirstSeq <= snapshot.LastSeq+1 // between snapshot and first delta no flag tells of a hole
	}
	return true
}

func (m *market) mergeDelta(s *slot, e *ipc.BookDelta) (added int, ok bool) {
	if !continues(s, e) {
		return 0, false
	}
	first := s.item.Decoded
	bids, asks := 0, 0
	if s.book != nil {
		bids, asks = len(s.book.bids), len(s.book.asks)
	} else {
		switch first := first.(type) {
		case *ipc.BookDelta:
			bids, asks = len(first.Bids), len(first.Asks)
		case *ipc.BookSnapshot:
			bids, asks = len(first.Bids), len(first.Asks)
		}
	}
	bids, asks = bids+len(e.Bids), asks+len(e.Asks)
	if bids > ipc.MaxLevels || asks > ipc.MaxLevels || m.bytes+levelBytes*(bids+asks) > m.byteLimit {
		return 0, false
	}
	before := s.weight
	if s.book == nil {
		s.book = m.spare.fold()
		switch first := first.(type) {
		case *ipc.BookDelta:
			s.book.firstSeq = first.FirstSeq
			s.book.apply(first.Bids, first.Asks)
		case *ipc.BookSnapshot:
			s.book.snapshot = true
			s.book.apply(first.Bids, first.Asks)
		}
	}
	s.book.apply(e.Bids, e.Asks)
	s.lastSeq = e.LastSeq
	return weight(s.item) + levelBytes*s.book.levels() - before, true
}

// mergeSnapshot lets a snapshot take the place of what it replaces.
func (m *market) mergeSnapshot(s *slot, e *ipc.BookSnapshot, item Market) (added int, ok bool) {
	if e.Quality&(ipc.QualityDup|ipc.QualityOutOfOrder) != 0 || e.LastSeq < s.lastSeq {
		return 0, false // it holds less than what waits: the strategy must see both
	}
	if m.bytes+weight(item)-s.weight > m.byteLimit {
		return 0, false
	}
	m.spare.give(s)
	s.lastSeq = e.LastSeq
	return weight(item) - s.weight, true
}

func (s *slot) isSnapshot() bool {
	if s.book != nil {
		return s.book.snapshot
	}
	_, ok := s.item.Decoded.(*ipc.BookSnapshot)
	return ok
}

// advances notes the number of a book event and reports whether it is above all before it: an older delta, whatever its flags say, is for the
// strategy to leave out, and nothing that comes next may be merged into it. A snapshot begins anew.
func (st *stream) advances(s *slot) bool {
	before := st.seq
	if s.isSnapshot() {
		st.seq = s.lastSeq
		return true
	}
	st.seq = max(before, s.lastSeq)
	return s.lastSeq > before || s.lastSeq == 0 && before == 0
}

// validBook reports whether a delivery leads to a valid book. The first delta after a gap is delivered and tells of it; then the strategy's
// book waits for a snapshot, which is flagged too.
func (st *stream) validBook(s *slot) bool {
	switch {
	case s.isSnapshot():
		if st.broken {
			s.quality |= ipc.QualityGap
		}
		st.broken = false
	case st.broken:
		return false
	case s.quality&ipc.QualityGap != 0:
		st.broken = true
	}
	return true
}
