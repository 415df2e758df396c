package compute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// Pauses before a compute runner that was lost is started again. It waits for nobody on the LL lane.
const (
	pauseFirst = 20 * time.Millisecond
	pauseMost  = 5 * time.Second
)

// PartConfig is what a compute part needs.
type PartConfig struct {
	Address         ipc.Address
	StrategyVersion string
	PackageHash     string
	Lineage         ipc.Lineage
	RunID           ipc.RunID
	Mode            ipc.RunMode
	RunSeed         uint64
	Config          ipc.Values
	Instruments     []ipc.Instrument
	Runners         int           // at least 1
	Deadline        time.Duration // a task that takes longer ends its runner (SB-1)
	Init            time.Duration // from the start of a runner to the answer of on_init
	Stop            time.Duration
	RestartsPerHour int
	Start           func(context.Context) (sandbox.Runner, error)
	Logger          *slog.Logger
}

// Part is the Executor that gives tasks to the strategy's compute part, in runners of its own in the compute lane (LN-2, NN-4). Nothing that
// a compute runner does, or suffers, reaches the LL part but as a result or a reason.
type Part struct {
	cfg  PartConfig
	log  *slog.Logger
	free chan *worker

	mu    sync.Mutex
	lost  guard.Ladder // runners, within an hour
	count uint64       // runners started

	refused refused
}

// worker is one runner, or the place of one.
type worker struct {
	runner  sandbox.Runner
	session *supervisor.Session // nil: to be started
	began   bool
	pause   time.Duration
	next    time.Time // not to be started before
}

// NewPart prepares a compute part; its first runner is started by Warm, or by the first task.
func NewPart(cfg PartConfig) *Part {
	cfg.Runners = max(1, cfg.Runners)
	p := &Part{cfg: cfg, free: make(chan *worker, cfg.Runners),
		log: cfg.Logger.With("strategy", cfg.Address.Strategy, "instance", cfg.Address.Instance, "lane", ipc.LaneCompute.String())}
	for range cfg.Runners {
		p.free <- &worker{}
	}
	return p
}

// Started is the number of runners that were started so far.
func (p *Part) Started() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Warm starts every runner, so that the first task need not wait for one.
func (p *Part) Warm(ctx context.Context) {
	for range p.cfg.Runners {
		select {
		case w := <-p.free:
			if err := p.ready(ctx, w); err != nil && ctx.Err() == nil {
				p.log.Warn("the compute part cannot be started yet", "reason", reasonOf(err), "err", err)
			}
			p.free <- w
		case <-ctx.Done():
			return
		}
	}
}

// Submit gives a task to the next free runner and waits for its answer.
func (p *Part) Submit(ctx context.Context, t Task) Result {
	var w *worker
	select {
	case w = <-p.free:
	case <-ctx.Done():
		return Unavailable(ipc.ReasonShutdownRequested, "the lane is closed")
	}
	defer func() { p.free <- w }()
	if err := p.ready(ctx, w); err != nil {
		return Unavailable(reasonOf(err), err.Error())
	}
	payload, err := p.ask(ctx, w, t)
	if err == nil {
		w.pause = 0
		return Done(payload)
	}
	var failed *taskError
	if errors.As(err, &failed) { // the runner is sound
		return Unavailable(failed.reason, failed.text)
	}
	p.lose(ctx, w, err)
	return Unavailable(reasonOf(err), err.Error())
}

// taskError is a task that failed without harm to its runner.
type taskError struct {
	reason ipc.ReasonCode
	text   string
}

func (e *taskError) Error() string { return e.text }

func reasonOf(err error) ipc.ReasonCode {
	var s *supervisor.SessionError
	if errors.As(err, &s) {
		return cmp.Or(s.Reason, ipc.ReasonRunnerExited)
	}
	return ipc.ReasonComputeUnavailable
}

// ready starts the worker's runner where there is none, after its pause.
func (p *Part) ready(ctx context.Context, w *worker) error {
	if w.session != nil {
		select {
		case <-w.runner.Done(): // it died between two tasks
			p.lose(ctx, w, &supervisor.SessionError{Reason: ipc.ReasonCode(w.runner.Exit().Reason), Err: fmt.Errorf("the compute runner %s", w.runner.Exit())})
		default:
			return nil
		}
	}
	if err := p.mayStart(w); err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(w.next)); err != nil {
		return err
	}
	begin := time.Now()
	if err := p.start(ctx, w); err != nil {
		p.lose(ctx, w, err)
		return err
	}
	p.log.Info("compute runner ready", "took", time.Since(begin))
	return nil
}

// mayStart refuses a restart above the ceiling; an hour later it may be tried again.
func (p *Part) mayStart(w *worker) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	rule := guard.Rule{Window: ipc.Nanos(time.Hour), Halt: p.cfg.RestartsPerHour + 1}
	if w.began && p.lost.Level(rule, ipc.Nanos(time.Now().UnixNano())) == guard.Halt {
		return &supervisor.SessionError{Reason: ipc.ReasonRunnerRestartsExhausted, Err: fmt.Errorf("compute runners were lost more than %d times within an hour", p.cfg.RestartsPerHour)}
	}
	w.began = true
	p.count++
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start starts a runner, shakes hands, and calls on_init.
func (p *Part) start(ctx context.Context, w *worker) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Init)
	defer cancel()
	r, err := p.cfg.Start(ctx)
	if err != nil {
		return &supervisor.SessionError{Reason: ipc.ReasonSandboxSetupFailed, Err: err}
	}
	w.runner = r
	p.refused.watch(r)
	defer context.AfterFunc(ctx, func() { p.kill(r) })()
	if w.session, err = supervisor.OpenSession(ctx, r, p.cfg.PackageHash, ipc.MaxAnswerBytes); err != nil {
		return err
	}
	a, err := w.session.Init(&ipc.Init{
		Step: 1, Address: p.cfg.Address, StrategyVersion: p.cfg.StrategyVersion, Lineage: p.cfg.Lineage, RunID: p.cfg.RunID,
		Lane: ipc.LaneCompute, Mode: p.cfg.Mode, RunSeed: p.cfg.RunSeed, Config: p.cfg.Config, Instruments: p.cfg.Instruments,
		MaxAnswerBytes: ipc.MaxAnswerBytes,
	}, nil)
	switch {
	case err != nil && ctx.Err() != nil:
		return &supervisor.SessionError{Reason: ipc.ReasonDeadlineHard, Err: fmt.Errorf("on_init of the compute part: %w", err)}
	case err != nil:
		return err
	case a.Fault != nil:
		return &supervisor.SessionError{Reason: ipc.ReasonInitFailed, Err: fmt.Errorf("on_init of the compute part: %s: %s", a.Fault.Kind, a.Fault.Message)}
	}
	return nil
}

// ask delivers a task as PROTOCOL.md says: a compute_result whose payload is the request's, answered by one compute request whose payload is
// the result's. A runner that is over its deadline is killed.
func (p *Part) ask(ctx context.Context, w *worker, t Task) ([]byte, error) {
	event, err := ipc.AppendEvent(nil, &ipc.ComputeResult{Task: t.Name, RequestStep: t.Step, Ordinal: t.Ordinal, RequestedTS: t.RequestedTS, Payload: t.Payload})
	if err != nil {
		return nil, &taskError{ipc.ReasonAnswerMalformed, fmt.Sprintf("writing the task: %v", err)}
	}
	r := w.runner
	watch := time.AfterFunc(p.cfg.Deadline, func() { p.kill(r) })
	defer context.AfterFunc(ctx, func() { p.kill(r) })()
	var a *ipc.Answer
	if err = w.session.Ask(t.Step, t.RequestedTS, "", event); err == nil {
		a, err = w.session.Await()
	}
	inTime := watch.Stop()
	switch {
	case !inTime: // an answer that crosses with it comes from a runner that is being killed
		return nil, &supervisor.SessionError{Reason: ipc.ReasonDeadlineHard, Err: fmt.Errorf("task %q took more than %s", t.Name, p.cfg.Deadline)}
	case ctx.Err() != nil:
		return nil, &supervisor.SessionError{Reason: ipc.ReasonShutdownRequested, Err: ctx.Err()}
	case err != nil:
		return nil, err
	case a.Fault != nil:
		return nil, &taskError{core.FaultReason(a.Fault), fmt.Sprintf("%s: %s", a.Fault.Kind, a.Fault.Message)}
	case a.Step != t.Step || len(a.Compute) != 1 || len(a.Intents)+len(a.Timers)+len(a.Telemetry) > 0 || a.Updates != nil:
		return nil, &supervisor.SessionError{Reason: ipc.ReasonAnswerMalformed, Err: fmt.Errorf("the answer to task %q of step %d is not one result of step %d", t.Name, t.Step, a.Step)}
	}
	return a.Compute[0].Payload, nil
}

// lose ends a worker's runner and makes the next one wait. At the end of the lane it is no loss.
func (p *Part) lose(ctx context.Context, w *worker, err error) {
	w.pause = min(max(2*w.pause, pauseFirst), pauseMost)
	w.next = time.Now().Add(w.pause)
	if ctx.Err() == nil {
		p.mu.Lock()
		p.lost.Observe(guard.Rule{Window: ipc.Nanos(time.Hour), Halt: p.cfg.RestartsPerHour + 1}, ipc.Nanos(time.Now().UnixNano()))
		p.mu.Unlock()
		p.log.Warn("compute runner lost", "reason", reasonOf(err), "retry_in", w.pause, "err", err)
	}
	p.end(w, 0)
}

// end ends a worker's runner, in order where grace is above zero.
func (p *Part) end(w *worker, grace time.Duration) {
	switch {
	case w.session != nil:
		if err := w.session.Close(grace); err != nil {
			p.log.Warn("ending a compute runner failed", "err", err)
		}
	case w.runner != nil:
		p.kill(w.runner)
	}
	if w.runner != nil {
		p.refused.end(w.runner)
	}
	w.session, w.runner = nil, nil
}

func (p *Part) kill(r sandbox.Runner) {
	if err := r.Kill(); err != nil {
		p.log.Error("killing a compute runner failed", "err", err)
	}
}

// Violations are what its runners were refused since the last call (SB-7).
func (p *Part) Violations() []sandbox.Violation { return p.refused.take() }

// Close ends every runner.
func (p *Part) Close() error {
	for range p.cfg.Runners {
		w := <-p.free
		p.end(w, p.cfg.Stop)
	}
	return nil
}
