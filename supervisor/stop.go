package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// beginStop queues on_shutdown behind what the strategy has to see; market events are not delivered any more.
func (p *Instance) beginStop(reason ipc.ReasonCode) error {
	if p.stopping {
		return nil
	}
	p.stopping, p.stopSince = true, time.Now()
	if p.state.Halted != "" || p.session == nil || p.state.StepNo == 0 {
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
	if p.session != nil && p.state.Pending == nil && p.state.StepNo > 0 && unsaved {
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
		p.noteRefusals(s.runner)
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
	p.noteRefusals(*r)
}

// noteRefusals tells what a runner that has ended was refused while it lived: nothing is dropped without a word (law 5, SB-8).
func (p *Instance) noteRefusals(r sandbox.Runner) {
	for _, v := range sandbox.Violations(sandbox.Limits{}, r.Exit(), r.Logs()) {
		switch v.Kind {
		case sandbox.ViolationLog, sandbox.ViolationPIDs:
			p.log.Warn("the runner was refused what is above its ceiling", "reason", v.Reason, "refused", v.Observed-v.Limit, "unit", v.Unit)
			p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: v.Reason, Level: guard.Warn,
				Detail: fmt.Sprintf("%s: refused %d %s", v.Kind, v.Observed-v.Limit, v.Unit)})
		}
	}
}
