package gate

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// mode applies the joined restrictions (GT-3): what increases risk is refused or cut, what lowers it passes.
func (g *Gate) mode(r *Request, v *Verdict) {
	if !tradesRisk(r.Intent.Body) {
		return
	}
	if reason, why := g.barred(r.Intent.Body, r.Mode); reason != "" {
		v.refuse(reason, "%s", why)
		return
	}
	switch body := r.Intent.Body.(type) {
	case *ipc.OrderIntent:
		g.restrictOrder(r, v, body)
	case *ipc.PositionIntent:
		g.restrictPosition(r, v, body)
	case *ipc.AmendIntent:
		if why := g.amendTooMuch(body, r.Mode, nil); why != "" {
			v.refuse(ipc.ReasonModeReduceOnly, "%s", why)
		}
	}
}

// barred names what forbids an intent altogether, whatever its size.
func (g *Gate) barred(body ipc.IntentBody, mode Mode) (ipc.ReasonCode, string) {
	switch {
	case g.Book.Unknown() != "":
		return g.Book.Unknown(), "positions are unknown: only cancels pass"
	case mode.NoTrade:
		return ipc.ReasonModeNoTrade, fmt.Sprintf("no_trade is in force: %s", mode.TradeReason)
	case mode.LimitOnly && !limited(body):
		return ipc.ReasonModeLimitOnly, fmt.Sprintf("limit_only is in force: %s", mode.LimitReason)
	}
	return "", ""
}

// restrictOrder keeps the reducing part of an order whole and scales, or cuts off, the part that increases risk.
func (g *Gate) restrictOrder(r *Request, v *Verdict, o *ipc.OrderIntent) {
	reduce := r.Mode.ReduceOnly || o.ReduceOnly
	if !reduce && !r.Mode.scales() || o.Quantity.Sign() <= 0 {
		return // a quantity of nothing is for normalise to refuse
	}
	reducible := g.Book.Reducible(o.Instrument, o.Side)
	allowed := scale(o.Quantity, reducible, r.Mode.SizeFactor, reduce)
	reason := ipc.ReasonSizeReduced
	if reduce {
		reason = ipc.ReasonModeReduceOnly
	}
	if allowed.Sign() <= 0 {
		v.refuse(reason, "nothing of %s %s is left that lowers the position (worst case reducible: %s)", o.Instrument, o.Quantity, reducible)
		return
	}
	if allowed.Cmp(o.Quantity) < 0 {
		v.change(r, "quantity", o.Quantity.String(), allowed.String(), reason).(*ipc.OrderIntent).Quantity = allowed
	}
	if r.Mode.ReduceOnly && !o.ReduceOnly {
		v.change(r, "reduce_only", "false", "true", ipc.ReasonModeReduceOnly).(*ipc.OrderIntent).ReduceOnly = true
	}
}

// restrictPosition brings a target nearer to the present position, as an order for the difference would be cut.
func (g *Gate) restrictPosition(r *Request, v *Verdict, p *ipc.PositionIntent) {
	side, distance, ok := g.Book.distance(p)
	if !ok {
		v.refuse(ipc.ReasonQuantityTooLarge, "target %s is out of range of the position %s", p.TargetQuantity, g.Book.Position(p.Instrument))
		return
	}
	if side == ipc.SideUnknown || !r.Mode.ReduceOnly && !r.Mode.scales() {
		return
	}
	reducible := g.Book.Reducible(p.Instrument, side)
	allowed := scale(distance, reducible, r.Mode.SizeFactor, r.Mode.ReduceOnly)
	if allowed.Cmp(distance) == 0 {
		return
	}
	reason := ipc.ReasonSizeReduced
	if r.Mode.ReduceOnly {
		reason = ipc.ReasonModeReduceOnly
	}
	now := g.Book.Position(p.Instrument)
	if allowed.Sign() <= 0 {
		v.refuse(reason, "target %s only increases the position %s (worst case reducible: %s)", p.TargetQuantity, now, reducible)
		return
	}
	if side == ipc.SideSell {
		allowed = allowed.Neg()
	}
	target, ok := approach(now, allowed)
	if !ok {
		v.refuse(ipc.ReasonQuantityTooLarge, "a target between %s and the position %s is out of range", p.TargetQuantity, now)
		return
	}
	v.change(r, "target_quantity", p.TargetQuantity.String(), target.String(), reason).(*ipc.PositionIntent).TargetQuantity = target
}

// amendTooMuch says why an amend increases risk more than it may, "" when it does not. An order that only reduces may move within what
// is reducible; of another one, a restricted instance may only lower the open quantity. before limits the open intents that count.
func (g *Gate) amendTooMuch(a *ipc.AmendIntent, mode Mode, before *Tracked) string {
	target, order, ok := g.Book.orderOf(a.TargetKey)
	if !ok || !order.ReduceOnly && !mode.ReduceOnly && !mode.scales() {
		return "" // a target that is not there is for normalise to refuse
	}
	quantity := target.Remaining
	if a.Quantity != nil {
		quantity = *a.Quantity
	}
	lower := quantity.Cmp(target.Remaining) <= 0
	if lower && (order.ReduceOnly || a.LimitPrice == nil) {
		return ""
	}
	if !order.ReduceOnly {
		return "under reduce_only or a size factor an amend may only lower the open quantity"
	}
	room := g.Book.reducible(order.Instrument, order.Side, func(t *Tracked) bool { return t != target && precedes(t, before) })
	if quantity.Cmp(room) > 0 {
		return fmt.Sprintf("the amended order only reduces; at most %s of the position is reducible (worst case)", room)
	}
	return ""
}

// precedes reports whether t was tracked before the other; before nil everything was.
func precedes(t, before *Tracked) bool { return before == nil || compareTracked(t, before) < 0 }

// exceeds says why an intent that passed the gate would not pass it now: restrictions have come, or the position has moved. Only what
// was tracked before it counts against it, so that an order is not barred by what came after it.
func (g *Gate) exceeds(t *Tracked, mode Mode) string {
	shrunk := mode.SizeFactor.Cmp(t.SizeFactor) < 0
	side, quantity, reduce := t.Side, t.Remaining, mode.ReduceOnly
	instrument, _ := instrumentOf(t.Intent.Body)
	switch body := t.Intent.Body.(type) {
	case *ipc.AmendIntent:
		return g.amendTooMuch(body, mode, t)
	case *ipc.OrderIntent:
		reduce = reduce || body.ReduceOnly
	case *ipc.PositionIntent:
		var ok bool
		if side, quantity, ok = g.Book.distance(body); !ok {
			return fmt.Sprintf("target %s is out of range", body.TargetQuantity)
		}
	}
	if !reduce && !shrunk {
		return ""
	}
	room := g.Book.reducible(instrument, side, func(o *Tracked) bool { return precedes(o, t) })
	if quantity.Cmp(room) <= 0 {
		return ""
	}
	if reduce {
		return fmt.Sprintf("only %s of %s would lower the position (worst case): %s", room, quantity, mode.ReduceReason)
	}
	return fmt.Sprintf("the size factor fell from %s to %s: %s", t.SizeFactor, mode.SizeFactor, mode.SizeReason)
}
