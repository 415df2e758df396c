package sim

import (
	"slices"

	"github.com/msup/msup/ipc"
)

// execute carries out an intent and says what became of it: committed when it was taken, whatever the venue made of its order.
func (e *engine) execute(a *account, i *ipc.Intent) (ipc.Status, ipc.ReasonCode) {
	switch b := i.Body.(type) {
	case *ipc.OrderIntent:
		o := &order{key: i.Meta.Key, account: a, instrument: b.Instrument, side: b.Side, kind: b.Type, quantity: b.Quantity, remaining: b.Quantity,
			limit: b.LimitPrice, stop: b.StopPrice, tif: b.TimeInForce, reduceOnly: b.ReduceOnly, postOnly: b.PostOnly, trace: i.Meta.TraceID}
		return e.arrive(o)
	case *ipc.PositionIntent:
		return e.position(a, i, b)
	case *ipc.CancelIntent:
		o := e.orders[b.TargetKey]
		if o == nil || o.account != a {
			e.refuse(a, i, b.Instrument, reasonUnknownOrder)
			break
		}
		e.cancel(o, reasonCanceled)
	case *ipc.AmendIntent:
		return e.amend(a, i, b)
	case *ipc.AlertIntent, *ipc.NoOpIntent, *ipc.RiskHint:
	default:
		return ipc.StatusRejected, ReasonInvalidIntent
	}
	return ipc.StatusCommitted, ""
}

// position makes an order for the difference between the target and the position.
func (e *engine) position(a *account, i *ipc.Intent, b *ipc.PositionIntent) (ipc.Status, ipc.ReasonCode) {
	diff, ok := b.TargetQuantity.Sub(a.positions[b.Instrument])
	if !ok || ipc.CheckID(string(b.Instrument)) != nil || b.LimitPrice != nil && b.LimitPrice.Sign() <= 0 {
		return ipc.StatusRejected, ReasonInvalidIntent
	}
	for _, o := range slices.Clone(e.byID[b.Instrument]) {
		if o.account == a && o.target {
			e.cancel(o, reasonReplaced)
		}
	}
	if diff.IsZero() {
		zero := ipc.Decimal{}
		e.execution(a, i.Meta.TraceID, &ipc.Execution{Key: i.Meta.Key, Report: ipc.ExecAccepted, Instrument: b.Instrument, Remaining: &zero, Final: true, Reason: reasonAtTarget})
		return ipc.StatusCommitted, ""
	}
	o := &order{key: i.Meta.Key, account: a, instrument: b.Instrument, side: ipc.SideBuy, kind: ipc.OrderMarket, quantity: diff.Abs(), remaining: diff.Abs(),
		tif: ipc.TIFGoodTillCancel, target: true, trace: i.Meta.TraceID}
	if diff.Sign() < 0 {
		o.side = ipc.SideSell
	}
	if b.LimitPrice != nil {
		o.kind, o.limit = ipc.OrderLimit, b.LimitPrice
	}
	return e.arrive(o)
}

// arrive takes a new order: it is rejected, filled, canceled or rests.
func (e *engine) arrive(o *order) (ipc.Status, ipc.ReasonCode) {
	if !o.valid() {
		return ipc.StatusRejected, ReasonInvalidIntent
	}
	if o.account.open >= maxOpenOrders {
		return ipc.StatusRejected, ReasonTooManyOrders
	}
	e.orderNo++
	o.no, o.day = e.orderNo, int64(e.nowTS/dayNS)
	t := e.touches[o.instrument]
	if t == nil {
		t = &touch{}
	}
	if o.reduceOnly {
		if most := o.account.reducible(o.instrument, o.side); o.remaining.Cmp(most) > 0 {
			o.quantity, o.remaining = most, most
		}
		if o.remaining.IsZero() {
			e.reject(o, reasonReduceOnly)
			return ipc.StatusCommitted, ""
		}
	}
	live := o.triggered(t)
	price := o.match(t)
	switch {
	case live && o.limit == nil && t.halted:
		e.reject(o, reasonHalted)
	case live && o.limit == nil && price == nil:
		e.reject(o, reasonNoQuote)
	case live && price != nil && o.postOnly:
		e.reject(o, reasonPostOnly)
	default:
		e.told(o, ipc.ExecAccepted, "", false)
		switch {
		case live && price != nil:
			e.fill(o, *price)
		case o.tif == ipc.TIFImmediateOrCancel:
			e.told(o, ipc.ExecCanceled, reasonIOC, true)
		case o.tif == ipc.TIFFillOrKill:
			e.told(o, ipc.ExecCanceled, reasonFOK, true)
		default:
			e.rest(o)
		}
	}
	return ipc.StatusCommitted, ""
}

// amend changes an open order. One that moves its price or grows goes to the end of the queue.
func (e *engine) amend(a *account, i *ipc.Intent, b *ipc.AmendIntent) (ipc.Status, ipc.ReasonCode) {
	if b.Quantity != nil && b.Quantity.Sign() <= 0 || b.LimitPrice != nil && b.LimitPrice.Sign() <= 0 {
		return ipc.StatusRejected, ReasonInvalidIntent
	}
	o := e.orders[b.TargetKey]
	if o == nil || o.account != a || b.LimitPrice != nil && o.limit == nil {
		e.refuse(a, i, b.Instrument, reasonUnknownOrder)
		return ipc.StatusCommitted, ""
	}
	changed := *o
	if b.LimitPrice != nil {
		changed.limit = b.LimitPrice
	}
	if b.Quantity != nil {
		filled, ok := o.quantity.Sub(o.remaining)
		rest, ok2 := b.Quantity.Sub(filled)
		if !ok || !ok2 {
			return ipc.StatusRejected, ReasonInvalidIntent
		}
		changed.quantity, changed.remaining = *b.Quantity, rest
	}
	t := e.touches[o.instrument]
	live := changed.stop == nil
	price := changed.match(orNothing(t))
	if o.postOnly && live && price != nil {
		e.refuse(a, i, b.Instrument, reasonPostOnly)
		return ipc.StatusCommitted, ""
	}
	e.drop(o)
	if changed.remaining.Sign() <= 0 {
		e.told(&changed, ipc.ExecCanceled, reasonCanceled, true)
		return ipc.StatusCommitted, ""
	}
	if changed.remaining.Cmp(o.remaining) > 0 || b.LimitPrice != nil {
		e.orderNo++
		changed.no = e.orderNo
	}
	e.told(&changed, ipc.ExecAmended, "", false)
	if live && price != nil {
		e.fill(&changed, *price)
		return ipc.StatusCommitted, ""
	}
	e.rest(&changed)
	return ipc.StatusCommitted, ""
}

func orNothing(t *touch) *touch {
	if t == nil {
		return &touch{}
	}
	return t
}

// sweep fills the resting orders of an instrument that can be matched now, oldest first.
func (e *engine) sweep(id ipc.InstrumentID, t *touch) {
	for _, o := range slices.Clone(e.byID[id]) {
		waiting := o.stop != nil
		if !o.triggered(t) {
			continue
		}
		price := o.match(t)
		if price == nil {
			if waiting {
				e.changes.order(o) // triggered: it must not wait for its stop again after a restart
			}
			continue
		}
		if o.limit != nil && !waiting {
			price = o.limit // it was there first
		}
		e.drop(o)
		e.fill(o, *price)
	}
}

// fill trades what remains of an order, or what a reduce-only order may close of it.
func (e *engine) fill(o *order, price ipc.Decimal) {
	a, quantity := o.account, o.remaining
	if o.reduceOnly {
		if most := a.reducible(o.instrument, o.side); quantity.Cmp(most) > 0 {
			quantity = most
		}
	}
	signed := quantity
	if o.side == ipc.SideSell {
		signed = quantity.Neg()
	}
	position, fits := a.positions[o.instrument].Add(signed)
	rest, exact := o.remaining.Sub(quantity)
	if !fits || !exact {
		e.told(o, ipc.ExecCanceled, reasonOverflow, true)
		return
	}
	if quantity.Sign() > 0 {
		a.positions[o.instrument] = position
		e.changes.position(a, o.instrument)
		o.remaining = rest
		remaining := rest
		e.execution(a, o.trace, &ipc.Execution{Key: o.key, Report: ipc.ExecFilled, Instrument: o.instrument, VenueOrderID: venueID(o.no), Side: o.side,
			Price: &price, Quantity: &quantity, Remaining: &remaining, Final: remaining.IsZero()})
	}
	if !o.remaining.IsZero() {
		e.told(o, ipc.ExecCanceled, reasonReduceOnly, true)
	}
}

// rest keeps an order open.
func (e *engine) rest(o *order) {
	e.orders[o.key] = o
	e.byID[o.instrument] = append(e.byID[o.instrument], o)
	slices.SortStableFunc(e.byID[o.instrument], func(x, y *order) int { // an amended order may keep its place
		switch {
		case x.no < y.no:
			return -1
		case x.no > y.no:
			return 1
		}
		return 0
	})
	o.account.open++
	e.changes.order(o)
}

// drop takes an order out of the open ones.
func (e *engine) drop(o *order) {
	delete(e.orders, o.key)
	e.byID[o.instrument] = slices.DeleteFunc(e.byID[o.instrument], func(x *order) bool { return x == o })
	if len(e.byID[o.instrument]) == 0 {
		delete(e.byID, o.instrument)
	}
	o.account.open--
	e.changes.dropOrder(o)
}

// cancel ends an open order.
func (e *engine) cancel(o *order, reason string) {
	e.drop(o)
	e.told(o, ipc.ExecCanceled, reason, true)
}

func (e *engine) reject(o *order, reason string) { e.told(o, ipc.ExecRejected, reason, true) }

// told reports on an order without a fill.
func (e *engine) told(o *order, kind ipc.ExecutionKind, reason string, final bool) {
	remaining := o.remaining
	e.execution(o.account, o.trace, &ipc.Execution{Key: o.key, Report: kind, Instrument: o.instrument, VenueOrderID: venueID(o.no), Side: o.side,
		Remaining: &remaining, Final: final, Reason: reason})
}

// refuse reports that a cancel or amend found nothing to act on, under its own key.
func (e *engine) refuse(a *account, i *ipc.Intent, id ipc.InstrumentID, reason string) {
	e.execution(a, i.Meta.TraceID, &ipc.Execution{Key: i.Meta.Key, Report: ipc.ExecRejected, Instrument: id, Final: true, Reason: reason})
}

// execution numbers a report, notes it and sends it.
func (e *engine) execution(a *account, trace ipc.TraceID, ex *ipc.Execution) {
	ex.EventTS, ex.RecvTS = e.nowTS, e.nowTS
	a.seq++
	e.changes.account(a)
	e.changes.report(a, trace, ex)
	e.tell(a.peer, e.sourceEvent(a, a.seq, trace, ex))
}
