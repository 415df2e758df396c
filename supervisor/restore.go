package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
)

// Retries of what must heal by itself: a full disk, a persist that fails, an I that is away.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// open brings the instance up: newest valid checkpoint, the log after it through core and strategy, then a new epoch, then I is asked what
// it knows of every intent that is not final (NN-3, LS-3, GT-6).
func (p *Instance) open(ctx context.Context) error {
	if p.state == nil {
		if err := p.recoverCore(); err != nil {
			return err
		}
	}
	if err := p.Admit(); err != nil {
		return err
	}
	epoch, err := p.nextEpoch()
	if err != nil {
		return err
	}
	if err := p.takeOver(epoch); err != nil {
		return err
	}
	if err := errors.Join(p.agreeOnQueue(), p.agreeOnProgress()); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	if p.state.Halted != "" {
		p.log.Warn("the instance is halted since an earlier run; msup resume starts it", "reason", p.state.Halted)
	}
	p.regreet()
	p.followAuthority()
	return nil
}

// takeOver tells the core that what its log calls approved may have been sent: by an earlier process, or by this one before a void.
func (p *Instance) takeOver(epoch ipc.Epoch) error {
	processed, now := p.cfg.Clock.Now(p.state.ProcessedTS)
	params, err := json.Marshal(p.cfg.Params)
	if err != nil {
		return fmt.Errorf("writing the parameters: %w", err)
	}
	init, err := ipc.AppendMessage(nil, p.initTemplate())
	if err != nil {
		return fmt.Errorf("writing init: %w", err)
	}
	configHash := p.cfg.ConfigHash
	if epoch == p.state.Epoch { // after a void the configuration is the one that the log ends with
		configHash, init = p.state.ConfigHash, p.state.Init
	}
	return p.apply(&core.Start{At: core.At{CoreTS: now}, Epoch: epoch, RunID: p.cfg.RunID, StrategyVersion: p.cfg.StrategyVersion,
		PackageHash: p.cfg.PackageHash, ConfigHash: configHash, WallTS: processed, MSUPVersion: p.cfg.Version,
		Params: params, Init: init})
}

// recoverCore makes the core from the newest valid checkpoint and the log after it. The strategy is brought there by restoreRunner.
func (p *Instance) recoverCore() error {
	c, err := p.newestCheckpoint()
	if err != nil {
		return err
	}
	p.state = core.New(p.cfg.Address, p.cfg.Ledger.Lineage())
	if c != nil {
		if p.state, err = core.Restore(c.Core, p.cfg.Address, p.cfg.Ledger.Lineage()); err != nil {
			return err
		}
	}
	err = p.eachInput(p.state.InputNo+1, func(in core.Input) error {
		_, err := p.state.Step(in)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the log from input %d: %w", p.state.InputNo, err)
	}
	if c, ok := p.cfg.Clock.(continuing); ok {
		c.Continue(p.state.ProcessedTS, p.state.CoreTS)
	}
	p.cfg.Clock.Now(p.state.ProcessedTS)
	p.lastSaveStep, p.inLedger = p.state.StepNo, slices.Clone(p.state.Cursors)
	return nil
}

// newestCheckpoint returns nil when none was ever saved. A broken slot is told and the older one takes its place; where both are broken the
// instance does not start, and the evidence is kept (ST-4).
func (p *Instance) newestCheckpoint() (*Checkpoint, error) {
	valid, problems := p.cfg.Ledger.Checkpoints()
	for _, err := range problems {
		p.log.Error("a checkpoint slot cannot be used", "reason", ipc.ReasonCheckpointCorrupt, "err", err)
	}
	switch {
	case len(valid) > 0:
		return &valid[0], nil
	case len(problems) > 0:
		return nil, fmt.Errorf("%s: no checkpoint slot can be used: %w", ipc.ReasonCheckpointCorrupt, errors.Join(problems...))
	}
	return nil, nil
}

// eachInput calls fn with every recorded input from the given one.
func (p *Instance) eachInput(from ipc.InputNo, fn func(core.Input) error) error {
	return p.cfg.Ledger.ReadInputs(from, func(first, last ipc.InputNo, payload []byte) error {
		no := first
		for ; len(payload) > 0; no++ {
			in, rest, err := core.ReadInput(payload)
			if err != nil {
				return fmt.Errorf("input %d: %w", no, err)
			}
			if payload = rest; no < from {
				continue
			}
			if err := fn(in); err != nil {
				return err
			}
		}
		if no != last+1 {
			return fmt.Errorf("%w: a batch of inputs %d to %d ends at %d", core.ErrRecord, first, last, no-1)
		}
		return nil
	})
}

// restoreRunner starts a runner and brings the strategy to where the core is: state of the checkpoint, then every delivery after it,
// comparing each answer with the recorded one (law 4).
func (p *Instance) restoreRunner(ctx context.Context) error {
	if pause := time.Until(p.bringUp.next); pause > 0 {
		return p.waitAtMost(ctx, pause)
	}
	reason := p.restart
	p.killRunner()
	if reason != "" {
		p.cfg.Observer.Restarted(p.cfg.Address, reason)
	}
	if err := p.flush(); err != nil {
		p.voided = true
		return nil
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Deadlines.Init)
	defer cancel()
	n, err := p.bringsUp(ctx)
	if err == nil {
		p.bringUp.pause = 0
		if err := p.passesBarrier(); err != nil {
			return err
		}
		p.restart = ""
		p.prioritise()
		p.log.Info("runner ready", "step", p.state.StepNo, "replayed", n, "took", time.Since(begin))
		return nil
	}
	p.killRunner()
	if ctx.Err() == nil && p.bringsUpAgain(err) {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.stopping = true
		return errStopped // not nil: the next turn would start the next runner, for ever
	}
	if err := p.refused(err); err != nil {
		return err
	}
	haltReason := ipc.ReasonInitFailed
	var diverged *Divergence
	var session *SessionError
	switch {
	case errors.As(err, &diverged):
		haltReason = ipc.ReasonDiverged
		p.keepEvidence(diverged)
	case errors.As(err, &session):
		haltReason = p.blame(err)
	}
	p.log.Error("the runner cannot be brought up; halting the instance", "reason", haltReason, "err", err)
	p.restart = ""
	return p.apply(p.stamp(&core.Command{Op: core.OpHalt, Who: "supervisor", Reason: haltReason, Restriction: unrestricted}))
}

// startSession starts a runner and shakes hands with it.
func (p *Instance) startSession(ctx context.Context) error {
	runner, err := p.cfg.StartRunner(ctx)
	if err != nil {
		reason := ipc.ReasonSandboxSetupFailed
		if refused, ok := errors.AsType[*sandbox.Error](err); ok && refused.Reason == ipc.ReasonSandboxHelperLost {
			reason = refused.Reason // nothing of the strategy's, and nothing that another start could mend
		}
		return &SessionError{Reason: reason, Err: err}
	}
	p.runner.Store(&runner)
	p.session, err = OpenSession(ctx, runner, p.cfg.PackageHash.String(), p.cfg.MaxAnswerBytes)
	return err
}

// bringsUp starts a runner and brings it to where the core is: by replay, or, where that is not possible or not wanted, by telling it.
func (p *Instance) bringsUp(ctx context.Context) (replayed int, err error) {
	if p.informs() && p.state.Began() {
		return 0, p.startAndInform(ctx, `recovery = "inform"`)
	}
	n, err := p.startAndReplay(ctx)
	var not *notReplayableError
	if !errors.As(err, &not) {
		return n, err
	}
	p.killRunner()
	p.takenOver = true
	return 0, p.startAndInform(ctx, not.why)
}

func (p *Instance) startAndReplay(ctx context.Context) (replayed int, err error) {
	if err := p.startSession(ctx); err != nil {
		return 0, err
	}
	c, err := p.newestCheckpoint()
	if err != nil {
		return 0, err
	}
	from := ipc.InputNo(1)
	if c != nil {
		from = c.InputNo + 1
	}
	p.late.Store(false)
	p.watch.Reset(p.cfg.Deadlines.Init)
	defer p.watch.Stop()
	r := &replayer{p: p, session: p.session}
	if c != nil {
		if err := r.restore(c); err != nil {
			return 0, err
		}
	}
	if err := p.eachInput(from, r.input); err != nil {
		return r.steps, err
	}
	return r.steps, r.flush()
}

// initRestored gives the session the state of a checkpoint; template is the on_init message that was in force.
func (p *Instance) initRestored(c *Checkpoint, template []byte, processed ipc.Nanos) error {
	if c.StateVersion < p.cfg.StateVersion && !slices.Contains(p.session.hello.Hooks, hookMigrate) {
		return sessionError(ipc.ReasonStateSchemaIncompatible, "the state of step %d has schema version %d, the package has %d and no %s; nothing was changed", c.Step,
			c.StateVersion, p.cfg.StateVersion, hookMigrate)
	}
	m, err := p.initMessage(template, c.Step, processed, "")
	if err != nil {
		return err
	}
	m.Restored, m.StateVersion = true, c.StateVersion
	a, err := p.initAwaited(p.session.Init(m, c.State))
	switch {
	case err != nil && c.StateVersion != p.cfg.StateVersion && !p.signaled(err):
		return sessionError(ipc.ReasonStateSchemaIncompatible, "the runner did not survive the migration of the state of step %d from schema version %d to %d: %w",
			c.Step, c.StateVersion, p.cfg.StateVersion, err)
	case err != nil:
		return err
	case a.Fault != nil && c.StateVersion != p.cfg.StateVersion: // whether of kind state or an exception: migrate raised it, or on_init on what it made
		return sessionError(ipc.ReasonStateSchemaIncompatible, "the state of step %d has schema version %d, the package has %d: %s", c.Step,
			c.StateVersion, p.cfg.StateVersion, a.Fault.Message)
	case a.Fault != nil:
		return sessionError(ipc.ReasonInitFailed, "on_init with the state of step %d: %s: %s", c.Step, a.Fault.Kind, a.Fault.Message)
	}
	return nil
}

// initAwaited goes on waiting for on_init's answer when something urgent interrupts: it is taken right after.
func (p *Instance) initAwaited(a *ipc.Answer, err error) (*ipc.Answer, error) {
	for errors.Is(err, ErrPoked) {
		a, err = p.session.Await()
	}
	return a, err
}

func (p *Instance) initAnswered(a *ipc.Answer, err error) error {
	if err == nil && a.Fault != nil {
		return sessionError(ipc.ReasonInitFailed, "on_init: %s: %s", a.Fault.Kind, a.Fault.Message)
	}
	return err
}

// initTemplate is on_init's message without what changes from one runner to the next; Start records it.
func (p *Instance) initTemplate() *ipc.Init {
	return &ipc.Init{
		Address: p.cfg.Address, StrategyVersion: p.cfg.StrategyVersion, Lineage: p.cfg.Ledger.Lineage(), RunID: p.cfg.RunID,
		Lane: p.cfg.Lane, Mode: p.cfg.Mode, RunSeed: p.cfg.RunSeed, Config: p.cfg.Config, Instruments: p.cfg.Instruments,
		RiskContext: &p.cfg.Risk, MaxAnswerBytes: p.cfg.MaxAnswerBytes, MaxStateBytes: p.cfg.MaxStateBytes,
		MaxIntents: uint32(p.cfg.Params.Policy.Ceilings.PerEvent),
	}
}

// initMessage makes on_init's message from the template that was in force at a recorded moment. Run and epoch are the present ones: intents
// that follow must name them.
func (p *Instance) initMessage(template []byte, step ipc.Step, processed ipc.Nanos, trace ipc.TraceID) (*ipc.Init, error) {
	m, err := ipc.DecodeMessage(template, ipc.FromAnyone)
	if err != nil {
		return nil, fmt.Errorf("the recorded init: %w", err)
	}
	i, ok := m.(*ipc.Init)
	if !ok {
		return nil, fmt.Errorf("the recorded init is a %s", m.Type())
	}
	i.RunID, i.Epoch, i.Step, i.ProcessedTS, i.TraceID = p.state.RunID, p.state.Epoch, step, processed, trace
	return i, nil
}

var errNotRecorded = fmt.Errorf("%s: the command was not recorded; give it again", ipc.ReasonPersistFailed)

// unvoid goes back to the last durable input after a persist failed, as often as it takes (fail closed, resuming by itself).
func (p *Instance) unvoid(ctx context.Context) error {
	p.killRunner()
	for _, r := range p.batch.replies {
		r <- errNotRecorded
	}
	p.batch = batch{}
	wait := retryFirst
	for {
		last, err := p.cfg.Ledger.Reset()
		if err == nil {
			if err = p.recoverCore(); err == nil {
				p.log.Info("the log is whole again", "input_no", last)
				break
			}
		}
		p.log.Error("the ledger cannot be written; the instance waits", "reason", ipc.ReasonLedgerFull, "err", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the ledger: %w", err)
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
	var kept []urgent
	for { // the persister's words refer to rows that are gone; what others said still holds
		u, ok := p.box.TakeUrgent()
		if !ok {
			break
		}
		switch {
		case u.stop != "":
			p.stopping, p.stopSince = true, time.Now()
		case u.reply != nil:
			u.reply <- errNotRecorded
		case u.persisted != nil:
			for _, r := range u.persisted.replies {
				r <- u.persisted.err
			}
		default:
			kept = append(kept, u)
		}
	}
	p.voided, p.restart = false, ipc.ReasonPersistFailed
	if p.cfg.LockStep {
		p.deliverAgain()
		if c, ok := p.cfg.Clock.(*FeedClock); ok && len(p.again) > 0 {
			c.Rewind(p.state.ProcessedTS, p.state.CoreTS)
		}
	} else {
		p.missedMarket() // deliveries among the voided inputs
	}
	if p.state.Epoch != 0 {
		if err := p.takeOver(p.state.Epoch); err != nil {
			return err
		}
		if err := errors.Join(p.agreeOnQueue(), p.agreeOnProgress()); err != nil {
			return err
		}
	}
	p.regreet()
	p.followAuthority()
	for _, u := range kept {
		if err := p.takeUrgent(u); err != nil {
			return err
		}
	}
	return nil
}
