package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// beginStop queues on_shutdown behind what the strategy has to see; market events are not delivered any more.
func (p *Instance) beginStop(reason ipc.ReasonCode) error {
	if p.stopping {
		return nil
	}
	p.stopping, p.stopSince = true, time.Now()
	if err := p.release(untilFeed); err != nil {
		return err
	}
	if p.state.Halted != "" || p.session == nil || p.state.StepNo == 0 || p.state.InitFailed {
		return nil
	}
	return p.apply(p.stamp(&core.Command{Op: core.OpShutdown, Who: "supervisor", Reason: reason, Restriction: unrestricted}))
}

// close takes the last checkpoint and makes everything durable (ST-2: forced flush before a stop).
func (p *Instance) close(ctx context.Context) error {
	unsaved := p.state.StepNo > p.lastSaveStep
	if err := p.awaitSave(); err != nil { // of one that was under way; a persist that failed may have taken it along
		p.log.Error("a checkpoint was not saved", "reason", ipc.ReasonCheckpointFailed, "err", err)
		unsaved = true
	}
	if p.session != nil && p.state.Pending == nil && p.state.Began() && unsaved {
		if err := p.saveCheckpoint(); err != nil {
			return fmt.Errorf("the last checkpoint: %w", err)
		}
	}
	if err := p.flush(); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	if err := p.awaitSave(); err != nil {
		return fmt.Errorf("the last checkpoint: %w", err)
	}
	if s := p.session; s != nil {
		p.session = nil
		p.runner.Store(nil)
		if err := s.Close(p.cfg.Deadlines.Stop); err != nil {
			return fmt.Errorf("stopping the runner: %w", err)
		}
		p.lookBack(s.runner)
	}
	return ctx.Err()
}

// killRunner ends the runner, if there is one, unconditionally.
func (p *Instance) killRunner() {
	p.watch.Stop()
	if s := p.session; s != nil {
		p.session = nil
		defer func() {
			if err := s.hangUp(); err != nil {
				p.log.Warn("hanging up failed", "err", err)
			}
		}()
	}
	r := p.runner.Swap(nil)
	if r == nil {
		return
	}
	if err := (*r).Kill(); err != nil {
		p.log.Error("killing the runner failed", "err", err)
		return
	}
	p.lookBack(*r)
}
