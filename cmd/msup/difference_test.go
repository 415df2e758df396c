package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// word is what an I says of keys.
type word map[ipc.Key]ipc.StatusReport

func (w word) Query(_ context.Context, _ ipc.Address, _ ipc.Epoch, k ipc.Key) (*ipc.StatusReport, error) {
	r, ok := w[k]
	if !ok {
		return nil, fmt.Errorf("key %s: the connection is gone", k)
	}
	return &r, nil
}

func dec(text string) ipc.Decimal { return ipc.MustDecimal(text) }

// nothing is in the ledger beside what is open.
func nothing(ipc.Key) (ipc.Status, bool, error) { return 0, false, nil }

// Every way in which M and I can disagree has a name of its own, and says what becomes of it.
//
// Proves: GT-6, BC-I, NN-6
func TestEveryDifferenceHasItsName(t *testing.T) {
	open := func(key, status string, working bool, remaining string) supervisor.InspectedIntent {
		return supervisor.InspectedIntent{Key: ipc.Key(key), Status: status, Working: working, Remaining: dec(remaining)}
	}
	held := func(of ipc.InstrumentID, quantity string) []ipc.PositionRow {
		return []ipc.PositionRow{{Instrument: of, Quantity: dec(quantity)}}
	}
	digest := ipc.Digest{7}
	for name, c := range map[string]struct {
		m        supervisor.Inspection
		i        ipc.ExecutionSnapshot
		word     word
		recorded map[ipc.Key]ipc.Status // in the ledger, and over
		late     int                    // reports that the ledger has not taken
		want     []difference
		apply    int // statuses that --apply may record
	}{
		"both say the same": {
			m:    supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "offered", false, "1"), open("b", "committed", true, "2")}, Positions: held("X", "3")},
			i:    ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "b", Remaining: dec("2.0")}}, Positions: held("X", "3.00")},
			word: word{"a": {Key: "a", Status: ipc.StatusOffered}, "b": {Key: "b", Status: ipc.StatusCommitted}},
		},
		"one that waits for an approval never left": {
			m: supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "staged", false, "1")}},
		},
		"I decided": {
			m:     supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "offered", false, "1")}},
			word:  word{"a": {Key: "a", Status: ipc.StatusRejected, Digest: &digest, Reason: "LIMIT"}},
			want:  []difference{{statusDiffers, "intent", "a", "offered", "rejected", "the next start, or --apply, takes I's word"}},
			apply: 1,
		},
		"I has never seen it": {
			m:    supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "approved", false, "1")}},
			word: word{"a": {Key: "a", Status: ipc.StatusNotSeen}},
			want: []difference{{intentUnknownToI, "intent", "a", "approved", "not_seen", "the next start offers it while it is valid, and bars its key otherwise"}},
		},
		"I takes back what it committed": {
			m:     supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "committed", true, "1")}},
			i:     ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "a", Remaining: dec("1")}}},
			word:  word{"a": {Key: "a", Status: ipc.StatusRejected}},
			want:  []difference{{statusDiffers, "intent", "a", "committed", "rejected", "I contradicts itself: an intent that it has committed has no other status; ask its operator"}},
			apply: 1,
		},
		"an order is unknown to I": {
			m:    supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "committed", true, "4")}},
			word: word{"a": {Key: "a", Status: ipc.StatusCommitted}},
			want: []difference{{orderUnknownToI, "order", "a", "open, 4 remain", "not open", "--apply takes I's snapshot"}},
		},
		"an order is unknown to M": {
			i:    ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "z", Remaining: dec("5")}}},
			want: []difference{{orderUnknownToM, "order", "z", "not open", "open, 5 remain", "the ledger has no such intent: cancel it with I's operator"}},
		},
		"an order is over for M": {
			i:        ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "z", Remaining: dec("5")}}},
			recorded: map[ipc.Key]ipc.Status{"z": ipc.StatusExpired},
			want:     []difference{{orderOverAtM, "order", "z", "over, expired", "open, 5 remain", "the ledger has it as over, and will not follow it: cancel it with I's operator"}},
		},
		"another quantity is filled": {
			m:    supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "committed", true, "4")}},
			i:    ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "a", Remaining: dec("1.5")}}},
			word: word{"a": {Key: "a", Status: ipc.StatusCommitted}},
			want: []difference{{filledDiffers, "order", "a", "4 remain", "1.5 remain", "--apply takes I's snapshot"}},
		},
		"another quantity is filled, and its reports are on the way": {
			m:    supervisor.Inspection{Open: []supervisor.InspectedIntent{open("a", "committed", true, "4")}},
			i:    ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "a", Remaining: dec("1.5")}}},
			word: word{"a": {Key: "a", Status: ipc.StatusCommitted}},
			late: 2,
			want: []difference{{filledDiffers, "order", "a", "4 remain", "1.5 remain", "2 reports of I are not in the ledger yet: the next start takes them"}},
		},
		"a position differs, one is M's alone, one is I's alone": {
			m: supervisor.Inspection{Positions: append(held("X", "3"), held("Y", "1")...)},
			i: ipc.ExecutionSnapshot{Positions: append(held("X", "-3"), held("Z", "0.1")...)},
			want: []difference{{positionDiffers, "position", "X", "3", "-3", "--apply takes I's snapshot"}, {positionDiffers, "position", "Y", "1", "0", "--apply takes I's snapshot"},
				{positionDiffers, "position", "Z", "0", "0.1", "--apply takes I's snapshot"}},
		},
		"M does not know its positions": {
			m:    supervisor.Inspection{Unknown: ipc.ReasonExecutionGap, Positions: held("X", "3")},
			i:    ipc.ExecutionSnapshot{Positions: held("X", "3")},
			want: []difference{{positionUnknown, "position", "all", "unknown (EXECUTION_GAP)", "1 instruments", "--apply takes I's snapshot"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reconciled{Unreported: c.late}
			known, err := r.intents(t.Context(), c.word, ipc.Address{}, 1, c.m.Open)
			if err != nil || len(known) != c.apply {
				t.Errorf("--apply may record %+v, want %d: %v", known, c.apply, err)
			}
			of := len(r.Differences)
			differ, err := r.books(&c.m, &c.i, func(k ipc.Key) (ipc.Status, bool, error) {
				s, ok := c.recorded[k]
				return s, ok, nil
			})
			if err != nil || differ != (len(r.Differences) > of) {
				t.Errorf("the books differ: %t, %v; %+v", differ, err, r.Differences)
			}
			if fmt.Sprint(r.Differences) != fmt.Sprint(c.want) {
				t.Errorf("it says\n%+v, want\n%+v", r.Differences, c.want)
			}
		})
	}
}

// An I, or a ledger, that cannot be asked ends it: no difference is made up.
//
// Proves: GT-6
func TestADifferenceIsNotGuessed(t *testing.T) {
	r := &reconciled{}
	if _, err := r.intents(t.Context(), word{}, ipc.Address{}, 1, []supervisor.InspectedIntent{{Key: "a", Status: "offered"}}); err == nil || len(r.Differences) != 0 {
		t.Errorf("I is silent: %v, %+v", err, r.Differences)
	}
	broken := errors.New("broken")
	i := &ipc.ExecutionSnapshot{Open: []ipc.OpenOrder{{Key: "z", Remaining: dec("5")}}}
	if _, err := r.books(&supervisor.Inspection{}, i, func(ipc.Key) (ipc.Status, bool, error) { return 0, false, broken }); !errors.Is(err, broken) {
		t.Errorf("a ledger that cannot be read: %v", err)
	}
	if _, err := r.books(&supervisor.Inspection{}, i, nothing); err != nil || len(r.Differences) != 1 {
		t.Errorf("%v, %+v", err, r.Differences)
	}
}

// What was found is printed for people and for programs, and ends with the code of the boundary until it is applied.
//
// Proves: BC-I
func TestDifferencesArePrinted(t *testing.T) {
	all := []*reconciled{{Address: "b/s/i", Step: 7, StepAtI: 9, Unreported: 2, Differences: []difference{{filledDiffers, "order", "k", "4 remain", "1 remain", "then"}}}}
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.printReconciled(all, false); codeOf(err) != exitBoundary {
		t.Errorf("with differences: %v", err)
	}
	for _, want := range []string{"b/s/i: step 7, I has seen 9; 1 differences, 2 reports not taken yet\n", "  order k\n    M: 4 remain\n    I: 1 remain\n    then\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	a.json = true
	if err := a.printReconciled(all, true); err != nil {
		t.Errorf("applied: %v", err)
	}
	var back []reconciled
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 1 || back[0].Differences[0] != all[0].Differences[0] {
		t.Errorf("as JSON: %v, %s", err, out.String())
	}
	if !strings.Contains(out.String(), `"class": "filled_quantity"`) {
		t.Errorf("the class is not named:\n%s", out.String())
	}
}
