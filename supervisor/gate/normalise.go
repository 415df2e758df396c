package gate

import "github.com/msup/msup/ipc"

// normalise brings prices and quantities to the instrument's steps and limits (GT-1). Rounding never increases risk: quantities and
// targets go towards zero, a buy limit goes down, a sell limit up.
func (g *Gate) normalise(r *Request, v *Verdict) {
	instrument, has := instrumentOf(r.Intent.Body)
	if !has || !tradesRisk(r.Intent.Body) {
		return
	}
	spec, known := g.Policy.Instruments[instrument]
	if !known {
		v.refuse(ipc.ReasonInstrumentUnknown, "%s has no entry in instruments.toml", instrument)
		return
	}
	switch body := v.body(r).(type) {
	case *ipc.OrderIntent:
		normaliseOrder(r, v, &spec, body)
	case *ipc.AmendIntent:
		g.normaliseAmend(r, v, &spec, body)
	case *ipc.PositionIntent:
		g.normalisePosition(r, v, &spec, body)
	}
}

func normaliseOrder(r *Request, v *Verdict, spec *ipc.Instrument, o *ipc.OrderIntent) {
	if o.Side != ipc.SideBuy && o.Side != ipc.SideSell {
		v.refuse(ipc.ReasonPriceInvalid, "side is %d; an order buys (1) or sells (2)", o.Side)
		return
	}
	if !orderPrices(v, o) {
		return
	}
	limit, ok := roundPrice(r, v, spec, "limit_price", o.LimitPrice, o.Side == ipc.SideSell)
	if !ok {
		return
	}
	stop, ok := roundPrice(r, v, spec, "stop_price", o.StopPrice, o.Side == ipc.SideBuy)
	if !ok {
		return
	}
	quantity, ok := roundQuantity(r, v, spec, "quantity", o.Quantity)
	if !ok {
		return
	}
	if v.Intent != nil {
		c := v.Intent.Body.(*ipc.OrderIntent)
		c.LimitPrice, c.StopPrice, c.Quantity = limit, stop, quantity
	}
	minNotional(v, spec, quantity, limit)
}

// orderPrices refuses an order whose prices do not fit its type.
func orderPrices(v *Verdict, o *ipc.OrderIntent) bool {
	needLimit := o.Type == ipc.OrderLimit || o.Type == ipc.OrderStopLimit
	needStop := o.Type == ipc.OrderStop || o.Type == ipc.OrderStopLimit
	switch {
	case needLimit && o.LimitPrice == nil:
		v.refuse(ipc.ReasonPriceMissing, "order type %d needs limit_price", o.Type)
	case needStop && o.StopPrice == nil:
		v.refuse(ipc.ReasonPriceMissing, "order type %d needs stop_price", o.Type)
	case !needLimit && o.LimitPrice != nil, !needStop && o.StopPrice != nil:
		v.refuse(ipc.ReasonPriceInvalid, "order type %d takes no such price", o.Type)
	case o.TimeInForce < ipc.TIFGoodTillCancel || o.TimeInForce > ipc.TIFDay:
		v.refuse(ipc.ReasonPriceInvalid, "time_in_force %d is unknown", o.TimeInForce)
	default:
		return true
	}
	return false
}

func (g *Gate) normaliseAmend(r *Request, v *Verdict, spec *ipc.Instrument, a *ipc.AmendIntent) {
	target, order, ok := g.Book.orderOf(a.TargetKey)
	if !ok || order.Instrument != a.Instrument {
		v.refuse(ipc.ReasonTargetUnknown, "key %.40q is no open order on %s", string(a.TargetKey), a.Instrument)
		return
	}
	if a.LimitPrice != nil && order.LimitPrice == nil {
		v.refuse(ipc.ReasonPriceInvalid, "order type %d takes no limit_price", order.Type)
		return
	}
	price, ok := roundPrice(r, v, spec, "limit_price", a.LimitPrice, order.Side == ipc.SideSell)
	if !ok {
		return
	}
	quantity := a.Quantity
	if quantity != nil {
		q, ok := roundQuantity(r, v, spec, "quantity", *quantity)
		if !ok {
			return
		}
		quantity = &q
	}
	if quantity == nil && price == nil {
		v.refuse(ipc.ReasonPriceMissing, "the amend changes neither quantity nor limit_price")
		return
	}
	if v.Intent != nil {
		c := v.Intent.Body.(*ipc.AmendIntent)
		c.LimitPrice, c.Quantity = price, quantity
	}
	amended, at := target.Remaining, order.LimitPrice
	if quantity != nil {
		amended = *quantity
	}
	if price != nil {
		at = price
	}
	minNotional(v, spec, amended, at)
}

func (g *Gate) normalisePosition(r *Request, v *Verdict, spec *ipc.Instrument, p *ipc.PositionIntent) {
	target, ok := fitQuantity(r, v, spec, "target_quantity", p.TargetQuantity)
	if !ok {
		return
	}
	fitted := *p
	fitted.TargetQuantity = target
	side, distance, ok := g.Book.distance(&fitted)
	switch {
	case !ok:
		v.refuse(ipc.ReasonQuantityTooLarge, "target %s is out of range of the position %s", target, g.Book.Position(p.Instrument))
		return
	case r.Mode.ReduceOnly && distance.Cmp(g.Book.Reducible(p.Instrument, side)) > 0:
		// Towards zero is further away here, and what else is open leaves no room for the difference.
		v.refuse(ipc.ReasonModeReduceOnly, "target %s, on the lot, would sell or buy more than what lowers the position in the worst case", target)
		return
	}
	price, ok := roundPrice(r, v, spec, "limit_price", p.LimitPrice, side == ipc.SideSell)
	if !ok {
		return
	}
	if v.Intent != nil {
		c := v.Intent.Body.(*ipc.PositionIntent)
		c.LimitPrice, c.TargetQuantity = price, target
	}
}

// roundPrice brings a price to the tick; up says in which direction it becomes less aggressive.
func roundPrice(r *Request, v *Verdict, spec *ipc.Instrument, field string, price *ipc.Decimal, up bool) (*ipc.Decimal, bool) {
	if price == nil {
		return nil, true
	}
	if price.Sign() <= 0 {
		v.refuse(ipc.ReasonPriceInvalid, "%s is %s; prices are above zero", field, price)
		return nil, false
	}
	if spec.Tick.IsZero() {
		return price, true
	}
	round := ipc.Decimal.FloorTo
	if up {
		round = ipc.Decimal.CeilTo
	}
	rounded, ok := round(*price, spec.Tick)
	if !ok || rounded.Sign() <= 0 {
		v.refuse(ipc.ReasonPriceInvalid, "%s %s has no multiple of the tick %s on its safe side", field, price, spec.Tick)
		return nil, false
	}
	if rounded.Cmp(*price) != 0 {
		v.change(r, field, price.String(), rounded.String(), ipc.ReasonPriceRounded)
	}
	return &rounded, true
}

// roundQuantity brings a quantity down to the lot and to the largest allowed one, and refuses what is then too small.
func roundQuantity(r *Request, v *Verdict, spec *ipc.Instrument, field string, quantity ipc.Decimal) (ipc.Decimal, bool) {
	if quantity.Sign() <= 0 {
		v.refuse(ipc.ReasonQuantityTooSmall, "%s is %s; it must be above zero", field, quantity)
		return quantity, false
	}
	rounded, ok := fitQuantity(r, v, spec, field, quantity)
	if !ok {
		return quantity, false
	}
	if rounded.IsZero() || rounded.Cmp(spec.MinQuantity) < 0 {
		v.refuse(ipc.ReasonQuantityTooSmall, "%s %s is below the smallest allowed, %s (lot %s)", field, quantity, spec.MinQuantity, spec.Lot)
		return quantity, false
	}
	return rounded, true
}

// fitQuantity brings a quantity, or a signed target, to the largest allowed one and then to the lot, always towards zero.
func fitQuantity(r *Request, v *Verdict, spec *ipc.Instrument, field string, quantity ipc.Decimal) (ipc.Decimal, bool) {
	fitted := quantity
	if limit := spec.MaxQuantity; limit.Sign() > 0 && fitted.Abs().Cmp(limit) > 0 {
		if fitted = limit; quantity.Sign() < 0 {
			fitted = limit.Neg()
		}
		v.change(r, field, quantity.String(), fitted.String(), ipc.ReasonQuantityTooLarge)
	}
	if spec.Lot.IsZero() {
		return fitted, true
	}
	rounded, ok := fitted.TruncTo(spec.Lot)
	if !ok {
		v.refuse(ipc.ReasonQuantityTooLarge, "%s %s cannot be brought to the lot %s", field, fitted, spec.Lot)
		return quantity, false
	}
	if rounded.Cmp(fitted) != 0 {
		v.change(r, field, fitted.String(), rounded.String(), ipc.ReasonQuantityRounded)
	}
	return rounded, true
}

func minNotional(v *Verdict, spec *ipc.Instrument, quantity ipc.Decimal, price *ipc.Decimal) {
	if price == nil || spec.MinNotional.IsZero() {
		return
	}
	// Rounded down where the exact product has no form: then it is far above or far below every limit, or refused at worst.
	if notional := mulDown(quantity, *price); notional.Cmp(spec.MinNotional) < 0 {
		v.refuse(ipc.ReasonNotionalTooSmall, "notional %s is below the smallest allowed, %s", notional, spec.MinNotional)
	}
}
