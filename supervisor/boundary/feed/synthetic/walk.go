package synthetic

import (
	"math/bits"
	"time"

	"github.com/msup/msup/ipc"
)

const (
	minTicks = 100           // a price never falls below
	maxTicks = 1_000_000_000 // a price never starts above
	fine     = 1024          // parts of a tick in which the walk goes
)

// walk is the hidden price of one instrument, all in integers.
type walk struct {
	rng    ipc.RNG
	spec   Instrument
	mid    int64 // in parts of a tick
	anchor int64 // what the price is pulled to, slowly
	trend  int64 // parts of a tick a step
	busy   bool
	spread int64 // ticks
	move   int64 // of the last step

	nextTS   ipc.Nanos // of the next event
	silentTS ipc.Nanos // end of the last silence: nothing, not even a bar, comes before
	venueSeq uint64
	halted   bool
	bar      *ipc.Bar // being summed
	barEnd   ipc.Nanos
	lastTS   [ipc.KindTradingStatus + 1]ipc.Nanos // last event time given, by kind
	pending  []Label                              // faults that show at the next record
}

func newWalk(spec Instrument, seed uint64, start, barNS ipc.Nanos) *walk {
	ticks, _ := spec.ticks()
	w := &walk{rng: ipc.NewRNG(seed, ipc.InstanceID("synthetic/"+spec.ID), 0), spec: spec, mid: ticks * fine, anchor: ticks * fine, spread: 1}
	w.nextTS = start + ipc.Nanos(w.below(uint64(100*time.Millisecond)))
	if barNS > 0 {
		w.barEnd = start - start%barNS + barNS
	}
	return w
}

// below draws a number in [0, n).
func (w *walk) below(n uint64) int64 {
	hi, _ := bits.Mul64(w.rng.Uint64(), n)
	return int64(hi)
}

// around draws a bell-shaped number in (-4n, 4n).
func (w *walk) around(n int64) int64 {
	var sum int64
	for range 4 {
		sum += w.below(uint64(2*n+1)) - n
	}
	return sum
}

// step moves the hidden price and sets the time of the next event.
func (w *walk) step() {
	if w.below(400) == 0 {
		w.busy = !w.busy
	}
	if w.below(1500) == 0 {
		w.trend = w.below(5)*6 - 12
	}
	size, mean := int64(fine/3), int64(90*time.Millisecond)
	if w.busy {
		size, mean = fine, int64(25*time.Millisecond)
	}
	before := w.mid
	w.anchor += w.trend
	w.mid += w.around(size)/2 + w.trend + (w.anchor-w.mid)/256
	w.mid = max(w.mid, minTicks*fine)
	w.anchor = max(w.anchor, minTicks*fine)
	w.move = w.mid - before
	if w.below(10) == 0 {
		w.spread = 1 + w.below(2)
		if w.busy {
			w.spread += w.below(3)
		}
	}
	w.nextTS += ipc.Nanos(50_000 + w.below(uint64(2*mean)))
}

// turn is when the instrument has something to say again: an event, or the end of a bar.
func (w *walk) turn() ipc.Nanos {
	at := w.nextTS
	if w.barEnd != 0 {
		at = min(at, w.barEnd)
	}
	return max(at, w.silentTS)
}

// touch is the best bid and ask in ticks.
func (w *walk) touch() (bid, ask int64) {
	bid = (w.mid - w.spread*fine/2) / fine
	return bid, bid + w.spread
}

func (w *walk) price(ticks int64) ipc.Decimal {
	d, _ := ipc.NewDecimal(ticks*w.spec.Tick.M, int(w.spec.Tick.E)) // ticks stay far below 2^40, and check bounds the tick
	return d
}

// quantity draws a number of lots, small ones most often.
func (w *walk) quantity() ipc.Decimal {
	lots := 1 + w.below(9)
	for w.below(3) == 0 && lots < 10_000 {
		lots *= 2
	}
	d, _ := ipc.NewDecimal(lots*w.spec.Lot.M, int(w.spec.Lot.E))
	return d
}

func (w *walk) quote(m ipc.Market) *ipc.Quote {
	b, a := w.touch()
	bid, ask, bidSize, askSize := w.price(b), w.price(a), w.quantity(), w.quantity()
	return &ipc.Quote{Market: m, Bid: &bid, BidSize: &bidSize, Ask: &ask, AskSize: &askSize}
}

// trade takes the touch, mostly in the direction of the last move, and counts into the bar.
func (w *walk) trade(m ipc.Market) *ipc.Trade {
	bid, ask := w.touch()
	t := &ipc.Trade{Market: m, Side: ipc.SideSell, Price: w.price(bid), Quantity: w.quantity()}
	if up := w.below(10) < 6; up == (w.move > 0) {
		t.Side, t.Price = ipc.SideBuy, w.price(ask)
	}
	w.count(t)
	return t
}

func (w *walk) count(t *ipc.Trade) {
	if w.barEnd == 0 {
		return
	}
	if w.bar == nil {
		w.bar = &ipc.Bar{Open: t.Price, High: t.Price, Low: t.Price}
	}
	b := w.bar
	b.Close = t.Price
	if t.Price.Cmp(b.High) > 0 {
		b.High = t.Price
	}
	if t.Price.Cmp(b.Low) < 0 {
		b.Low = t.Price
	}
	if sum, ok := b.Volume.Add(t.Quantity); ok {
		b.Volume = sum
	}
}
