package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// meter is clock, observer and I of one instance. It stamps what passes and remembers what must not happen. As I it accepts an order, and
// reports at once that it is canceled, so that none stays open.
type meter struct {
	instance *supervisor.Instance

	now      ipc.Nanos
	taken    time.Time // the pump took a market event
	judged   time.Time // the gate gave its verdict on the last intent
	offered  time.Time // the last intent left M
	offers   atomic.Uint64
	verdicts atomic.Uint64
	answers  atomic.Uint64
	seq      uint64
	asked    *ipc.Intent // the last one

	mu   sync.Mutex
	fail error
}

var (
	_ supervisor.Clock    = (*meter)(nil)
	_ supervisor.Observer = (*meter)(nil)
	_ supervisor.Sink     = (*meter)(nil)
)

// problem returns the first thing that went wrong.
func (m *meter) problem() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail
}

func (m *meter) failed(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.fail = fmt.Errorf(format, args...)
	}
}

// Now follows receive times, as the supervisor's clock for feeds; a receive time means that the pump has just taken an event.
func (m *meter) Now(recv ipc.Nanos) (processed, core ipc.Nanos) {
	if recv > 0 {
		m.taken = time.Now()
	}
	m.now = max(m.now, recv)
	return m.now, m.now
}

func (m *meter) Delivered(ipc.Address, ipc.EventKind) {}

func (m *meter) Answered(_ ipc.Address, outcome core.Outcome, _ ipc.Nanos) {
	m.answers.Add(1)
	if outcome != core.Applied && outcome != core.Killed {
		m.failed("an answer was %s", outcome)
	}
}

func (m *meter) Arrived(ipc.Address, ipc.Event) {}

func (m *meter) Judged(_ ipc.Address, row *core.IntentRow) {
	m.judged, m.asked = time.Now(), row.Asked
	m.verdicts.Add(1)
	if row.Verdict.Outcome != gate.Accepted {
		m.failed("the gate did not accept an order: %s %s", row.Verdict.Reason, row.Verdict.Detail)
	}
}

func (m *meter) Offered(ipc.Address, *gate.Tracked) {}

func (m *meter) Noted(ipc.Address, core.Note) {}

func (m *meter) Telemetry(ipc.Address, ipc.Telemetry) {}

func (m *meter) Restarted(ipc.Address, ipc.ReasonCode) {}

func (m *meter) Health(_ ipc.Address, h core.Health, reason ipc.ReasonCode) {
	if h != core.Healthy {
		m.failed("the instance is %s: %s", h, reason)
	}
}

func (m *meter) Hello(context.Context, ipc.BoundaryHello) (ipc.Welcome, error) {
	return ipc.Welcome{}, nil
}

// Offer runs on the pump's goroutine; what it answers is taken when the pump is done with the offer.
func (m *meter) Offer(o *ipc.Offer) error {
	m.offered = time.Now()
	m.offers.Add(1)
	key := o.Intent.Meta.Key
	m.instance.Report(&ipc.StatusReport{Address: o.Address, Key: key, Status: ipc.StatusCommitted, Digest: &o.Digest})
	m.seq++
	m.instance.Arrive(&ipc.SourceEvent{Address: &o.Address, Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: m.seq}, TraceID: o.Intent.Meta.TraceID,
		Event: &ipc.Execution{Key: key, Report: ipc.ExecCanceled, Instrument: instrument, Side: ipc.SideBuy, Final: true}})
	return nil
}

func (m *meter) Query(_ context.Context, q ipc.Query) (ipc.StatusReport, error) {
	return ipc.StatusReport{Address: q.Address, Key: q.Key, Status: ipc.StatusNotSeen}, nil
}

func (m *meter) Tombstone(_ context.Context, t ipc.Tombstone) (ipc.StatusReport, error) {
	return ipc.StatusReport{Address: t.Address, Key: t.Key, Status: ipc.StatusExpired}, nil
}

// Resume has nothing to add: a snapshot follows.
func (m *meter) Resume(ipc.Address, ipc.Cursor) error { return nil }

func (m *meter) RequestSnapshot(ipc.Address) error { return nil }

func (m *meter) Ack(ipc.Address, ipc.Cursor) error { return nil }

// live is a running instance with its meter.
type live struct {
	*supervisor.Instance
	meter *meter
	next  uint64 // quote
}

// prepare makes an instance with a meter; somebody has to run it.
func (r *rig) prepare(w wiring) (*live, error) {
	m := &meter{}
	if w.address == (ipc.Address{}) {
		w.address = r.address()
	}
	w.sink, w.clock, w.observer = m, m, m
	p, err := r.instance(w)
	if err != nil {
		return nil, err
	}
	m.instance = p
	return &live{Instance: p, meter: m}, nil
}

// launch runs an instance; it may have something to restore first.
func (r *rig) launch(ctx context.Context, w wiring) (*live, error) {
	l, err := r.prepare(w)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := l.Run(ctx); err != nil {
			l.meter.failed("the instance ended: %w", err)
		}
	}()
	return l, nil
}

// start runs a new instance and waits until on_init is answered.
func (r *rig) start(ctx context.Context, w wiring) (*live, error) {
	l, err := r.launch(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := l.begun(ctx); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	return l, nil
}

// begun waits for the answer of on_init.
func (l *live) begun(ctx context.Context) error {
	if err := l.settle(ctx); err != nil {
		return err
	}
	if l.meter.answers.Load() == 0 {
		return fmt.Errorf("%s does not answer on_init", l.Address())
	}
	return nil
}

// settle waits until everything is answered, durable and judged.
func (l *live) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.Settle(ctx); err != nil {
		return fmt.Errorf("%s: waiting for its answers: %w", l.Address(), err)
	}
	return l.meter.problem()
}

// stop ends the instance in order.
func (l *live) stop() error {
	l.Stop()
	<-l.Done()
	return l.meter.problem()
}

// step publishes one quote and waits until all that it caused is over.
func (l *live) step(ctx context.Context) (outside, inside time.Duration, err error) {
	bytes, recv, err := quote(l.next)
	if err != nil {
		return 0, 0, err
	}
	l.next++
	m, offers := l.meter, l.meter.offers.Load()
	begin := time.Now()
	if err := l.Publish(ctx, supervisor.Market{Recv: recv, Event: bytes}); err != nil {
		return 0, 0, fmt.Errorf("publishing a quote: %w", err)
	}
	// Settle, not settle: a context per event would be measured too.
	if err := l.Settle(ctx); err != nil {
		return 0, 0, fmt.Errorf("waiting for the order: %w", err)
	}
	if m.offers.Load() != offers+1 {
		return 0, 0, fmt.Errorf("quote %d made %d offers instead of one: %w", l.next, m.offers.Load()-offers, m.problem())
	}
	return m.offered.Sub(begin), m.judged.Sub(m.taken), nil
}
