package supervisor

import (
	"cmp"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/mailbox"
)

// Computer is the compute lane of one instance (LN-2). Implementation: package compute.
//
// The pump calls it and never waits for it. Every task is told of exactly once, unless Close comes first, and never carried out twice.
type Computer interface {
	// Open begins; done may be called from any goroutine, also from within Submit, and does not block.
	Open(done func(core.Computed))
	// Submit enqueues a task whose request is durable. A result after the deadline is of no use; the zero time means that it always is.
	Submit(t core.Task, deadline time.Time)
	// Violations are what its runners were refused since the last call; also after Close.
	Violations() []sandbox.Violation
	// Close gives up what is under way.
	Close()
}

// results holds back, in lock step, what the compute lane has said, until all of it is there.
type results struct {
	asker ipc.Step // requests up to this step are answered before the feed goes on
	held  []core.Computed
}

// openCompute lets the lane begin.
func (p *Instance) openCompute() {
	if p.cfg.Compute == nil {
		return
	}
	p.cfg.Compute.Open(func(c core.Computed) {
		p.box.PutUrgent(mailbox.Internal, urgent{computed: &c})
	})
}

func (p *Instance) closeCompute() {
	if p.cfg.Compute != nil {
		p.cfg.Compute.Close()
		p.lookAtCompute()
	}
}

// lookAtCompute counts what the compute part was refused on the ladders of its strategy: it is the same author's code (SB-7).
func (p *Instance) lookAtCompute() {
	if p.cfg.Compute == nil {
		return
	}
	p.counters.mu.Lock()
	defer p.counters.mu.Unlock()
	for _, v := range p.cfg.Compute.Violations() {
		p.violated(v)
	}
}

// compute hands requests to the lane that have become durable (law 3). Their ttl has run since the answer that asked. Where the clock is a
// feed's, the core alone knows when it is over; in lock step the feed's time stands still while the part computes.
func (p *Instance) compute(tasks []core.Task, since time.Time) {
	for _, t := range tasks {
		if p.cfg.Compute == nil { // the parameters of the log allow what this run does not have
			p.box.PutUrgent(mailbox.Internal, urgent{computed: &core.Computed{Step: t.Step, Ordinal: t.Ordinal, Reason: ipc.ReasonComputeUnavailable}})
			continue
		}
		deadline := since.Add(time.Duration(t.TTL))
		if p.cfg.LockStep || p.followsFeed() {
			deadline = time.Time{}
		}
		p.cfg.Compute.Submit(t, deadline)
	}
}

// onComputed takes the lane's word. In lock step it waits until every word that is due is there, so that what the strategy sees does not
// depend on how fast the part is.
func (p *Instance) onComputed(c *core.Computed) error {
	if p.cfg.LockStep {
		p.results.held = append(p.results.held, *c)
		return nil
	}
	return p.apply(p.stamp(c))
}

// asks remembers that the strategy gets something that the feed brought. What it asks for in answer to a result alone is answered after the
// next such thing: one that asks again at every result would otherwise hold up the feed for ever.
func (p *Instance) asks(step ipc.Step, kind ipc.EventKind) {
	if kind != ipc.KindComputeResult && kind != ipc.KindComputeUnavailable && (kind < ipc.KindExecution || kind >= ipc.KindTimer) {
		p.results.asker = step
	}
}

// computing reports whether, in lock step, deliveries wait for the compute lane.
func (p *Instance) computing() bool {
	return p.cfg.LockStep && !p.stopping && p.state.Halted == "" && len(p.state.Computes) > 0 && p.state.Computes[0].Step <= p.results.asker
}

// takeResults gives the core what the lane has said about all that is due, in the order in which it was asked. False: something is missing.
func (p *Instance) takeResults() (taken bool, err error) {
	due := p.state.Computes[:0:0]
	for _, c := range p.state.Computes {
		if c.Step > p.results.asker {
			break
		}
		if !slices.ContainsFunc(p.results.held, func(h core.Computed) bool { return h.Step == c.Step && h.Ordinal == c.Ordinal }) {
			return false, nil
		}
		due = append(due, c)
	}
	held, last := p.results.held, due[len(due)-1]
	p.results.held = nil
	slices.SortFunc(held, func(a, b core.Computed) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Ordinal, b.Ordinal))
	})
	for _, c := range held {
		if c.Step > last.Step {
			p.results.held = append(p.results.held, c)
			continue
		}
		if err := p.apply(p.stamp(&c)); err != nil {
			return true, err
		}
	}
	return true, nil
}

// staleDue is the core time from which on a request, or a result that waits, is stale. In lock step the feed waits for the lane.
func (p *Instance) staleDue() (ipc.Nanos, bool) {
	if p.cfg.LockStep || p.state == nil {
		return 0, false
	}
	due, ok := p.state.ComputeDue()
	if !ok {
		return 0, false
	}
	return max(due, due+1), true // the latest time there is has none after it
}
