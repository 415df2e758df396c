package core

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// Congestion says what becomes of a request that gets no result in time (LN-5).
type Congestion string

// The policies. The empty one is fallback.
const (
	CongestionNoOp     Congestion = "noop"     // it is counted, and nobody hears of it
	CongestionFallback Congestion = "fallback" // the strategy gets compute_unavailable and decides; without a handler, no_trade
	CongestionNoTrade  Congestion = "no_trade" // the strategy gets compute_unavailable, and may not trade until a result comes in time
)

// Compute is what the descriptor says about the compute lane.
type Compute struct {
	Congestion Congestion
	Handled    bool // the strategy takes compute_result and compute_unavailable
	Waiting    int  // requests without a result, at most; 0 = there is nobody who could answer any
}

// Task is a request that may go to the compute lane when the input that holds it is durable (law 3).
type Task struct {
	Step        ipc.Step
	Ordinal     uint32
	Name        string
	Payload     []byte
	RequestedTS ipc.Nanos // processed time
	TTL         ipc.Nanos
}

// Computing is a request that waits for its result.
type Computing struct {
	Step        ipc.Step
	Ordinal     uint32
	Task        string
	RequestedTS ipc.Nanos // processed time
	Due         ipc.Nanos // core_ts after which a result is stale
}

// Computed is what became of a request: a payload, or the reason why there is none. It is logged, so that a replay needs no compute part.
type Computed struct {
	At
	Step    ipc.Step
	Ordinal uint32
	Reason  ipc.ReasonCode // not empty: there is no payload
	Payload []byte
}

// InputKind names the input in the log.
func (*Computed) InputKind() InputKind { return KindComputed }

// heldByCompute names the restriction of requests that are not answered in time.
const heldByCompute = "compute"

// request takes the requests of an answer. What nobody will carry out is answered at once: a strategy never waits for nothing.
func (s *State) request(p *Pending, requests []ipc.ComputeRequest, e *Effects) error {
	for i, r := range requests {
		c := Computing{Step: p.Step, Ordinal: uint32(i), Task: r.Task, RequestedTS: p.ProcessedTS, Due: saturated(s.CoreTS, r.TTL)}
		var err error
		switch n := s.params.Compute.Waiting; {
		case n == 0:
			err = s.unavailable(c, ipc.ReasonComputeUnavailable, "nobody carries out tasks: strategy.toml has no compute part", e)
		case len(s.Computes) >= n:
			err = s.unavailable(c, ipc.ReasonComputeCongested, fmt.Sprintf("%d requests wait for their results", n), e)
		default:
			s.Computes = append(s.Computes, c)
			e.Compute = append(e.Compute, Task{Step: c.Step, Ordinal: c.Ordinal, Name: c.Task, Payload: bytes.Clone(r.Payload),
				RequestedTS: c.RequestedTS, TTL: r.TTL})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func saturated(a, b ipc.Nanos) ipc.Nanos {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// forgo answers the requests of a late or faulted answer, which are not carried out.
func (s *State) forgo(p *Pending, requests []ipc.ComputeRequest, reason ipc.ReasonCode, e *Effects) error {
	for i, r := range requests {
		c := Computing{Step: p.Step, Ordinal: uint32(i), Task: r.Task, RequestedTS: p.ProcessedTS}
		if err := s.unavailable(c, reason, "the answer that asked does not count", e); err != nil {
			return err
		}
	}
	return nil
}

// computed gives a result to the strategy, unless it is stale or was given up. Age is measured in core_ts, from the answer that asked.
func (s *State) computed(in *Computed, e *Effects) error {
	i := slices.IndexFunc(s.Computes, func(c Computing) bool { return c.Step == in.Step && c.Ordinal == in.Ordinal })
	if i < 0 {
		if in.Reason != ipc.ReasonComputeStale { // that one has been told
			e.note(guard.Fine, cmp.Or(in.Reason, ipc.ReasonComputeStale), fmt.Sprintf("step %d request %d: it had been given up", in.Step, in.Ordinal))
		}
		return nil
	}
	c := s.Computes[i]
	s.Computes = slices.Delete(s.Computes, i, i+1)
	switch {
	case in.Reason != "":
		return s.unavailable(c, in.Reason, "", e)
	case s.CoreTS > c.Due:
		return s.unavailable(c, ipc.ReasonComputeStale, "", e)
	}
	if err := s.propose(c, in.Payload, e); err != nil {
		return s.unavailable(c, ipc.ReasonServiceResponseInvalid, err.Error(), e)
	}
	if s.lift(heldByCompute) {
		e.note(guard.Fine, ipc.ReasonConditionMet, heldByCompute)
	}
	if !s.params.Compute.Handled {
		e.note(guard.Fine, ipc.ReasonComputeStale, fmt.Sprintf("step %d request %d: the strategy does not subscribe to compute_result", c.Step, c.Ordinal))
		return nil
	}
	event, err := ipc.AppendEvent(nil, &ipc.ComputeResult{Task: c.Task, RequestStep: c.Step, Ordinal: c.Ordinal, RequestedTS: c.RequestedTS, Payload: in.Payload})
	if err != nil {
		return fmt.Errorf("writing the result of step %d request %d: %w", c.Step, c.Ordinal, err)
	}
	s.Queue = append(s.Queue, Queued{Event: event, Due: c.Due})
	return nil
}

// unavailable does what the descriptor says about a request without a result (LN-5). It always counts.
func (s *State) unavailable(c Computing, reason ipc.ReasonCode, why string, e *Effects) error {
	detail := fmt.Sprintf("step %d request %d (%s)", c.Step, c.Ordinal, c.Task)
	if why != "" {
		detail += ": " + why
	}
	policy := s.params.Compute
	if policy.Congestion == CongestionNoOp {
		e.note(guard.Fine, reason, detail)
		return nil
	}
	if policy.Congestion == CongestionNoTrade || !policy.Handled {
		s.impose(gate.Held{ID: heldByCompute, Origin: gate.OriginCompute, Restriction: gate.NoTrade(), Reason: reason,
			Release: gate.ReleaseCooldown, Since: s.CoreTS, Until: saturated(s.CoreTS, s.params.Cooldown)})
		e.note(guard.Degrade, reason, detail)
	} else {
		e.note(guard.Warn, reason, detail)
	}
	if !policy.Handled {
		return nil
	}
	return s.enqueue(&ipc.ComputeUnavailable{Task: c.Task, RequestStep: c.Step, Ordinal: c.Ordinal, Reason: reason})
}

// loseComputes gives up what was under way before a start, or a void: it may have been carried out or not, and is never repeated.
func (s *State) loseComputes(e *Effects) error {
	lost := s.Computes
	s.Computes = nil
	for _, c := range lost {
		if err := s.unavailable(c, ipc.ReasonComputeLost, "", e); err != nil {
			return err
		}
	}
	return nil
}

// ComputeDue is the core time after which the first of the results that are awaited, or that wait for the strategy, is stale.
func (s *State) ComputeDue() (due ipc.Nanos, any bool) {
	for _, c := range s.Computes {
		if !any || c.Due < due {
			due, any = c.Due, true
		}
	}
	for _, q := range s.Queue {
		if q.Due != 0 && (!any || q.Due < due) {
			due, any = q.Due, true
		}
	}
	return due, any
}

// dropStale gives up what has become stale: requests that wait for a result, and results that wait for the strategy.
func (s *State) dropStale(e *Effects) error {
	for i := 0; i < len(s.Computes); {
		c := s.Computes[i]
		if c.Due >= s.CoreTS {
			i++
			continue
		}
		s.Computes = slices.Delete(s.Computes, i, i+1)
		if err := s.unavailable(c, ipc.ReasonComputeStale, "", e); err != nil {
			return err
		}
	}
	for i := 0; i < len(s.Queue); {
		q := s.Queue[i]
		if q.Due == 0 || q.Due >= s.CoreTS {
			i++
			continue
		}
		event, err := ipc.DecodeEvent(q.Event)
		if err != nil {
			return fmt.Errorf("a queued compute result: %w", err)
		}
		r, ok := event.(*ipc.ComputeResult)
		if !ok {
			return fmt.Errorf("a queued %s with a ttl", event.Kind())
		}
		s.Queue = slices.Delete(s.Queue, i, i+1)
		c := Computing{Step: r.RequestStep, Ordinal: r.Ordinal, Task: r.Task, RequestedTS: r.RequestedTS}
		if err := s.unavailable(c, ipc.ReasonComputeStale, "it waited for the strategy", e); err != nil {
			return err
		}
	}
	return nil
}
