package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

// batchEvents is how many events a frame of research and replay holds.
const batchEvents = 256

// research measures events per second through session and core in batches, with both ends on one processor and on two.
func research(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, place := range placements(r.cpus) {
		for _, k := range r.kinds {
			for _, every := range []int64{0, 100} {
				rate, err := r.throughput(ctx, p, k, place, every)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", k.name, place.name, err)
				}
				what, goal := "no orders", ""
				if every > 0 {
					what = fmt.Sprintf("an order every %d events", every)
				} else if place.supervisor == place.runner {
					goal = k.research
				}
				f.add(fmt.Sprintf("%s research throughput, batches of %d, %s, %s", k.name, batchEvents, what, place.name), rate, "events/s", 0, goal)
			}
		}
	}
	return nil
}

// student is a strategy that is fed without a pump: session and core alone.
type student struct {
	runner  sandbox.Runner
	session *supervisor.Session
	state   *core.State
	last    ipc.Nanos
	seq     uint64
	inputs  []byte // a log that is thrown away

	delivery core.Delivery // reused, as the pump does it
	answer   core.Answer
}

func (r *rig) throughput(ctx context.Context, p plan, k *kind, place placement, every int64) (rate float64, err error) {
	s, err := r.newStudent(ctx, k, wiring{every: every})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.session.Close(patience)) }()
	events, err := quotes(4 * batchEvents)
	if err != nil {
		return 0, err
	}
	if err := pin(s.runner.PID(), place.runner); err != nil {
		return 0, err
	}
	undo, err := pinSupervisor(place.supervisor, r.cpus)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	var rates []float64
	for range p.rounds {
		begin := time.Now()
		for i := range p.batches {
			at := i * batchEvents % len(events)
			if err := s.batch(events[at : at+batchEvents]); err != nil {
				return 0, err
			}
		}
		rates = append(rates, float64(p.batches*batchEvents)/time.Since(begin).Seconds())
	}
	return median(rates), nil
}

func quotes(n int) ([]ipc.EncodedEvent, error) {
	events := make([]ipc.EncodedEvent, n)
	for i := range events {
		bytes, recv, err := quote(uint64(i))
		if err != nil {
			return nil, err
		}
		events[i] = ipc.EncodedEvent{ProcessedTS: recv, Event: bytes}
	}
	return events, nil
}

func (r *rig) newStudent(ctx context.Context, k *kind, w wiring) (_ *student, err error) {
	a := r.address()
	s := &student{state: core.New(a, ipc.Lineage{})}
	if s.runner, err = k.box.Start(ctx, k.spec(a)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.runner.Kill())
		}
	}()
	if s.session, err = supervisor.OpenSession(ctx, s.runner, k.pack.Hash, 0); err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	init := r.init(a, k, w)
	written, err := ipc.AppendMessage(nil, init)
	if err != nil {
		return nil, fmt.Errorf("writing init: %w", err)
	}
	params, err := json.Marshal(r.params(a, k.pack))
	if err != nil {
		return nil, fmt.Errorf("writing the parameters: %w", err)
	}
	if err := s.take(&core.Start{Epoch: 1, RunID: init.RunID, StrategyVersion: init.StrategyVersion, Params: params, Init: written}); err != nil {
		return nil, err
	}
	if err := s.take(&core.Delivery{Step: 1}); err != nil {
		return nil, err
	}
	answer, err := s.session.Init(init, nil)
	if err != nil {
		return nil, fmt.Errorf("on_init: %w", err)
	}
	return s, s.answered(answer)
}

// init is on_init's message, as the supervisor makes it.
func (r *rig) init(a ipc.Address, k *kind, w wiring) *ipc.Init {
	context := risk()
	return &ipc.Init{Step: 1, Address: a, StrategyVersion: k.pack.Descriptor.Version, RunID: "bench", Epoch: 1, Lane: ipc.LaneLL, Mode: ipc.ModeResearch,
		RunSeed: 1, Config: w.config(), Instruments: r.specs, RiskContext: &context, MaxIntents: 16, MaxStateBytes: ipc.MaxStateBytes}
}

func (s *student) take(in core.Input) error {
	e, err := s.state.Step(in)
	if err != nil {
		return err
	}
	if e.Halt != "" || e.Restart != "" {
		return fmt.Errorf("input %d stopped the instance: %s%s", e.InputNo, e.Halt, e.Restart)
	}
	if s.inputs = core.AppendInput(s.inputs, in); len(s.inputs) > 1<<20 {
		s.inputs = s.inputs[:0]
	}
	return nil
}

// answered closes a step with what the strategy said.
func (s *student) answered(a *ipc.Answer) error {
	in := &s.answer
	*in = core.Answer{At: core.At{CoreTS: s.last}, Step: a.Step, Outcome: core.Applied, Digest: ipc.EmptyAnswerDigest}
	if a.Fault != nil {
		return fmt.Errorf("step %d: %s: %s", a.Step, a.Fault.Kind, a.Fault.Message)
	}
	if !a.Empty() {
		digest, err := ipc.AnswerDigest(a)
		if err != nil {
			return fmt.Errorf("step %d: %w", a.Step, err)
		}
		in.Digest, a.Seq = digest, 0
		if in.Body, err = ipc.AppendMessage(nil, a); err != nil {
			return fmt.Errorf("step %d: %w", a.Step, err)
		}
	}
	if err := s.take(in); err != nil {
		return err
	}
	for _, intent := range a.Intents {
		if err := s.close(intent.Meta.Key); err != nil {
			return err
		}
	}
	return nil
}

// close is I's word on an order, as the meter gives it: taken, and canceled at once.
func (s *student) close(key ipc.Key) error {
	s.seq++
	event, err := ipc.AppendEvent(nil, &ipc.Execution{Key: key, Report: ipc.ExecCanceled, Instrument: instrument, Side: ipc.SideBuy, Final: true})
	if err != nil {
		return fmt.Errorf("writing a report: %w", err)
	}
	at := core.At{CoreTS: s.last}
	return errors.Join(s.take(&core.Release{At: at, Upto: s.state.InputNo}), s.take(&core.Status{At: at, Key: key, Status: ipc.StatusCommitted}),
		s.take(&core.Arrival{At: at, Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: s.seq}, Event: event}))
}

// batch delivers market events, and in between the reports that they cause.
func (s *student) batch(events []ipc.EncodedEvent) error {
	for len(events) > 0 {
		if n := len(s.state.Queue); n > 0 {
			reports := make([]ipc.EncodedEvent, n)
			for i, q := range s.state.Queue {
				reports[i] = ipc.EncodedEvent{ProcessedTS: s.last, TraceID: q.TraceID, Event: q.Event}
			}
			if _, err := s.deliver(reports, true); err != nil {
				return err
			}
			continue
		}
		n, err := s.deliver(events, false)
		if err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// deliver sends one frame and returns how many of its events were taken: the runner stops at the first that it answers with something.
func (s *student) deliver(events []ipc.EncodedEvent, queued bool) (n int, err error) {
	first := s.state.StepNo + 1
	if err := s.session.AskBatch(first, events); err != nil {
		return 0, fmt.Errorf("asking a batch: %w", err)
	}
	got, err := s.session.AwaitBatch()
	if err != nil {
		return 0, fmt.Errorf("awaiting a batch: %w", err)
	}
	n = int(got.Consumed)
	if n < 1 || n > len(events) || got.Answer.Step != first+ipc.Step(n)-1 {
		return 0, fmt.Errorf("a batch of %d events from step %d was answered with %d and step %d", len(events), first, n, got.Answer.Step)
	}
	for i := range events[:n] {
		e := &events[i]
		s.last = max(s.last, e.ProcessedTS)
		s.delivery = core.Delivery{At: core.At{CoreTS: s.last}, Step: first + ipc.Step(i), ProcessedTS: e.ProcessedTS, TraceID: e.TraceID,
			Queued: queued, Event: e.Event}
		if err := s.take(&s.delivery); err != nil {
			return 0, err
		}
		a := &got.Answer
		if i < n-1 {
			a = &ipc.Answer{Step: s.delivery.Step}
		}
		if err := s.answered(a); err != nil {
			return 0, err
		}
	}
	return n, nil
}
