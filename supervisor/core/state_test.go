package core

import (
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// Proves: ST-1, ST-4
func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t)
	w.step(w.startInput(1, "run-1"))
	whole := marshal(t, w.s)
	for what, c := range map[string]struct {
		b       string
		address ipc.Address
		lineage ipc.Lineage
		want    string
	}{
		"half":            {string(whole[:len(whole)/2]), here, lineage, "cannot be read"},
		"unknown field":   {strings.Replace(string(whole), `"version"`, `"surprise":1,"version"`, 1), here, lineage, "cannot be read"},
		"another version": {strings.Replace(string(whole), `"version":1`, `"version":99`, 1), here, lineage, "version 99"},
		"another address": {string(whole), ipc.Address{Bot: "beta"}, lineage, "belongs to"},
		"another lineage": {string(whole), here, ipc.Lineage{1}, "belongs to"},
		"broken intent":   {strings.Replace(string(whole), `"tracked":null`, `"tracked":[{"bytes":"AA=="}]`, 1), here, lineage, "book"},
	} {
		if _, err := Restore([]byte(c.b), c.address, c.lineage); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Proves: OB-8, DM-2
func TestHealthNamesTheWorstReason(t *testing.T) {
	w := newWorld(t)
	w.step(w.startInput(1, "run-1"))
	check := func(want Health, reason ipc.ReasonCode) {
		t.Helper()
		if h, r := w.s.Health(); h != want || r != reason {
			t.Errorf("%s %s, want %s %s", h, r, want, reason)
		}
	}
	check(Healthy, "")
	for _, mode := range []string{"half", "limit_only", "reduce_only", "no_trade"} {
		w.step(&Command{At: w.at(), Op: OpMode, Restriction: restriction(mode)})
		check(Degraded, ipc.ReasonOperatorMode)
	}
	w.s.Book().SetUnknown(ipc.ReasonExecutionGap)
	check(Degraded, ipc.ReasonExecutionGap)
	w.step(&Command{At: w.at(), Op: OpHalt})
	check(Halted, ipc.ReasonOperatorHalt) // a halt always has a reason
	if m := w.s.Mode(); !m.NoTrade || m.TradeReason != ipc.ReasonOperatorHalt {
		t.Errorf("a halted instance may trade: %+v", m)
	}
}

// Time never goes back, whatever the inputs say.
func TestCoreTimeNeverDecreases(t *testing.T) {
	w := newWorld(t)
	w.now = 100
	w.step(w.startInput(1, "run-1"))
	w.step(&Tick{At: At{CoreTS: 5}})
	if w.s.CoreTS != 100 {
		t.Errorf("core time is %d after 100 and 5", w.s.CoreTS)
	}
}
