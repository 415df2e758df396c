package supervisor

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// replayBatch is how many deliveries go to the runner in one frame unless InstanceConfig.ReplayBatch says otherwise; the results are the
// same at every size.
const replayBatch = 256

// Divergence says that a strategy answered a recorded delivery differently: it is not deterministic, or its environment changed (NN-7).
type Divergence struct {
	Address  ipc.Address
	Step     ipc.Step
	Event    []byte // as it was delivered
	Recorded []byte // answer in the log; empty for an empty answer
	Got      []byte // answer now
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("%s: step %d is answered differently from what was recorded: %s", d.Address, d.Step, d.FirstDifference())
}

// replayer drives a session through recorded deliveries and compares every answer.
type replayer struct {
	p       *Instance
	session *Session
	steps   int

	fresh    func() error // verifying: starts the runner after an on_init that failed; nil: such a one is passed over
	began    bool         // on_init has succeeded, or its state was restored
	template []byte       // template of the next on_init
	answerer ipc.Digest   // package that gave the answers which come now
	pending  *core.Delivery
	first    ipc.Step
	events   []ipc.EncodedEvent
}

// restore gives the session the state of a checkpoint; what comes next is the log behind it.
func (r *replayer) restore(c *Checkpoint) error {
	then, err := core.Restore(c.Core, r.p.cfg.Address, r.p.cfg.Ledger.Lineage())
	if err != nil {
		return err
	}
	r.answerer, r.began = then.PackageHash, true
	if q := then.Pending; q != nil { // taken while a delivery of another package waited to be repeated
		r.pending = &core.Delivery{Step: q.Step, ProcessedTS: q.ProcessedTS, TraceID: q.TraceID, Event: q.Event}
	}
	return r.p.initRestored(c, then.Init, then.ProcessedTS)
}

// input takes one recorded input. Deliveries with empty answers are collected into batches.
func (r *replayer) input(in core.Input) error {
	switch in := in.(type) {
	case *core.Start:
		if !r.began && r.pending == nil {
			r.template = in.Init
		}
		r.answerer = in.PackageHash
	case *core.Inform:
		return &notReplayableError{fmt.Sprintf("the strategy was told what had happened since step %d instead of a replay", in.Step)}
	case *core.Delivery:
		d := *in
		r.pending = &d
	case *core.Answer:
		if r.pending == nil || r.pending.Step != in.Step {
			return fmt.Errorf("%w: an answer to step %d without its delivery", core.ErrRecord, in.Step)
		}
		d := r.pending
		r.pending = nil
		return r.answered(d, in)
	}
	return nil
}

func (r *replayer) answered(d *core.Delivery, a *core.Answer) error {
	if a.Outcome == core.Killed {
		return r.flush() // it took the runner down; nobody applied it
	}
	if len(d.Event) == 0 && a.Outcome == core.Faulted {
		return r.failedInit(d, a)
	}
	if r.answerer != r.p.cfg.PackageHash {
		return &notReplayableError{fmt.Sprintf("step %d was answered by package %.16s… and cannot be replayed by %.16s…", d.Step, r.answerer, r.p.cfg.PackageHash)}
	}
	r.steps++
	if len(d.Event) == 0 {
		r.began = true
		return r.init(d, a)
	}
	if len(r.events) > 0 && r.first+ipc.Step(len(r.events)) != d.Step {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.events) == 0 {
		r.first = d.Step
	}
	r.events = append(r.events, ipc.EncodedEvent{ProcessedTS: d.ProcessedTS, TraceID: d.TraceID, Event: d.Event})
	if len(a.Body) > 0 {
		return r.exchange(a)
	}
	if len(r.events) >= cmp.Or(r.p.cfg.ReplayBatch, replayBatch) {
		return r.flush()
	}
	return nil
}

// failedInit takes an on_init that failed. A runner gets on_init once in its life, so one that is brought up must get the one that succeeded, or
// the next attempt; whether the failure repeats is for a verification to find out, in a runner of its own.
func (r *replayer) failedInit(d *core.Delivery, a *core.Answer) error {
	if r.fresh == nil || r.answerer != r.p.cfg.PackageHash {
		return nil
	}
	r.steps++
	if err := r.init(d, a); err != nil {
		return err
	}
	return r.fresh()
}

// flush sends what was collected; all of it must be answered empty.
func (r *replayer) flush() error {
	if len(r.events) == 0 {
		return nil
	}
	return r.exchange(&core.Answer{Digest: ipc.EmptyAnswerDigest})
}

// exchange sends the collected deliveries; all but the last must be answered empty, the last one as recorded.
func (r *replayer) exchange(want *core.Answer) error {
	events := r.events
	r.events = r.events[:0]
	if err := r.session.AskBatch(r.first, events); err != nil {
		return err
	}
	got, err := r.session.AwaitBatch()
	for errors.Is(err, ErrPoked) {
		got, err = r.session.AwaitBatch()
	}
	if err != nil {
		return err
	}
	last := r.first + ipc.Step(len(events)) - 1
	if got.Consumed == 0 || int(got.Consumed) > len(events) || got.Answer.Step != r.first+ipc.Step(got.Consumed)-1 {
		return sessionError(ipc.ReasonAnswerMalformed, "a batch of steps %d to %d is answered with %d consumed and step %d",
			r.first, last, got.Consumed, got.Answer.Step)
	}
	if got.Answer.Step != last {
		return r.diverged(got.Answer.Step, events[got.Consumed-1].Event, nil, &got.Answer)
	}
	return r.compare(last, events[len(events)-1].Event, want, &got.Answer)
}

func (r *replayer) init(d *core.Delivery, want *core.Answer) error {
	m, err := r.p.initMessage(r.template, d.Step, d.ProcessedTS, d.TraceID)
	if err != nil {
		return err
	}
	a, err := r.session.Init(m, nil)
	for errors.Is(err, ErrPoked) {
		a, err = r.session.Await()
	}
	if err != nil {
		return err
	}
	return r.compare(d.Step, nil, want, a)
}

func (r *replayer) compare(step ipc.Step, event []byte, want *core.Answer, got *ipc.Answer) error {
	digest, err := ipc.AnswerDigest(got)
	if err != nil {
		return fmt.Errorf("digest of the answer to step %d: %w", step, err)
	}
	if digest == want.Digest {
		return nil
	}
	return r.diverged(step, event, want.Body, got)
}

func (r *replayer) diverged(step ipc.Step, event, recorded []byte, got *ipc.Answer) error {
	got.Seq = 0
	bytes, err := ipc.AppendMessage(nil, got)
	if err != nil {
		return fmt.Errorf("writing the answer to step %d: %w", step, err)
	}
	return &Divergence{Address: r.p.cfg.Address, Step: step, Event: event, Recorded: recorded, Got: bytes}
}
