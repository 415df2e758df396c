package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// inputs are the records of the hot path, reused: the core does not keep them.
type inputs struct {
	delivery core.Delivery
	answer   core.Answer
	body     []byte // of the answer; the core and the batch copy what they keep
}

// delivery is what the strategy gets next.
type delivery struct {
	event     []byte
	trace     ipc.TraceID
	processed ipc.Nanos
	core      ipc.Nanos
	queued    bool
	again     bool // the pending one, delivered before a crash and never answered
}

// apply gives one input to the core, records it, and executes the effects.
func (p *Instance) apply(in core.Input) error {
	e, err := p.state.Step(in)
	if err != nil {
		return err
	}
	for i := range e.Intents {
		p.cfg.Observer.Judged(p.cfg.Address, &e.Intents[i])
	}
	if a, ok := in.(*core.Answer); ok {
		if err := p.write(a); err != nil {
			return err
		}
		if a.Outcome == core.Faulted {
			p.counters.hear(e)
		}
	}
	if err := p.batch.add(in, e); err != nil {
		return err
	}
	return p.execute(e)
}

// stamp fills in the time of an input that came without one.
func (p *Instance) stamp(in core.Input) core.Input {
	_, now := p.cfg.Clock.Now(0)
	at := core.At{CoreTS: now}
	switch in := in.(type) {
	case *core.Status:
		in.At = at
	case *core.Approval:
		in.At = at
	case *core.Command:
		in.At = at
	case *core.Guard:
		in.At = at
		if in.Held.Since == 0 {
			in.Held.Since = now
		}
	case *core.Config:
		in.At = at
	case *core.Inform:
		in.At = at
	case *core.Violation:
		in.At = at
	case *core.Computed:
		in.At = at
	}
	return in
}

// execute carries out what the core decided. Rows are in the batch already.
func (p *Instance) execute(e *core.Effects) error {
	o, a := p.cfg.Observer, p.cfg.Address
	for _, t := range e.Offers {
		o.Offered(a, t)
		if err := p.cfg.Sink.Offer(p.offer(t)); err != nil {
			// It may or may not have left: I is asked by key.
			p.log.Warn("offering an intent failed", "key", t.Key, "step", t.Step, "err", err)
			p.SinkLost(err)
		}
	}
	for _, t := range e.Staged {
		p.ask(t)
	}
	for _, t := range e.Telemetry {
		o.Telemetry(a, t)
	}
	for _, n := range e.Notes {
		o.Noted(a, n)
	}
	if e.Snapshot {
		p.requestSnapshot()
	}
	if e.Checkpoint {
		p.checkpoint = true
	}
	if e.Restart != "" {
		p.restart = e.Restart
	}
	if e.Halt != "" {
		p.killRunner()
	}
	if h, reason := p.state.Health(); h != p.health {
		p.health = h
		o.Health(a, h, reason)
	}
	if p.batch.urgent {
		p.submit(nil)
	}
	return nil
}

func (p *Instance) offer(t *trackedIntent) *ipc.Offer {
	return &ipc.Offer{Address: p.cfg.Address, Epoch: p.state.Epoch, Step: t.Step, Ordinal: t.Ordinal, Digest: t.Digest,
		ValidUntil: t.ValidWall, Intent: t.Intent}
}

// onArrival applies an event of I, J or E at once; the strategy sees it in its turn.
func (p *Instance) onArrival(e *ipc.SourceEvent) error {
	if s, ok := e.Event.(*ipc.ExecutionSnapshot); ok && p.sink.comparing && p.confirms(e.Cursor, s) {
		p.sink.compared = true
		return nil
	}
	if p.isAhead(e) {
		p.hold(e)
		return nil
	}
	if n := len(p.ahead.held); n > 0 && e.Cursor.Source == p.ahead.held[0].Cursor.Source && e.Cursor.Seq >= p.ahead.held[0].Cursor.Seq {
		if err := p.release(untilFeed); err != nil { // the order of its reports is I's
			return err
		}
	}
	return p.takeArrival(e)
}

// takeArrival makes an event of I, J or E an input, once.
func (p *Instance) takeArrival(e *ipc.SourceEvent) error {
	switch p.state.Admits(e.Cursor, e.Event.Kind()) {
	case core.Duplicate:
		if p.isDurable(e.Cursor) {
			p.ack(e.Cursor)
		}
		return nil
	case core.Refuse:
		p.log.Warn("an event of a source epoch that is over was refused", "source", e.Cursor.Source, "epoch", e.Cursor.Epoch, "seq", e.Cursor.Seq)
		return nil
	}
	bytes, err := ipc.AppendEvent(nil, e.Event)
	if err != nil {
		return fmt.Errorf("writing an event of %s: %w", e.Cursor.Source, err)
	}
	p.cfg.Observer.Arrived(p.cfg.Address, e.Event)
	_, now := p.cfg.Clock.Now(e.RecvTS)
	return p.apply(&core.Arrival{At: core.At{CoreTS: now}, Cursor: e.Cursor, TraceID: e.TraceID, Event: bytes})
}

// ack tells a source what is durable here, or was before.
func (p *Instance) ack(c ipc.Cursor) {
	if p.cfg.Authority != nil && p.cfg.Authority.Owns(c.Source) {
		if err := p.cfg.Authority.Ack(p.cfg.Address, c); err != nil {
			p.log.Warn("acknowledging to J or E failed; they will send again", "source", c.Source, "err", err)
		}
		return
	}
	if p.cfg.Sink == nil {
		return
	}
	if err := p.cfg.Sink.Ack(p.cfg.Address, c); err != nil {
		p.log.Warn("acknowledging failed; the source will send again", "source", c.Source, "err", err)
	}
}

// next chooses the next delivery: the one that was never answered, then what I, J, E and the core have for the strategy, then due timers,
// then the market.
func (p *Instance) next() (d delivery, ok bool, err error) {
	s := p.state
	if s.Pending != nil {
		q := s.Pending
		return delivery{event: q.Event, trace: q.TraceID, processed: q.ProcessedTS, again: true}, true, nil
	}
	if s.StepNo == 0 || s.InitFailed {
		return p.stamped(delivery{}, 0), true, nil // step 1 is on_init, and each one after a resume until it succeeds
	}
	if len(s.Queue) > 0 {
		return p.stamped(delivery{event: s.Queue[0].Event, trace: s.Queue[0].TraceID, queued: true}, 0), true, nil
	}
	if p.stopping {
		return delivery{}, false, nil
	}
	recv, waiting := p.peekMarket()
	if t, ok := s.NextTimer(); ok && t.DueTS <= p.horizon(recv, waiting) {
		event, err := core.TimerEvent(t)
		return p.stamped(delivery{event: event}, t.DueTS), true, err
	}
	if !waiting {
		return delivery{}, false, nil
	}
	if p.reportsFirst() {
		return delivery{}, false, nil
	}
	m, ok, err := p.takeMarket()
	if !ok || err != nil {
		return delivery{}, false, err
	}
	return p.stamped(delivery{event: m.Event, trace: m.Trace}, m.Recv), true, nil
}

// horizon is the processed time up to which timers fire: what the feed has come to.
func (p *Instance) horizon(recv ipc.Nanos, waiting bool) ipc.Nanos {
	if len(p.again) > 0 { // what it had come to before does not count
		return max(p.state.ProcessedTS, recv)
	}
	now := max(p.state.ProcessedTS, p.advanced)
	if p.firesTimers() {
		live, _ := p.cfg.Clock.Now(0)
		now = max(now, live)
	}
	if waiting {
		return max(now, recv)
	}
	return now
}

func (p *Instance) stamped(d delivery, recv ipc.Nanos) delivery {
	d.processed, d.core = p.cfg.Clock.Now(recv)
	return d
}

// sleep says how long wait may sleep: until the batch must go, or the core's time must.
func (p *Instance) sleep() (time.Duration, bool) {
	most, any := p.untilTick()
	if until, ok := p.untilTimer(); ok {
		most, any = min(most, until), true
	}
	if until, ok := p.untilSink(); ok {
		most, any = min(most, until), true
	}
	if until, ok := p.untilWindow(); ok {
		most, any = min(most, until), true
	}
	if p.positionsUnknown() || p.sink.comparing && !p.sink.compared {
		most, any = min(most, max(0, time.Until(p.snapshotNext))), true
	}
	if p.batch.empty() {
		return most, any
	}
	return min(most, max(0, BatchDelay-time.Since(p.batch.since))), true
}

// deliver hands one event to the strategy and takes its answer: one step.
func (p *Instance) deliver(d delivery) error {
	step := p.state.StepNo
	if !d.again {
		step++
		in := &p.inputs.delivery
		*in = core.Delivery{At: core.At{CoreTS: d.core}, Step: step, ProcessedTS: d.processed, TraceID: d.trace, Queued: d.queued, Event: d.event}
		if err := p.apply(in); err != nil {
			return err
		}
		if p.session == nil { // the delivery itself halted the instance, by its flags: it stays pending
			return nil
		}
	}
	kind := p.state.Pending.Kind
	p.cfg.Observer.Delivered(p.cfg.Address, kind)
	p.asks(step, kind)
	hard := p.cfg.Deadlines.Hard
	if kind == core.EventInit {
		hard = p.cfg.Deadlines.Init
	}
	begin := time.Now()
	p.own = 0
	p.progress.open.Store(true)
	p.watch.Reset(hard)
	a, err := p.exchange(step, kind, d)
	arrived := time.Now()
	// A timer of an idle process is late by up to 1 ms: below that, the answer's arrival tells what the timer does not (SB-1).
	took := arrived.Sub(begin) - p.own
	inTime := p.watch.Stop() && took <= hard
	p.progress.open.Store(false)
	p.progress.finished.Store(arrived.UnixNano())
	p.measured(kind, took)
	if p.session == nil && p.state.Halted != "" {
		return nil // halted while it ran: the delivery stays pending and is repeated after a resume
	}
	if err != nil {
		// The end of this owner is no fault of the delivery: it stays pending, and the next owner repeats it.
		var own *instanceError
		if errors.As(err, &own) {
			return own.err
		}
		if lost := p.leaseLost(); lost != nil {
			return lost
		}
	}
	if err != nil && p.spare(step, err) {
		return nil
	}
	in := &p.inputs.answer
	_, now := p.cfg.Clock.Now(0)
	*in = core.Answer{At: core.At{CoreTS: now}, Step: step, DurationNS: ipc.Nanos(took)}
	switch {
	case err != nil:
		in.Outcome, in.Reason = core.Killed, p.blame(err)
		p.log.Warn("runner lost", "step", step, "reason", in.Reason, "took", took, "err", err)
		p.killRunner()
	case a.Step != step:
		in.Outcome, in.Reason = core.Killed, ipc.ReasonAnswerMalformed
		p.log.Warn("answer to another step", "step", step, "answered", a.Step, "reason", in.Reason)
		p.killRunner()
	default:
		p.classify(in, a, took, kind)
	}
	if !inTime && p.session != nil {
		// The answer and the hard deadline crossed: the runner is being killed, and the next delivery must not be blamed for it.
		p.killRunner()
		p.late.Store(false)
		p.restart = ipc.ReasonDeadlineHard
	}
	p.cfg.Observer.Answered(p.cfg.Address, in.Outcome, in.DurationNS)
	if err := p.apply(in); err != nil {
		return err
	}
	return p.flushIfDue()
}

// spare decides whether a delivery over which the runner was lost is delivered once more: when a signal that nobody here sent ended it,
// the event need not be to blame (an operator's kill, a fault in a library). The second time it is (poison). A strategy that is informed instead
// of replayed would get it under another step number for ever: there it is to blame the first time.
func (p *Instance) spare(step ipc.Step, err error) bool {
	if !p.signaled(err) || p.spared == step || p.state.Informs() {
		return false
	}
	p.spared = step
	p.log.Warn("runner lost; its delivery is repeated once", "step", step, "reason", ipc.ReasonRunnerSignaled, "err", err)
	p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: ipc.ReasonRunnerSignaled, Level: guard.Warn, Detail: err.Error()})
	p.killRunner()
	p.restart = ipc.ReasonRunnerSignaled
	return true
}

// signaled reports whether a signal ended the runner that nobody here sent, or its sandbox lost it to something outside.
func (p *Instance) signaled(err error) bool {
	var s *SessionError
	return !p.late.Load() && errors.As(err, &s) && (s.Reason == ipc.ReasonRunnerSignaled || errors.Is(err, sandbox.ErrLost))
}

// classify fills in what kind of answer it was.
func (p *Instance) classify(in *core.Answer, a *ipc.Answer, took time.Duration, kind ipc.EventKind) {
	in.Outcome = core.Applied
	switch {
	case a.Fault != nil:
		in.Outcome, in.Reason = core.Faulted, core.FaultReason(a.Fault)
		p.log.Warn("strategy fault", "step", in.Step, "kind", a.Fault.Kind, "message", a.Fault.Message)
	case took > p.cfg.Deadlines.Soft && kind != core.EventInit:
		in.Outcome, in.Reason = core.Late, ipc.ReasonDeadlineSoft
	}
	if a.Empty() {
		in.Digest = ipc.EmptyAnswerDigest
		return
	}
	a.Seq = 0 // the frame's number is the session's, not the answer's
	in.Decoded = a
}

// write fills in what the log keeps of an answer: its digest and its body, where there is one. The core needs neither, and they cost
// half a microsecond, so that the gate's verdict does not wait for them.
func (p *Instance) write(in *core.Answer) (err error) {
	if in.Decoded == nil {
		return nil
	}
	if in.Digest, err = ipc.AnswerDigest(in.Decoded); err != nil {
		return fmt.Errorf("digest of the answer to step %d: %w", in.Step, err)
	}
	if in.Body, err = ipc.AppendMessage(p.inputs.body[:0], in.Decoded); err != nil {
		return fmt.Errorf("writing the answer to step %d: %w", in.Step, err)
	}
	if cap(in.Body) <= batchBytes { // what one large answer took is given back
		p.inputs.body = in.Body
	}
	return nil
}

// exchange asks and awaits; urgent inputs that arrive meanwhile act on the core at once.
func (p *Instance) exchange(step ipc.Step, kind ipc.EventKind, d delivery) (*ipc.Answer, error) {
	s := p.session
	p.box.SetPoke(s.Poke)
	defer p.box.SetPoke(nil)
	var a *ipc.Answer
	var err error
	if kind == core.EventInit {
		var m *ipc.Init
		if m, err = p.initMessage(p.state.Init, step, d.processed, d.trace); err == nil {
			a, err = s.Init(m, nil)
		}
	} else {
		if err := s.Ask(step, d.processed, d.trace, d.event); err != nil {
			return nil, err
		}
		a, err = s.Await()
	}
	for errors.Is(err, ErrPoked) {
		// What the supervisor does for itself meanwhile is no time of the strategy's: its answer may have been there all along.
		began := time.Now()
		for {
			u, ok := p.box.TakeUrgent()
			if !ok {
				break
			}
			if err := p.takeUrgent(u); err != nil {
				return nil, &instanceError{err}
			}
			if p.session == nil {
				return nil, errHalted
			}
		}
		p.own += time.Since(began)
		a, err = s.Await()
	}
	return a, err
}

// instanceError ends the instance, not the runner: I has refused it, or the core an input, while the strategy was at work.
type instanceError struct{ err error }

func (e *instanceError) Error() string { return e.err.Error() }
func (e *instanceError) Unwrap() error { return e.err }

var errHalted = errors.New("halted while the strategy was at work")

// blame names the reason of a lost runner: the hard deadline when that is what killed it.
func (p *Instance) blame(err error) ipc.ReasonCode {
	if p.late.Swap(false) {
		return ipc.ReasonDeadlineHard
	}
	var s *SessionError
	if errors.As(err, &s) {
		return s.Reason
	}
	return ipc.ReasonRunnerExited
}

// overdue runs on the timer's goroutine: the strategy has had its time.
func (p *Instance) overdue() {
	p.late.Store(true)
	if r := p.runner.Load(); r != nil {
		if err := (*r).Kill(); err != nil {
			p.log.Error("killing an overdue runner failed", "err", err)
		}
	}
}
