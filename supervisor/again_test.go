package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/mailbox"
)

// lateLedger is a ledger whose disk stands still, and then fails what waits for it. The pump's goroutine owns it.
type lateLedger struct {
	*runningLedger
	waiting bool
	waits   []*Batch
}

func (l *lateLedger) Reset() (ipc.InputNo, error) { return l.LastInput(), nil }

func (l *lateLedger) Persist(b *Batch) {
	if l.waiting {
		l.waits = append(l.waits, b)
		return
	}
	l.runningLedger.Persist(b)
}

func (l *lateLedger) failAll() {
	l.waiting = false
	for _, b := range l.waits {
		b.Done(Head{}, errNotRecorded)
	}
}

// In lock step the events of which a failed persist has taken the deliveries come again as they came the first time: at their own times, with the
// timers between them, and with I's report of the last of them before that, not before them all.
//
// Proves: NN-3, NN-6, RS-5, GT-6
func TestVoidedEventsComeAgainAsTheyCame(t *testing.T) {
	var mu sync.Mutex
	var told []string
	reply := func(d *ipc.Deliver) *ipc.Answer {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%s at %d", d.Event.Kind(), d.ProcessedTS))
		if d.ProcessedTS == 10 {
			return &ipc.Answer{Timers: []ipc.TimerRequest{{Op: ipc.TimerSet, TimerID: "t", DueTS: 25}}}
		}
		return &ipc.Answer{}
	}
	report := &ipc.SourceEvent{Cursor: ipc.Cursor{Source: "sim", Epoch: 1, Seq: 1}, RecvTS: 30, Event: &ipc.Execution{EventTS: 30, RecvTS: 30, Key: "0123456789abcdef0123456789abcdef",
		Report: ipc.ExecCanceled, Instrument: bitcoin, Final: true}}
	var ledger *lateLedger
	var w *played
	var failed atomic.Bool
	var restarts atomic.Int64
	w = play(t, reply, func(c *InstanceConfig, _ *scripted) {
		ledger = &lateLedger{runningLedger: c.Ledger.(*runningLedger)}
		c.Ledger, c.Clock, c.LockStep, c.Params.MaxTimers = ledger, &FeedClock{}, true, 1
	})
	start := w.cfg.StartRunner
	var feed atomic.Int64
	onPump := func(then func(p *Instance)) {
		done := make(chan struct{})
		w.later(mailbox.Internal, func() error {
			defer close(done)
			then(w.Instance)
			return nil
		})
		<-done
	}
	onPump(func(p *Instance) {
		p.ahead.feed = &feed
		p.cfg.StartRunner = func(ctx context.Context) (sandbox.Runner, error) {
			if failed.Load() && restarts.Add(1) == 1 {
				w.Arrive(report) // I sends again what was not acknowledged
			}
			return start(ctx)
		}
	})
	settle := func() {
		if err := w.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(at ipc.Nanos, before func()) {
		w.Advance(at)
		settle()
		feed.Store(int64(at))
		before()
		w.comeTo(at)
		w.seq++
		event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: bitcoin, Source: "h", RecvTS: at, Seq: w.seq}})
		if err == nil {
			err = w.Publish(t.Context(), Market{Recv: at, Event: event})
		}
		if err != nil {
			t.Fatal(err)
		}
		settle()
	}
	publish(10, func() {})
	onPump(func(p *Instance) {
		p.submit(nil)
		ledger.waiting = true
	})
	publish(20, func() {})
	publish(30, func() { w.Arrive(report) })
	onPump(func(p *Instance) {
		p.submit(nil)
		failed.Store(true)
		ledger.failAll()
	})
	settle()
	publish(40, func() {})
	w.finish()
	once := []string{"quote at 10", "quote at 20", "timer at 25", "execution at 30", "quote at 30"}
	want := append(slices.Concat(once, once), "quote at 40", "shutdown at 40")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(told, want) || restarts.Load() != 1 {
		t.Errorf("%d new starts, it was told\n%s\nand should be told\n%s", restarts.Load(), strings.Join(told, ", "), strings.Join(want, ", "))
	}
}
