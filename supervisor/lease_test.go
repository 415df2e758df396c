package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// countingLedger counts epochs only.
type countingLedger struct {
	Ledger
	epoch ipc.Epoch
}

func (l *countingLedger) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	l.epoch = max(l.epoch, above) + 1
	return l.epoch, nil
}

// toldLease is a lease that a test takes away.
type toldLease struct {
	epoch ipc.Epoch
	fail  error
	lost  chan struct{}
	err   error // before lost is closed
}

func (l *toldLease) Epoch() ipc.Epoch      { return l.epoch }
func (l *toldLease) Lost() <-chan struct{} { return l.lost }
func (l *toldLease) Raise(to ipc.Epoch) error {
	if l.fail == nil {
		l.epoch = to
	}
	return l.fail
}

func (l *toldLease) Err() error {
	select {
	case <-l.lost:
		return l.err
	default:
		return nil
	}
}

func leased(l Lease, ledger Ledger) *Instance {
	return NewInstance(InstanceConfig{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, QueueEvents: 1, Clock: &FeedClock{},
		Ledger: ledger, Lease: l, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// Proves: LS-3
func TestTheEpochIsAboveLedgerAndLease(t *testing.T) {
	for _, c := range []struct{ ledger, lease, want ipc.Epoch }{{0, 0, 1}, {4, 0, 5}, {2, 9, 10}, {9, 2, 10}, {3, 3, 4}} {
		l, ledger := &toldLease{epoch: c.lease}, &countingLedger{epoch: c.ledger}
		epoch, err := leased(l, ledger).nextEpoch()
		if err != nil || epoch != c.want || ledger.epoch != c.want || l.epoch != c.want {
			t.Errorf("ledger %d, lease %d: epoch %d, %v; then ledger %d, lease %d", c.ledger, c.lease, epoch, err, ledger.epoch, l.epoch)
		}
	}
	full := errors.New("no space")
	if _, err := leased(&toldLease{fail: full}, &countingLedger{}).nextEpoch(); !errors.Is(err, full) {
		t.Errorf("an epoch that the lease could not keep: %v", err)
	}
	if epoch, err := leased(nil, &countingLedger{epoch: 6}).nextEpoch(); err != nil || epoch != 7 {
		t.Errorf("without a lease: epoch %d, %v", epoch, err)
	}
}

// killedRunner counts its kills.
type killedRunner struct {
	sandbox.Runner
	kills atomic.Int32
}

func (r *killedRunner) Kill() error { r.kills.Add(1); return nil }

// Whatever the pump waits for, a lost lease kills the runner at once and ends the instance, without a checkpoint or anything else that is
// the owner's to write.
//
// Proves: LS-2
func TestALostLeaseStopsTheRunner(t *testing.T) {
	gone := errors.New("another is the owner")
	l := &toldLease{lost: make(chan struct{}), err: gone}
	p := leased(l, &countingLedger{})
	runner := &killedRunner{}
	var as sandbox.Runner = runner
	p.runner.Store(&as)
	ctx, end := p.watchLease(context.Background())
	defer end()
	if err := p.leaseLost(); err != nil || ctx.Err() != nil {
		t.Fatalf("%v %v", err, ctx.Err())
	}
	close(l.lost)
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the pump was not woken")
	}
	for deadline := time.Now().Add(10 * time.Second); runner.kills.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the runner was not killed")
		}
	}
	if !errors.Is(context.Cause(ctx), gone) || !errors.Is(p.turn(ctx), gone) {
		t.Errorf("cause %v, turn %v", context.Cause(ctx), p.turn(ctx))
	}
	if err := p.waitAtMost(ctx, forever); !errors.Is(err, gone) {
		t.Errorf("a pump that waits ends with %v: it would stop in order, with a checkpoint", err)
	}
}

// Proves: LS-2
func TestAnInstanceThatEndsForgetsItsLease(t *testing.T) {
	l := &toldLease{lost: make(chan struct{})}
	p := leased(l, &countingLedger{})
	ctx, end := p.watchLease(context.Background())
	end()
	if ctx.Err() == nil {
		t.Error("the watch still runs")
	}
	if same, end := leased(nil, nil).watchLease(context.Background()); same != context.Background() || end == nil {
		t.Error("without a lease there is nothing to watch")
	}
}
