package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

func row(instrument ipc.InstrumentID, m int64, e int8) ipc.PositionRow {
	return ipc.PositionRow{Instrument: instrument, Quantity: ipc.Decimal{M: m, E: e}}
}

// Proves: OB-9, BC-I
func TestPositionsAreSummedPerBot(t *testing.T) {
	all := []heldBy{
		{Address: "desk/ema/a", Positions: []ipc.PositionRow{row("BTC", 15, -1), row("ETH", -2, 0)}},
		{Address: "desk/ema/b", Positions: []ipc.PositionRow{row("BTC", -25, -2)}},
		{Address: "other/ema/a", Positions: []ipc.PositionRow{row("BTC", 1, 0)}},
		{Address: "desk/flat/a"},
	}
	totals, err := sumPositions(all)
	if err != nil {
		t.Fatal(err)
	}
	want := []total{{Bot: "desk", Instrument: "BTC", Quantity: ipc.Decimal{M: 125, E: -2}, Instances: 2}, {Bot: "desk", Instrument: "ETH", Quantity: ipc.Decimal{M: -2}, Instances: 1},
		{Bot: "other", Instrument: "BTC", Quantity: ipc.Decimal{M: 1}, Instances: 1}}
	same := func(a, b total) bool {
		return a.Bot == b.Bot && a.Instrument == b.Instrument && a.Quantity.Cmp(b.Quantity) == 0 && a.Instances == b.Instances && a.Uncertain == b.Uncertain
	}
	if !slices.EqualFunc(totals, want, same) {
		t.Errorf("got %+v", totals)
	}
	// One that does not know makes every sum of its bot uncertain, and no other's; what it last knew still counts.
	all[3].Unknown = ipc.ReasonExecutionGap
	if totals, err = sumPositions(all); err != nil {
		t.Fatal(err)
	}
	want[0].Uncertain, want[1].Uncertain = true, true
	if !slices.EqualFunc(totals, want, same) {
		t.Errorf("with an unknown one: %+v", totals)
	}
	if totals, err = sumPositions(nil); err != nil || totals == nil || len(totals) > 0 {
		t.Errorf("of nothing: %v, %v", totals, err)
	}
	big := []heldBy{{Address: "desk/a/a", Positions: []ipc.PositionRow{row("BTC", math.MaxInt64, 0)}}, {Address: "desk/a/b", Positions: []ipc.PositionRow{row("BTC", 1, 0)}}}
	if _, err := sumPositions(big); err == nil || !strings.Contains(err.Error(), "bot desk in BTC do not add up") {
		t.Errorf("a sum that is no decimal: %v", err)
	}
}

// Proves: OB-9
func TestPositionsArePrintedWithWhatIsNotKnown(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	instances := []heldBy{{Address: "desk/ema/a", Positions: []ipc.PositionRow{row("BTC", 15, -1)}}, {Address: "desk/ema/b"},
		{Address: "desk/ema/c", Unknown: ipc.ReasonExecutionGap, Positions: []ipc.PositionRow{row("BTC", 2, 0)}}}
	totals, err := sumPositions(instances)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.printPositions(instances, totals); err != nil {
		t.Fatal(err)
	}
	squeezed := strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
	for _, want := range []string{"desk/ema/a BTC 1.5 ", "desk/ema/b - flat ", "desk/ema/c - unknown (EXECUTION_GAP) ", "desk/ema/c BTC 2 ",
		"desk (bot) BTC 3.5 sum of 2, and one instance does not know"} {
		if !strings.Contains(squeezed, want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

// Proves: OB-9
func TestBotOfAnAddress(t *testing.T) {
	for address, want := range map[string]ipc.BotID{"desk/ema/main": "desk", "desk": "desk", "": "", "/x": ""} {
		if got := botOf(address); got != want {
			t.Errorf("%q is of bot %q", address, got)
		}
	}
}
