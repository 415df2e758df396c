package gate

import "github.com/msup/msup/ipc"

// Exposure is judged on the worst case (design section 6): the position, and every intent that is not final, from the moment of its
// verdict, at all that it may still trade.

// Reducible is the largest quantity of an order on that side that lowers the position even if everything else that is open fills.
// It is zero under unknown positions.
func (b *Book) Reducible(id ipc.InstrumentID, side ipc.Side) ipc.Decimal {
	return b.reducible(id, side, func(*Tracked) bool { return true })
}

// reducible is Reducible with only those open intents that count.
func (b *Book) reducible(id ipc.InstrumentID, side ipc.Side, counts func(*Tracked) bool) ipc.Decimal {
	if b.unknown != "" {
		return ipc.Decimal{}
	}
	room := b.positions[id]
	if side == ipc.SideBuy {
		room = room.Neg()
	}
	for _, t := range b.open {
		if !counts(t) {
			continue
		}
		open, ok := b.mayTrade(t, id, side)
		if ok {
			room, ok = room.Sub(open)
		}
		if !ok {
			return ipc.Decimal{} // what cannot be summed exactly leaves no room
		}
	}
	if room.Sign() < 0 {
		return ipc.Decimal{}
	}
	return room
}

// mayTrade is the most that an open intent may still trade on a side of an instrument; false when it cannot be said exactly.
func (b *Book) mayTrade(t *Tracked, id ipc.InstrumentID, side ipc.Side) (ipc.Decimal, bool) {
	switch body := t.Intent.Body.(type) {
	case *ipc.OrderIntent:
		if body.Instrument == id && body.Side == side {
			return t.Remaining, true
		}
	case *ipc.PositionIntent:
		if body.Instrument == id {
			return b.mayTradeTo(t, body, side)
		}
	case *ipc.AmendIntent:
		target, order, ok := b.orderOf(body.TargetKey)
		if !ok || order.Instrument != id || order.Side != side || body.Quantity == nil || body.Quantity.Cmp(target.Remaining) <= 0 {
			return ipc.Decimal{}, true
		}
		return body.Quantity.Sub(target.Remaining) // the target itself counts with what remains of it
	}
	return ipc.Decimal{}, true
}

// mayTradeTo is mayTrade for a target: until I has said what it made of it, the larger of what it was at its verdict and what it is now.
func (b *Book) mayTradeTo(t *Tracked, body *ipc.PositionIntent, side ipc.Side) (ipc.Decimal, bool) {
	most := ipc.Decimal{}
	if t.Side == side {
		most = t.Remaining
	}
	if t.Reported {
		return most, true
	}
	way, now, ok := b.distance(body)
	if ok && way == side && now.Cmp(most) > 0 {
		most = now
	}
	return most, ok
}

// distance is the order that brings the position to the target: side unknown and zero when it is there, false when it does not fit.
func (b *Book) distance(p *ipc.PositionIntent) (ipc.Side, ipc.Decimal, bool) {
	delta, ok := p.TargetQuantity.Sub(b.positions[p.Instrument])
	switch {
	case !ok:
		return ipc.SideUnknown, ipc.Decimal{}, false
	case delta.Sign() > 0:
		return ipc.SideBuy, delta, true
	case delta.Sign() < 0:
		return ipc.SideSell, delta.Neg(), true
	}
	return ipc.SideUnknown, ipc.Decimal{}, true
}

// orderOf returns the tracked order of a key.
func (b *Book) orderOf(k ipc.Key) (*Tracked, *ipc.OrderIntent, bool) {
	t, ok := b.tracked[k]
	if !ok {
		return nil, nil, false
	}
	order, ok := t.Intent.Body.(*ipc.OrderIntent)
	return t, order, ok
}
