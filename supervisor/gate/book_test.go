package gate

import (
	"errors"
	"testing"

	"github.com/msup/msup/ipc"
)

// Proves: GT-7
func TestStatusTable_GT7(t *testing.T) {
	s := [...]ipc.Status{ipc.StatusNotSeen, ipc.StatusStaged, ipc.StatusApproved, ipc.StatusOffered, ipc.StatusCommitted, ipc.StatusRejected, ipc.StatusExpired, ipc.StatusWithdrawn}
	may := map[ipc.Status][]ipc.Status{
		ipc.StatusNotSeen:  {ipc.StatusStaged},
		ipc.StatusStaged:   {ipc.StatusApproved, ipc.StatusExpired, ipc.StatusWithdrawn},
		ipc.StatusApproved: {ipc.StatusOffered, ipc.StatusCommitted, ipc.StatusRejected, ipc.StatusExpired, ipc.StatusWithdrawn},
		ipc.StatusOffered:  {ipc.StatusCommitted, ipc.StatusRejected, ipc.StatusExpired},
	}
	for _, from := range s {
		for _, to := range s {
			want := false
			for _, next := range may[from] {
				want = want || next == to
			}
			b := NewBook()
			b.Track(&Tracked{Key: "k", Status: from, Intent: intent(1, 0, "", &ipc.CancelIntent{Instrument: btc, TargetKey: "x"})})
			if got := b.SetStatus("k", to, 0); got != want {
				t.Errorf("%s → %s: %v", from, to, got)
			}
			_, still := b.Lookup("k")
			if terminal := want && to.Terminal(); still == terminal {
				t.Errorf("%s → %s: tracked %v", from, to, still)
			}
		}
	}
}

// Proves: BC-I
func TestSnapshotIsTheWayOutOfUnknown(t *testing.T) {
	g := newGate(t)
	listed, _ := accept(t, g, 1, limitOrder(t, ipc.SideBuy, "5", "100"), unrestricted())
	over, _ := accept(t, g, 2, limitOrder(t, ipc.SideBuy, "6", "100"), unrestricted())
	unjudged, _ := accept(t, g, 3, limitOrder(t, ipc.SideBuy, "7", "100"), unrestricted())
	for _, k := range []*Tracked{listed, over} {
		g.Book.SetStatus(k.Key, ipc.StatusOffered, 0)
		g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0)
	}
	fill(t, g, "somebody else's", ipc.SideBuy, "3", true)
	if got := g.Book.Position(btc); got != dec(t, "3") {
		t.Errorf("a fill of an order that this instance did not send moved the position to %s", got)
	}
	if err := g.Book.Execute(&ipc.Execution{Key: listed.Key, Report: ipc.ExecUnknown, Instrument: btc}, 0); err != nil || g.Book.Unknown() != ipc.ReasonPositionUnknown {
		t.Fatalf("%v, %q", err, g.Book.Unknown())
	}
	if v := judge(t, g, intent(4, 0, "", limitOrder(t, ipc.SideSell, "1", "100")), 4, 0, unrestricted()); v.Reason != ipc.ReasonPositionUnknown {
		t.Errorf("an order passes under unknown positions: %s", v.Outcome)
	}
	if v := judge(t, g, intent(4, 0, "", &ipc.CancelIntent{Instrument: btc, TargetKey: listed.Key}), 4, 0, unrestricted()); !v.Permitted() {
		t.Errorf("a cancel is refused under unknown positions: %s", v.Detail)
	}
	if r := g.Book.Reducible(btc, ipc.SideSell); !r.IsZero() {
		t.Errorf("%s reducible of an unknown position", r)
	}
	fill(t, g, over.Key, ipc.SideBuy, "1", false) // a known report is no way out
	if g.Book.Unknown() == "" {
		t.Error("a fill made the positions known")
	}
	broken := &ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: listed.Key, Remaining: dec(t, "-1")}}}
	if err := g.Book.Snapshot(broken, 0); !errors.Is(err, ErrPositionsUnknown) || g.Book.Unknown() == "" {
		t.Errorf("a snapshot with less than nothing open was taken: %v", err)
	}
	err := g.Book.Snapshot(&ipc.ExecutionSnapshot{Positions: []ipc.PositionRow{{Instrument: btc, Quantity: dec(t, "-2")}},
		Open: []ipc.OpenOrder{{Key: listed.Key, Remaining: dec(t, "4")}}}, 0)
	if err != nil || g.Book.Unknown() != "" || g.Book.Position(btc) != dec(t, "-2") || listed.Remaining != dec(t, "4") {
		t.Errorf("%v; %q; position %s; %s remain", err, g.Book.Unknown(), g.Book.Position(btc), listed.Remaining)
	}
	if _, ok := g.Book.Lookup(over.Key); ok {
		t.Error("a committed order that I does not list is still open")
	}
	if _, ok := g.Book.Lookup(unjudged.Key); !ok {
		t.Error("an intent that I has not judged was forgotten")
	}
}

// I's word may come after the execution reports that the intent caused.
// Proves: GT-7
func TestFinalReportBeforeStatus(t *testing.T) {
	g := newGate(t)
	k, _ := accept(t, g, 1, limitOrder(t, ipc.SideBuy, "5", "100"), unrestricted())
	g.Book.SetStatus(k.Key, ipc.StatusOffered, 0)
	fill(t, g, k.Key, ipc.SideBuy, "5", true)
	if _, ok := g.Book.Lookup(k.Key); !ok || g.Book.Position(btc) != dec(t, "5") || !k.Remaining.IsZero() {
		t.Fatalf("after the early final fill: tracked %v, position %s, %s remain", ok, g.Book.Position(btc), k.Remaining)
	}
	if !g.Book.Undecided() {
		t.Error("I's word is still to come")
	}
	if !g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0) || g.Book.OpenCount() != 0 {
		t.Error("the order is open for ever")
	}
	// The usual order of things.
	k, _ = accept(t, g, 2, limitOrder(t, ipc.SideBuy, "5", "100"), unrestricted())
	g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0)
	fill(t, g, k.Key, ipc.SideBuy, "2", false)
	if !k.Working || k.Remaining != dec(t, "3") || g.Book.Undecided() || g.Book.OpenCount() != 1 {
		t.Errorf("working %v, %s remain", k.Working, k.Remaining)
	}
	fill(t, g, k.Key, ipc.SideBuy, "3", true)
	if g.Book.OpenCount() != 0 || g.Book.OldestOpenStep(7) != 7 {
		t.Error("a finished order is open")
	}
}

func TestReportsThatCannotBeTrue(t *testing.T) {
	one := ipc.Decimal{M: 1}
	for name, x := range map[string]*ipc.Execution{
		"no quantity":        {Report: ipc.ExecFilled, Instrument: btc, Side: ipc.SideBuy},
		"no side":            {Report: ipc.ExecFilled, Instrument: btc, Quantity: &one},
		"negative quantity":  {Report: ipc.ExecFilled, Instrument: btc, Side: ipc.SideBuy, Quantity: ref(one.Neg())},
		"negative remaining": {Report: ipc.ExecAccepted, Instrument: btc, Remaining: ref(one.Neg())},
		"out of range":       {Report: ipc.ExecFilled, Instrument: btc, Side: ipc.SideBuy, Quantity: &ipc.Decimal{M: 1, E: 100}},
	} {
		g := newGate(t)
		g.Book.set(btc, one)
		if err := g.Book.Execute(x, 0); !errors.Is(err, ErrPositionsUnknown) || g.Book.Unknown() == "" || g.Book.Position(btc) != one {
			t.Errorf("%s: %v, position %s", name, err, g.Book.Position(btc))
		}
	}
}

// A position intent counts with what it may still trade, on the worst side, until I has said what it made of it.
// Proves: GT-3
func TestTargetsCountInTheWorstCase(t *testing.T) {
	g := newGate(t)
	g.Book.set(btc, dec(t, "10"))
	k, _ := accept(t, g, 1, &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "6")}, unrestricted())
	reducible := func(want string) {
		t.Helper()
		if got := g.Book.Reducible(btc, ipc.SideSell); got != dec(t, want) {
			t.Errorf("reducible %s, want %s", got, want)
		}
	}
	reducible("6")
	fill(t, g, "other", ipc.SideBuy, "2", true) // from 12 the target sells 6
	reducible("6")
	fill(t, g, "other", ipc.SideSell, "5", true) // at 7 it would sell 1, but it may be on its way with 4
	reducible("3")
	if err := g.Book.Execute(&ipc.Execution{Key: k.Key, Report: ipc.ExecAccepted, Instrument: btc, Side: ipc.SideSell, Remaining: ref(dec(t, "1"))}, 0); err != nil {
		t.Fatal(err)
	}
	reducible("6")
	fill(t, g, k.Key, ipc.SideSell, "1", true)
	g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0)
	reducible("6")
}

// Proves: GT-3, GT-7
func TestRecheckOnlyEverRestricts(t *testing.T) {
	with := func(r ipc.Restriction) Mode {
		return Join([]Held{{ID: "x", Restriction: r, Reason: ipc.ReasonOperatorMode}})
	}
	half, third := ipc.Restriction{SizeFactor: ipc.Decimal{M: 5, E: -1}}, ipc.Restriction{SizeFactor: ipc.Decimal{M: 3, E: -1}}
	limit := func(side ipc.Side) ipc.IntentBody { return limitOrder(t, side, "4", "100") }
	for name, c := range map[string]struct {
		body     ipc.IntentBody
		at       Mode // of the verdict
		now      Mode
		coreTS   ipc.Nanos
		position string // at the recheck; 10 at the verdict
		want     ipc.Status
	}{
		"nothing changed":              {limit(ipc.SideBuy), unrestricted(), unrestricted(), 0, "10", ipc.StatusOffered},
		"valid_until passed":           {limit(ipc.SideBuy), unrestricted(), unrestricted(), 2e9, "10", ipc.StatusExpired},
		"no_trade":                     {limit(ipc.SideSell), unrestricted(), with(NoTrade()), 0, "10", ipc.StatusWithdrawn},
		"limit_only":                   {marketOrder(t, ipc.SideSell, "4"), unrestricted(), with(ipc.Restriction{SizeFactor: One, LimitOnly: true}), 0, "10", ipc.StatusWithdrawn},
		"reduce_only, increasing":      {limit(ipc.SideBuy), unrestricted(), with(ReduceOnly()), 0, "10", ipc.StatusWithdrawn},
		"reduce_only, reducing":        {limit(ipc.SideSell), unrestricted(), with(ReduceOnly()), 0, "10", ipc.StatusOffered},
		"reduce_only, no longer":       {limit(ipc.SideSell), with(ReduceOnly()), with(ReduceOnly()), 0, "3", ipc.StatusWithdrawn},
		"same size factor":             {limit(ipc.SideBuy), with(half), with(half), 0, "10", ipc.StatusOffered},
		"smaller size factor":          {limit(ipc.SideBuy), with(half), with(third), 0, "10", ipc.StatusWithdrawn},
		"smaller size factor, reduces": {limit(ipc.SideSell), with(half), with(third), 0, "10", ipc.StatusOffered},
		"target, reduce_only":          {&ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "20")}, unrestricted(), with(ReduceOnly()), 0, "10", ipc.StatusWithdrawn},
		"target that reduces":          {&ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "5")}, unrestricted(), with(ReduceOnly()), 0, "10", ipc.StatusOffered},
		"cancel under everything":      {&ipc.CancelIntent{Instrument: btc, TargetKey: "x"}, unrestricted(), with(NoTrade()), 0, "10", ipc.StatusOffered},
		"cancel too late":              {&ipc.CancelIntent{Instrument: btc, TargetKey: "x"}, unrestricted(), unrestricted(), 2e9, "10", ipc.StatusExpired},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			g.Book.set(btc, dec(t, "10"))
			k, v := accept(t, g, 1, c.body, c.at)
			if k == nil {
				t.Fatal(v.Detail)
			}
			// What was accepted later does not bar it.
			accept(t, g, 2, limitOrder(t, ipc.SideSell, "50", "100"), unrestricted())
			g.Book.set(btc, dec(t, c.position))
			next, reason, why := g.Recheck(k, c.now, c.coreTS, 0)
			if next != c.want || (next == ipc.StatusOffered) != (reason == "") || (reason == "") != (why == "") {
				t.Errorf("%s %s (%s), want %s", next, reason, why, c.want)
			}
		})
	}
	g := newGate(t)
	k, _ := accept(t, g, 1, limit(ipc.SideBuy), unrestricted())
	k.ValidWall = 100
	if next, _, _ := g.Recheck(k, unrestricted(), 0, 101); next != ipc.StatusExpired {
		t.Errorf("past valid_until by wall time: %s", next)
	}
	g.Book.SetUnknown(ipc.ReasonExecutionGap)
	if next, _, why := g.Recheck(k, unrestricted(), 0, 0); next != ipc.StatusWithdrawn {
		t.Errorf("under unknown positions: %s %s", next, why)
	}
}
