package sim

import (
	"time"

	"github.com/msup/msup/ipc"
)

// order is one order that may still fill.
type order struct {
	no         uint64 // time priority
	key        ipc.Key
	account    *account
	instrument ipc.InstrumentID
	side       ipc.Side
	kind       ipc.OrderType
	quantity   ipc.Decimal // as ordered
	remaining  ipc.Decimal
	limit      *ipc.Decimal
	stop       *ipc.Decimal // nil once triggered
	tif        ipc.TimeInForce
	reduceOnly bool
	postOnly   bool
	target     bool // made by a position intent
	day        int64
	trace      ipc.TraceID
}

const dayNS = ipc.Nanos(24 * time.Hour)

// valid reports whether an order can be carried out at all.
func (o *order) valid() bool {
	if ipc.CheckID(string(o.instrument)) != nil || o.quantity.Sign() <= 0 || o.side != ipc.SideBuy && o.side != ipc.SideSell {
		return false
	}
	limited := o.kind == ipc.OrderLimit || o.kind == ipc.OrderStopLimit
	stopped := o.kind == ipc.OrderStop || o.kind == ipc.OrderStopLimit
	switch {
	case o.kind < ipc.OrderMarket || o.kind > ipc.OrderStopLimit,
		o.tif < ipc.TIFGoodTillCancel || o.tif > ipc.TIFDay,
		limited != (o.limit != nil), limited && o.limit.Sign() <= 0,
		stopped != (o.stop != nil), stopped && o.stop.Sign() <= 0:
		return false
	}
	return true
}

// triggered looks whether a stop has been passed, and makes the order an ordinary one when it has.
func (o *order) triggered(t *touch) bool {
	if o.stop == nil {
		return true
	}
	p := t.opposite(o.side)
	if p == nil {
		return false
	}
	passed := p.Cmp(*o.stop) >= 0
	if o.side == ipc.SideSell {
		passed = p.Cmp(*o.stop) <= 0
	}
	if passed {
		o.stop = nil
	}
	return passed
}

// match returns the price at which the order can be matched now; nil = it cannot.
func (o *order) match(t *touch) *ipc.Decimal {
	p := t.opposite(o.side)
	if p == nil || t.halted {
		return nil
	}
	if o.limit == nil {
		return p
	}
	if c := p.Cmp(*o.limit); o.side == ipc.SideBuy && c > 0 || o.side == ipc.SideSell && c < 0 {
		return nil
	}
	return p
}
