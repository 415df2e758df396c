package supervisor

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// slowLedger is a ledger whose disk takes the batch of a checkpoint, and then the checkpoint, when the test says so.
type slowLedger struct {
	*runningLedger
	held  chan *Batch
	write chan struct{}
	saved atomic.Bool
}

func (l *slowLedger) Persist(b *Batch) {
	done := b.Done
	b.Done = func(Head, error) {}
	l.runningLedger.Persist(b)
	b.Done = done
	if b.Urgent {
		l.held <- b
		return
	}
	b.Done(Head{}, nil)
}

func (l *slowLedger) SaveCheckpoint(Checkpoint) error {
	<-l.write
	l.saved.Store(true)
	return nil
}

// An instance that ends while the input of its checkpoint is on its way to the disk ends after the checkpoint: its owner closes the ledger then.
//
// Proves: LS-2, ST-1
func TestAnInstanceEndsAfterItsCheckpoint(t *testing.T) {
	lease := &toldLease{lost: make(chan struct{}), err: errors.New("another is the owner")}
	ledger := &slowLedger{held: make(chan *Batch), write: make(chan struct{})}
	w := play(t, func(*ipc.Deliver) *ipc.Answer { return &ipc.Answer{} }, func(c *InstanceConfig, _ *scripted) {
		ledger.runningLedger = c.Ledger.(*runningLedger)
		c.Ledger, c.Lease, c.CheckpointSteps = ledger, lease, 1
	})
	running := func(when string) {
		t.Helper()
		select {
		case <-w.Done():
			t.Fatalf("it has ended %s", when)
		case <-time.After(50 * time.Millisecond):
		}
	}
	w.quote()
	batch := <-ledger.held
	close(lease.lost)
	running("before the input was durable")
	batch.Done(Head{}, nil)
	running("before the checkpoint was written")
	close(ledger.write)
	<-w.Done()
	if !ledger.saved.Load() || !errors.Is(w.Err(), lease.err) {
		t.Errorf("saved %t, it ended with %v", ledger.saved.Load(), w.Err())
	}
}
