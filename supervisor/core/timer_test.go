package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// stormy is a core whose strategy may have 10 timer steps a second; the third second of a storm degrades it, the fifth halts it.
func stormy(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.params.TimerSteps, w.params.Storms = 10, guard.Rule{Window: ipc.Nanos(time.Minute), Warn: 1, Degrade: 3, Halt: 5}
	w.feed(w.startInput(1, "run-1"), &Delivery{At: w.at(), Step: 1, ProcessedTS: wall0}, &Answer{At: w.at(), Step: 1, Outcome: Applied, Digest: ipc.EmptyAnswerDigest})
	return w
}

func (w *world) feed(inputs ...Input) (notes []Note) {
	w.t.Helper()
	for _, in := range inputs {
		w.log = append(w.log, AppendInput(nil, in)...)
		e, err := w.s.Step(in)
		if err != nil {
			w.t.Fatal(err)
		}
		notes = append(notes, e.Notes...)
	}
	return notes
}

// answered is the answer to the pending step that sets a timer so long after it.
func (w *world) answered(after ipc.Nanos) *Answer {
	w.t.Helper()
	body, err := ipc.AppendMessage(nil, &ipc.Answer{Step: w.s.StepNo, Timers: []ipc.TimerRequest{{Op: ipc.TimerSet, TimerID: "t", DueTS: wall0 + w.now + after}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return &Answer{At: w.at(), Step: w.s.StepNo, Outcome: Applied, Digest: ipc.Digest{1}, Body: body}
}

// fire delivers the next timer while it is due.
func (w *world) fire(after ipc.Nanos, most int) (steps int, notes []Note) {
	w.t.Helper()
	for ; steps < most; steps++ {
		due, ok := w.s.NextTimer()
		if !ok || due.DueTS > wall0+w.now || w.s.Halted != "" {
			return steps, notes
		}
		event, err := TimerEvent(due)
		if err != nil {
			w.t.Fatal(err)
		}
		notes = append(notes, w.feed(&Delivery{At: w.at(), Step: w.s.StepNo + 1, ProcessedTS: wall0 + w.now, Event: event})...)
		notes = append(notes, w.feed(w.answered(after))...)
	}
	return steps, notes
}

func (w *world) quote() {
	w.feed(&Delivery{At: w.at(), Step: w.s.StepNo + 1, ProcessedTS: wall0 + w.now,
		Event: w.encode(&ipc.Quote{Market: ipc.Market{Instrument: btc, Source: "h", RecvTS: wall0 + w.now, Seq: uint64(w.s.StepNo)}})})
}

// A strategy whose on_timer sets a timer that is due at once gets its share of a second, and the feed goes on. It is restricted, then halted, by a
// reason of its own; and the log says the same at every replay.
//
// Proves: SB-7, SB-8, BP-1, NN-7
func TestATimerStormEnds(t *testing.T) {
	w := stormy(t)
	w.quote()
	w.feed(w.answered(0))
	for second := 1; second <= 5; second++ {
		steps, notes := w.fire(0, 1000)
		if steps != 10 {
			t.Fatalf("second %d: %d timer steps, want 10", second, steps)
		}
		if n := len(slices.DeleteFunc(notes, func(n Note) bool { return n.Reason != ipc.ReasonTimerStorm || n.Detail == "" })); n != 1 {
			t.Errorf("second %d: it was told %d times that timers were put off", second, n)
		}
		if due, ok := w.s.NextTimer(); !ok || due.DueTS != wall0+w.now+stormWindow {
			t.Fatalf("second %d: the next timer is %+v", second, due)
		}
		if got, want := w.s.Mode().NoTrade, second >= 3; got != want {
			t.Errorf("second %d: no_trade %t, want %t", second, got, want)
		}
		w.now += stormWindow
	}
	if w.s.Halted != ipc.ReasonTimerStorm {
		t.Errorf("halted by %q after five seconds of it", w.s.Halted)
	}
	if w.feed(&Command{At: w.at(), Op: OpResume, Who: "o", Reason: ipc.ReasonOperatorResume, Restriction: gate.Unrestricted()}); len(w.s.Storms.Times) != 0 {
		t.Error("the ladder goes on where it was after a resume")
	}
	w.checkReplay()
}

// Timers with some distance, timers beside the market, and those of a package whose log knows no ceiling are never put off.
//
// Proves: LN-1, NN-7
func TestOrdinaryTimersAreNotPutOff(t *testing.T) {
	for name, c := range map[string]struct {
		every ipc.Nanos
		quote bool
		steps int // ceiling
	}{
		"a tenth of a second apart":        {every: stormWindow / 10, steps: 10},
		"at once, once a quote":            {quote: true, steps: 10},
		"many, where there is no ceiling":  {every: 1, steps: 0},
		"a hundredth apart with a quote":   {every: stormWindow / 100, quote: true, steps: 10},
		"exactly as many as are permitted": {every: stormWindow / 10, steps: 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := stormy(t)
			w.params.TimerSteps = c.steps
			w.feed(w.startInput(2, "run-2"))
			w.quote()
			w.feed(w.answered(c.every))
			for range 50 {
				w.now += c.every
				if c.quote {
					w.quote()
					w.feed(w.answered(0))
				}
				if steps, notes := w.fire(c.every, 1); steps != 1 || len(notes) != 0 {
					t.Fatalf("%d timer steps, notes %v", steps, notes)
				}
			}
			w.checkReplay()
		})
	}
}

// Whoever looks at an instance sees the last commands and who gave them; what the supervisor does by itself is not among them.
//
// Proves: OB-9, HR-3, CB-4
func TestTheLastCommandsAreRemembered(t *testing.T) {
	w := stormy(t)
	command := func(op CommandOp, who string) {
		w.feed(&Command{At: w.at(), Op: op, Who: who, Reason: ipc.ReasonOperatorHalt, Restriction: gate.Unrestricted()})
	}
	for n := range mostOrders + 3 {
		command(OpHalt, fmt.Sprint("alice", n))
		command(OpReask, "supervisor")
	}
	command(OpResume, "bob")
	if n := len(w.s.Orders); n != mostOrders {
		t.Fatalf("%d commands are remembered, want %d", n, mostOrders)
	}
	first, last := w.s.Orders[0], w.s.Orders[mostOrders-1]
	if first.Who != "alice4" || first.Op != "halt" || last.Who != "bob" || last.Op != "resume" || last.InputNo != w.s.InputNo || last.WallTS != wall0+w.now {
		t.Errorf("the commands are %+v", w.s.Orders)
	}
	w.checkReplay()
}
