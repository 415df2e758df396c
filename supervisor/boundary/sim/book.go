package sim

import (
	"sort"

	"github.com/msup/msup/ipc"
)

// side is one side of a book, best price first.
type side struct {
	levels []ipc.Level
	bids   bool
}

// set changes a level; quantity zero removes it.
func (s *side) set(l ipc.Level) {
	i := sort.Search(len(s.levels), func(i int) bool {
		c := s.levels[i].Price.Cmp(l.Price)
		if s.bids {
			return c <= 0
		}
		return c >= 0
	})
	here := i < len(s.levels) && s.levels[i].Price == l.Price
	switch {
	case l.Quantity.Sign() <= 0 && here:
		s.levels = append(s.levels[:i], s.levels[i+1:]...)
	case l.Quantity.Sign() <= 0:
	case here:
		s.levels[i] = l
	case len(s.levels) < ipc.MaxLevels:
		s.levels = append(s.levels, ipc.Level{})
		copy(s.levels[i+1:], s.levels[i:])
		s.levels[i] = l
	}
}

func (s *side) best() *ipc.Decimal {
	if len(s.levels) == 0 {
		return nil
	}
	p := s.levels[0].Price
	return &p
}

// book follows snapshots and deltas. Before its first snapshot it knows no best price: a delta alone tells only of changes.
type book struct {
	bids, asks side
	known      bool
	lastSeq    uint64
}

func (b *book) snapshot(e *ipc.BookSnapshot) {
	b.bids, b.asks = side{bids: true}, side{}
	for _, l := range e.Bids {
		b.bids.set(l)
	}
	for _, l := range e.Asks {
		b.asks.set(l)
	}
	b.known, b.lastSeq = true, e.LastSeq
}

func (b *book) delta(e *ipc.BookDelta) {
	if !b.known || e.LastSeq != 0 && e.LastSeq <= b.lastSeq {
		return
	}
	b.lastSeq = e.LastSeq
	for _, l := range e.Bids {
		b.bids.set(l)
	}
	for _, l := range e.Asks {
		b.asks.set(l)
	}
}
