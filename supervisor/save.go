package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// checkpointDue reports whether the policy, or the strategy, asks for a checkpoint and one can be taken now (ST-2).
func (p *Instance) checkpointDue() bool {
	if p.saving != nil {
		select {
		case err := <-p.saving:
			p.saving = nil
			if err != nil {
				p.log.Error("a checkpoint was not saved; the older one stays", "reason", ipc.ReasonCheckpointFailed, "err", err)
			}
		default:
			return false
		}
	}
	if p.state.Pending != nil || !p.state.Began() || p.session == nil {
		return false
	}
	steps := p.state.StepNo - p.lastSaveStep
	if steps == 0 {
		p.checkpoint = false
		return false
	}
	return p.checkpoint ||
		(p.cfg.CheckpointSteps > 0 && uint64(steps) >= p.cfg.CheckpointSteps) ||
		(p.cfg.CheckpointEvery > 0 && time.Since(p.lastSave) >= p.cfg.CheckpointEvery)
}

// saveCheckpoint takes the strategy's state at this step boundary. The slot is written in the background, once the batch that ends here
// is durable; the pump goes on.
func (p *Instance) saveCheckpoint() error {
	p.checkpoint, p.lastSave, p.lastSaveStep = false, time.Now(), p.state.StepNo
	p.late.Store(false)
	p.watch.Reset(p.cfg.Deadlines.Checkpoint)
	state, version, err := p.session.Checkpoint(p.state.StepNo, p.cfg.MaxStateBytes)
	p.watch.Stop()
	if err != nil {
		reason := p.blame(err)
		p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: reason, Detail: err.Error()})
		p.log.Error("no checkpoint; the older one stays", "reason", reason, "step", p.state.StepNo, "err", err)
		var s *SessionError
		if errors.As(err, &s) && s.Reason == ipc.ReasonCheckpointFailed {
			return nil // the strategy said that it cannot; its runner is well
		}
		p.killRunner()
		p.restart = reason
		return nil
	}
	coreState, err := p.state.Marshal()
	if err != nil {
		return err
	}
	step := p.state.StepNo
	if p.state.Pending != nil { // the strategy has not seen it
		step--
	}
	c := Checkpoint{State: state, StateVersion: version, Cursors: append([]ipc.Cursor(nil), p.state.Cursors...), InputNo: p.state.InputNo,
		Step: step, Core: coreState, PackageHash: p.cfg.PackageHash, ConfigHash: p.state.ConfigHash, CoreTS: p.state.CoreTS}
	saving, last := make(chan error, 1), p.stopping // before a stop nobody waits for a pruning
	p.saving = saving
	save := func(h Head, err error) {
		if err != nil {
			saving <- fmt.Errorf("the batch that ends at input %d: %w", c.InputNo, err)
			p.prunes.Done()
			return
		}
		c.Head = h
		go func() { // the persister's goroutine may not wait for itself
			defer p.prunes.Done()
			err := p.cfg.Ledger.SaveCheckpoint(c)
			saving <- err
			if err == nil && !last && !p.cfg.KeepLog {
				p.prune()
			}
		}()
	}
	if p.batch.empty() {
		// Everything is with the persister already; an empty tick ends a batch of its own, so that the head is exactly this input's.
		processed, now := p.cfg.Clock.Now(0)
		if err := p.apply(&core.Tick{At: core.At{CoreTS: now}, WallTS: processed}); err != nil {
			return err
		}
		c.InputNo = p.state.InputNo
		if c.Core, err = p.state.Marshal(); err != nil {
			return err
		}
	}
	p.prunes.Add(1) // here, not when the batch is durable: Run may be waiting for them by then
	p.submit(save)
	return nil
}

// prune lets the ledger forget what lies below the older slot, in the background: the slot that was just verified made it the older one.
// A pruning that is under way has the turn; the next checkpoint begins another.
func (p *Instance) prune() {
	if !p.pruning.CompareAndSwap(false, true) {
		return
	}
	defer p.pruning.Store(false)
	rows, err := p.cfg.Ledger.Prune()
	if err != nil {
		p.log.Warn("pruning the ledger failed; it grows until the next checkpoint", "err", err)
		return
	}
	if rows > 0 {
		p.log.Debug("the ledger was pruned", "rows", rows)
	}
}

// awaitSave waits until the checkpoint that is being written is safe.
func (p *Instance) awaitSave() error {
	if p.saving == nil {
		return nil
	}
	err := <-p.saving
	p.saving = nil
	return err
}
