package gate

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

// hedges describes what an obligation would send.
func hedges(g *Gate) string {
	orders, dust := g.Hedges()
	var parts []string
	for _, o := range orders {
		side := "buy"
		if o.Side == ipc.SideSell {
			side = "sell"
		}
		parts = append(parts, fmt.Sprintf("%s %s", side, o.Quantity))
		if !o.ReduceOnly || o.Type != ipc.OrderMarket || o.TimeInForce != ipc.TIFImmediateOrCancel {
			parts = append(parts, "not reduce-only, market, at once")
		}
	}
	for _, p := range dust {
		parts = append(parts, fmt.Sprintf("dust %s", p.Quantity))
	}
	return strings.Join(parts, ", ")
}

// Proves: CB-2, GT-1
func TestHedges(t *testing.T) {
	for name, c := range map[string]struct {
		position  string
		lot, most string
		least     string
		want      string
	}{
		"long":                 {"3", "1", "0", "1", "sell 3"},
		"short":                {"-3", "1", "0", "1", "buy 3"},
		"flat":                 {"0", "1", "0", "1", ""},
		"in slices":            {"7", "1", "3", "1", "sell 3, sell 3, sell 1"},
		"off the lot":          {"2.5", "1", "0", "1", "sell 2, dust 0.5"},
		"below the least":      {"-0.5", "0.1", "0", "1", "dust 0.5"},
		"slice off the lot":    {"5", "2", "3", "2", "sell 2, sell 2, dust 1"},
		"no lot":               {"1.25", "0", "0", "0", "sell 1.25"},
		"more than an attempt": {"100", "1", "1", "1", strings.TrimSuffix(strings.Repeat("sell 1, ", hedgeSlices), ", ")},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			spec := g.Policy.Instruments[btc]
			spec.Lot, spec.MaxQuantity, spec.MinQuantity = dec(t, c.lot), dec(t, c.most), dec(t, c.least)
			g.Policy.Instruments[btc] = spec
			g.Book.set(btc, dec(t, c.position))
			if got := hedges(g); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			g.Book.SetUnknown(ipc.ReasonPositionUnknown)
			if got := hedges(g); got != "" {
				t.Errorf("under unknown positions: %s", got)
			}
		})
	}
}

// What M closes never adds up to more than the worst case leaves: open orders that reduce are closed already.
//
// Proves: CB-2, GT-3
func TestHedgesNeverOvershoot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		spec := g.Policy.Instruments[btc]
		spec.MaxQuantity = ipc.FromInt(rapid.Int64Range(0, 9).Draw(rt, "most"))
		g.Policy.Instruments[btc] = spec
		position := ipc.FromInt(rapid.Int64Range(-30, 30).Draw(rt, "position"))
		g.Book.set(btc, position)
		for i := range rapid.IntRange(0, 4).Draw(rt, "open") {
			side := ipc.Side(rapid.IntRange(1, 2).Draw(rt, "side"))
			g.Book.Track(&Tracked{Key: ipc.Key(fmt.Sprint(i)), Step: ipc.Step(i + 1), Status: ipc.StatusOffered,
				Intent: intent(ipc.Step(i+1), 0, "", &ipc.OrderIntent{Instrument: btc, Side: side, Type: ipc.OrderMarket,
					Quantity: ipc.FromInt(rapid.Int64Range(1, 9).Draw(rt, "quantity"))})})
		}
		orders, _ := g.Hedges()
		sum := ipc.Decimal{}
		for _, o := range orders {
			if (o.Side == ipc.SideSell) != (position.Sign() > 0) {
				rt.Fatalf("side %d on a position of %s", o.Side, position)
			}
			sum, _ = sum.Add(o.Quantity)
		}
		side := ipc.SideSell
		if position.Sign() < 0 {
			side = ipc.SideBuy
		}
		if room := g.Book.Reducible(btc, side); sum.Cmp(room) > 0 {
			rt.Fatalf("%s are closed, %s may be", sum, room)
		}
	})
}

// Proves: CB-2, GT-6, GT-7
func TestCancellation(t *testing.T) {
	order, amend, cancel := ipc.IntentBody(&ipc.OrderIntent{Instrument: btc}), ipc.IntentBody(&ipc.AmendIntent{Instrument: btc}), ipc.IntentBody(&ipc.CancelIntent{Instrument: btc})
	for name, c := range map[string]struct {
		t    Tracked
		body ipc.IntentBody
		want Cancellation
	}{
		"staged":                        {Tracked{Status: ipc.StatusStaged}, order, Withdraw},
		"approved, never sent":          {Tracked{Status: ipc.StatusApproved}, order, Withdraw},
		"approved, sent before a crash": {Tracked{Status: ipc.StatusApproved, Unsettled: true}, order, AwaitWord},
		"offered":                       {Tracked{Status: ipc.StatusOffered}, order, Cancel},
		"offered, I was asked":          {Tracked{Status: ipc.StatusOffered, Unsettled: true}, order, AwaitWord},
		"at the venue":                  {Tracked{Status: ipc.StatusCommitted, Working: true}, order, Cancel},
		"an amend never sent":           {Tracked{Status: ipc.StatusApproved}, amend, Withdraw},
		"an amend under way":            {Tracked{Status: ipc.StatusOffered}, amend, AwaitWord},
		"a cancel":                      {Tracked{Status: ipc.StatusOffered}, cancel, NothingToCancel},
		"M's own":                       {Tracked{Status: ipc.StatusOffered, Obligation: 1}, order, NothingToCancel},
	} {
		c.t.Intent = intent(1, 0, "", c.body)
		if got := c.t.Cancellation(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// An intent of M's own passes the restrictions of the strategy and nothing else.
//
// Proves: CB-2, GT-3
func TestOwnIntentsAreRechecked(t *testing.T) {
	g := newGate(t)
	g.Book.set(btc, dec(t, "3"))
	hedge := &Tracked{Key: "h", Step: 5, Status: ipc.StatusApproved, Obligation: 1, ValidCore: 100,
		Intent: intent(5, 0, "", &ipc.OrderIntent{Instrument: btc, Side: ipc.SideSell, Type: ipc.OrderMarket, Quantity: dec(t, "3"), ReduceOnly: true})}
	cancel := &Tracked{Key: "c", Step: 5, Ordinal: 1, Status: ipc.StatusApproved, Obligation: 1, ValidCore: 100,
		Intent: intent(5, 1, "", &ipc.CancelIntent{Instrument: btc, TargetKey: "x"})}
	g.Book.Track(hedge)
	g.Book.Track(cancel)
	noTrade := Join([]Held{{ID: "a", Restriction: NoTrade(), Reason: ipc.ReasonOperatorMode}, {ID: "b", Restriction: ReduceOnly()}})
	frozen := Join([]Held{{ID: "safety", Origin: OriginSafety, Restriction: NoTrade(), Reason: ipc.ReasonSafetyFreeze}})
	check := func(what string, tr *Tracked, mode Mode, want ipc.Status) {
		t.Helper()
		if got, _, why := g.Recheck(tr, mode, 1, 0); got != want {
			t.Errorf("%s: %s (%s), want %s", what, got, why, want)
		}
	}
	check("a hedge under no_trade", hedge, noTrade, ipc.StatusOffered)
	check("a cancel under no_trade", cancel, noTrade, ipc.StatusOffered)
	check("a hedge under a freeze", hedge, frozen, ipc.StatusWithdrawn)
	check("a cancel under a freeze", cancel, frozen, ipc.StatusWithdrawn)
	g.Book.set(btc, dec(t, "2"))
	check("a hedge of more than is left", hedge, noTrade, ipc.StatusWithdrawn)
	g.Book.set(btc, dec(t, "3"))
	g.Book.SetUnknown(ipc.ReasonExecutionGap)
	check("a hedge under unknown positions", hedge, noTrade, ipc.StatusWithdrawn)
	check("a cancel under unknown positions", cancel, noTrade, ipc.StatusOffered)
	hedge.ValidCore = 0
	check("a hedge that is too old", hedge, noTrade, ipc.StatusExpired)
}
