package supervisor

import (
	"context"
	"fmt"
	"slices"

	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/mailbox"
)

// Change is one input's: the core right before it and right after it.
type Change struct{ Before, After *Inspection }

// Look shows the core of an instance that runs, as it is between two inputs, also while its strategy hangs (OB-9). One that has ended is shown as
// it ended. It waits while the instance has not been started, or is being brought up.
func (p *Instance) Look(ctx context.Context) (*Inspection, error) {
	seen := make(chan *Inspection, 1)
	put := p.box.PutUrgent(mailbox.Safety, urgent{then: func() error { seen <- p.inspection(); return nil }})
	if !put {
		<-p.done // closed right after the mailbox
		return p.afterwards()
	}
	select {
	case i := <-seen:
		return i, nil
	case <-p.done:
		return p.afterwards()
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: it has not started, or is being brought up: %w", p.cfg.Address, ctx.Err())
	}
}

// afterwards shows an instance whose Run has returned: the core belongs to nobody any more.
func (p *Instance) afterwards() (*Inspection, error) {
	if p.state == nil {
		return nil, fmt.Errorf("%s ended before it was recovered: %w", p.cfg.Address, p.err)
	}
	return p.inspection(), nil
}

// inspection describes the core. What it returns shares nothing that the core changes later.
func (p *Instance) inspection() *Inspection {
	s := p.state
	i := &Inspection{Address: s.Address, Lineage: s.Lineage.String(), Epoch: s.Epoch, RunID: s.RunID, Step: s.StepNo, InputNo: s.InputNo,
		ProcessedTS: s.ProcessedTS, PackageHash: s.PackageHash.String(), ConfigHash: s.ConfigHash.String(), Pending: s.Pending != nil,
		Queued: len(s.Queue), Timers: slices.Clone(s.Timers), Held: slices.Clone(s.Held), Positions: s.Book().Positions(), Unknown: s.Book().Unknown(),
		Cursors: slices.Clone(s.Cursors), Market: slices.Clone(s.Market), Orders: slices.Clone(s.Orders)}
	if o := s.Obligation; o != nil {
		kept := *o
		i.Obligation = &kept
	}
	if r := s.Recovery; r != nil {
		i.Recovering = &core.Recovery{Keys: slices.Clone(r.Keys), Answered: r.Answered}
	}
	i.Health, i.Reason = s.Health()
	for _, t := range s.Book().Open() {
		i.Open = append(i.Open, InspectedIntent{Key: t.Key, Kind: t.Intent.Kind().String(), Step: t.Step, Status: t.Status.String(),
			Working: t.Working, Remaining: t.Remaining})
	}
	return i
}
