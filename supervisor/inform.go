package supervisor

import (
	"context"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// informedIntents bounds what on_recovered is told of since the checkpoint: the newest ones. With intents of some 300 bytes the event stays
// far below a frame.
const informedIntents = 4096

// hookRecovered is the callback that takes the place of a replay.
const hookRecovered = "on_recovered"

// notReplayableError says that recorded answers cannot come out of the runner at hand: another package gave them, or a strategy that had
// been informed instead of replayed.
type notReplayableError struct{ why string }

func (e *notReplayableError) Error() string { return e.why }

// informs reports whether runners are brought up without a replay.
func (p *Instance) informs() bool { return p.cfg.Params != nil && p.cfg.Params.Inform }

// startAndInform starts a runner on the newest valid checkpoint and has it told what happened since (RS-5). The log after the checkpoint is
// in the core already.
func (p *Instance) startAndInform(ctx context.Context, why string) error {
	if err := p.startSession(ctx); err != nil {
		return err
	}
	if !slices.Contains(p.session.hello.Hooks, hookRecovered) {
		return sessionError(ipc.ReasonPackageHashMismatch, "%s, and the package has no %s; start the package that answered once and stop it in order", why, hookRecovered)
	}
	c, err := p.newestCheckpoint()
	if err != nil {
		return err
	}
	p.late.Store(false)
	p.watch.Reset(p.cfg.Deadlines.Init)
	defer p.watch.Stop()
	step := ipc.Step(0)
	if c == nil {
		err = p.initAnew()
	} else {
		step = c.Step
		err = p.initRestored(c, p.state.Init, p.state.ProcessedTS)
	}
	if err != nil {
		return err
	}
	since, left, err := p.intentsSince(c)
	if err != nil {
		return err
	}
	if left > 0 {
		detail := fmt.Sprintf("%s is not told of the %d oldest of %d intents since step %d", hookRecovered, left, left+len(since), step)
		p.log.Warn(detail, "reason", ipc.ReasonRecovering)
		p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: ipc.ReasonRecovering, Level: guard.Warn, Detail: detail})
	}
	event, err := p.state.RecoveredEvent(since)
	if err != nil {
		return err
	}
	p.log.Info("the strategy is told what happened instead of a replay", "reason", ipc.ReasonRecovering, "why", why, "checkpoint_step", step,
		"step", p.state.StepNo, "intents", len(since))
	return p.apply(p.stamp(&core.Inform{Step: step, Event: event}))
}

// initAnew calls on_init where no checkpoint was ever taken. What its answer asks for was asked for, and recorded, at step 1.
func (p *Instance) initAnew() error {
	m, err := p.initMessage(p.state.Init, 1, p.state.ProcessedTS, "")
	if err != nil {
		return err
	}
	return p.initAnswered(p.initAwaited(p.session.Init(m, nil)))
}

// intentsSince returns the strategy's intents after a checkpoint with what became of them, oldest first, and how many older ones were
// left out.
func (p *Instance) intentsSince(c *Checkpoint) (since []ipc.OpenIntent, left int, err error) {
	s := core.New(p.cfg.Address, p.cfg.Ledger.Lineage())
	if c != nil {
		if s, err = core.Restore(c.Core, p.cfg.Address, p.cfg.Ledger.Lineage()); err != nil {
			return nil, 0, err
		}
	}
	status := map[ipc.Key]ipc.Status{}
	err = p.eachInput(s.InputNo+1, func(in core.Input) error {
		e, err := s.Step(in)
		if err != nil {
			return err
		}
		for i := range e.Intents {
			if row := &e.Intents[i]; row.Verdict.Permitted() && row.Obligation == 0 && row.Kind != ipc.IntentNoOp {
				since = append(since, ipc.OpenIntent{Key: row.Key, Intent: row.Verdict.Intent})
			}
		}
		for _, row := range e.Statuses {
			status[row.Key] = row.Status
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading the intents since the checkpoint: %w", err)
	}
	if left = max(0, len(since)-informedIntents); left > 0 {
		since = slices.Clone(since[left:])
	}
	for i := range since {
		since[i].Status = status[since[i].Key]
	}
	return since, left, nil
}
