package gate

import (
	"github.com/msup/msup/ipc"
)

// ObligationKind is something that M itself must do (CB-2). Values are stored in the ledger and fixed for ever.
type ObligationKind uint8

// The obligations. Both go with [NoTrade] for the strategy: cancel first, await what is final, then, for a hedge, close the worst case.
const (
	CancelAll   ObligationKind = 1
	HedgeToFlat ObligationKind = 2
)

// String returns the name used in notes and exports.
func (k ObligationKind) String() string {
	switch k {
	case CancelAll:
		return "cancel_all"
	case HedgeToFlat:
		return "hedge_to_flat"
	}
	return "unknown"
}

// Obligation is one of them, from its cause to its end. Its number and attempt are part of the keys of its intents
// ([ipc.Owner.ObligationKey]), so that an attempt that was interrupted is repeated under the same keys.
type Obligation struct {
	No      uint64 // per instance, from 1
	Kind    ObligationKind
	Reason  ipc.ReasonCode
	Attempt uint64    // from 1; the next one only after everything of the previous one is final
	Since   ipc.Nanos // core_ts
	Retry   ipc.Nanos // core_ts before which no further attempt to hedge begins
	Vain    uint64    // attempts to hedge since one was filled, in part or whole
}

// hedgeSlices bounds the orders of one attempt on one instrument, where the largest allowed quantity splits it.
const hedgeSlices = 16

// Cancellation is what an obligation makes of an open intent.
type Cancellation uint8

// The cancellations.
const (
	NothingToCancel Cancellation = 0 // it cannot trade
	Withdraw        Cancellation = 1 // I has never had it
	Cancel          Cancellation = 2 // I has it, or is about to
	AwaitWord       Cancellation = 3 // what I made of it must be known first
)

// Cancellation says how an open intent of the strategy is kept from trading.
func (t *Tracked) Cancellation() Cancellation {
	if t.Obligation != 0 || !tradesRisk(t.Intent.Body) {
		return NothingToCancel
	}
	_, amend := t.Intent.Body.(*ipc.AmendIntent)
	switch {
	case t.Unsettled:
		return AwaitWord
	case t.Status == ipc.StatusStaged || t.Status == ipc.StatusApproved:
		return Withdraw
	case amend:
		return AwaitWord
	}
	return Cancel
}

// CancelOf is the intent that cancels an open order.
func CancelOf(t *Tracked) *ipc.CancelIntent {
	instrument, _ := instrumentOf(t.Intent.Body)
	return &ipc.CancelIntent{Instrument: instrument, TargetKey: t.Key}
}

// Hedges are the orders that bring the worst case of every position to zero; nothing under unknown positions. What is below an instrument's
// smallest quantity or off its lot cannot be traded: it is returned as dust.
func (g *Gate) Hedges() (orders []*ipc.OrderIntent, dust []ipc.PositionRow) {
	if g.Book.Unknown() != "" {
		return nil, nil
	}
	for _, p := range g.Book.Positions() {
		side := ipc.SideSell
		if p.Quantity.Sign() < 0 {
			side = ipc.SideBuy
		}
		left := g.Book.Reducible(p.Instrument, side)
		spec := g.Policy.Instruments[p.Instrument]
		for slice := 0; slice < hedgeSlices && left.Sign() > 0; slice++ {
			quantity := left
			if spec.MaxQuantity.Sign() > 0 && quantity.Cmp(spec.MaxQuantity) > 0 {
				quantity = spec.MaxQuantity
			}
			if !spec.Lot.IsZero() {
				quantity, _ = quantity.TruncTo(spec.Lot) // zero where it cannot be brought to the lot
			}
			if quantity.Sign() <= 0 || quantity.Cmp(spec.MinQuantity) < 0 {
				dust = append(dust, ipc.PositionRow{Instrument: p.Instrument, Quantity: left})
				break
			}
			orders = append(orders, &ipc.OrderIntent{Instrument: p.Instrument, Side: side, Type: ipc.OrderMarket, Quantity: quantity,
				TimeInForce: ipc.TIFImmediateOrCancel, ReduceOnly: true})
			rest, ok := left.Sub(quantity)
			if !ok {
				break
			}
			left = rest
		}
	}
	return orders, dust
}

// recheckOwn is Recheck for an intent of an obligation: no restriction of the strategy's holds M back, a freeze does.
func (g *Gate) recheckOwn(t *Tracked, mode Mode) (next ipc.Status, reason ipc.ReasonCode, why string) {
	if mode.Frozen {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, "E has frozen the instance, obligations included"
	}
	if !tradesRisk(t.Intent.Body) {
		return ipc.StatusOffered, "", ""
	}
	if g.Book.Unknown() != "" {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, "positions are unknown: only cancels pass"
	}
	if why := g.exceeds(t, mode); why != "" {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, why
	}
	return ipc.StatusOffered, "", ""
}
