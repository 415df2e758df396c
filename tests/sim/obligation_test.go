package sim

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// resting starts an instance that has orders at I.
func (w *shell) resting() *process {
	w.t.Helper()
	p := w.start(false)
	for range 200 {
		w.publish(p)
		w.settle(p)
		time.Sleep(10 * time.Millisecond)
		w.venue.mu.Lock()
		n := len(w.venue.sink.open)
		w.venue.mu.Unlock()
		if n > 1 {
			return p
		}
	}
	w.t.Fatal("no order rests at I")
	return nil
}

// offeredOwn counts what M itself has sent to I.
func (w *shell) offeredOwn(no, attempt uint64) (n int) {
	w.venue.mu.Lock()
	defer w.venue.mu.Unlock()
	for i := range uint32(30) {
		if _, seen := w.venue.sink.keys[owner.ObligationKey(no, attempt, i)]; seen {
			n++
		}
	}
	return n
}

// The strategy hangs in an event; E's order to cancel everything is carried out all the same, within 20 ms, its restriction stands before the
// hung answer is judged, and nothing is open in the end.
//
// Proves: BP-3, CB-2, BC-J
func TestAnObligationBeginsWhileTheStrategyHangs(t *testing.T) {
	takeOver(t, func(w *shell) {
		hangs := &atomic.Bool{}
		w.build.hangs = hangs
		p := w.resting()
		hangs.Store(true)
		w.publish(p)
		time.Sleep(5 * time.Millisecond)
		p.Arrive(&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "e", Epoch: 1, Seq: 1}, TraceID: "e", Event: &ipc.SafetyEvent{Command: ipc.SafetyCancelAll}})
		time.Sleep(20 * time.Millisecond)
		if w.offeredOwn(1, 1) == 0 {
			t.Error("no cancel was offered within 20 ms")
		}
		if w.counted("applied")+w.counted("late") == w.counted("deliveries") {
			t.Error("the strategy did not hang")
		}
		hangs.Store(false)
		time.Sleep(time.Minute)
		w.command(p, haltNow)
		time.Sleep(time.Minute)
		w.crash(p)
		if s := p.State(); s.Obligation != nil || s.Obligations != 1 {
			t.Errorf("obligation %+v of %d", s.Obligation, s.Obligations)
		}
	})
}

// The process dies while an obligation is under way and the instance is halted: the next one goes on where it was, without a runner.
//
// Proves: CB-2, NN-3, GT-6
func TestAnObligationSurvivesAProcess(t *testing.T) {
	takeOver(t, func(w *shell) {
		p := w.resting()
		w.command(p, haltNow)
		w.command(p, core.Command{Op: core.OpHedgeToFlat, Who: "operator"})
		w.crash(p)
		for range 20 {
			p = w.start(false)
			time.Sleep(time.Duration(w.rng.IntN(1500)) * time.Millisecond)
			w.crash(p)
		}
		p = w.start(false)
		time.Sleep(5 * time.Minute)
		w.crash(p)
		s, i := p.State(), w.venue.sink
		if s.Obligation != nil || len(i.open) != 0 || !i.position.IsZero() || !s.Book().Position(btc).IsZero() {
			t.Errorf("obligation %+v, %d orders and position %s at I", s.Obligation, len(i.open), i.position)
		}
		if s.Halted == "" || s.Obligations != 1 {
			t.Errorf("halted %q, %d obligations", s.Halted, s.Obligations)
		}
	})
}
