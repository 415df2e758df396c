package supervisor

import (
	"context"
	"fmt"

	"github.com/msup/msup/ipc"
)

// nextEpoch takes an epoch above those of the ledger and of the lease, and makes it durable in both before anybody hears of it (LS-3).
// After a crash between the two the next start is above both again.
func (p *Instance) nextEpoch() (ipc.Epoch, error) {
	var above ipc.Epoch
	if p.cfg.Lease != nil {
		above = p.cfg.Lease.Epoch()
	}
	epoch, err := p.cfg.Ledger.NextEpoch(p.cfg.Owner, above)
	if err != nil {
		return 0, fmt.Errorf("taking the next epoch: %w", err)
	}
	if p.cfg.Lease != nil {
		if err := p.cfg.Lease.Raise(epoch); err != nil {
			return 0, fmt.Errorf("writing epoch %d into the lease: %w", epoch, err)
		}
	}
	return epoch, nil
}

// leaseLost returns why this process is not the owner any more, nil while it is.
func (p *Instance) leaseLost() error {
	if p.cfg.Lease == nil {
		return nil
	}
	return p.cfg.Lease.Err()
}

// watchLease kills the runner and wakes the pump when the lease is lost, whatever the pump waits for. What the pump still does until it
// looks, epochs bar (LS-2). Call the function that it returns when the instance has ended.
func (p *Instance) watchLease(ctx context.Context) (context.Context, func()) {
	if p.cfg.Lease == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-ctx.Done():
			return
		case <-p.cfg.Lease.Lost():
		}
		p.log.Error("the lease is lost; stopping the runner", "reason", ipc.ReasonLeaseLost, "err", p.cfg.Lease.Err())
		cancel(p.cfg.Lease.Err())
		if r := p.runner.Load(); r != nil {
			if err := (*r).Kill(); err != nil {
				p.log.Error("killing the runner failed", "err", err)
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-gone
	}
}
