package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/mailbox"
)

const (
	// sampleEvery is how often a runner's counters are read. A limit that is broken on and on is one violation each time: what a flood costs the
	// log is bounded.
	sampleEvery = time.Second
	// throttledPart of the time since the last look is what a runner may be stopped by its quota without a violation. A burst that the quota
	// evens out is what a quota is for.
	throttledPart = 4
)

// counters is what was counted of a runner when it was last looked at. Its sandbox alone sees this; the core hears of it as inputs (SB-7).
type counters struct {
	mu      sync.Mutex
	runner  sandbox.Runner
	usage   sandbox.Usage
	logs    sandbox.LogStats
	at      time.Time
	cpu     time.Duration     // of all runners of the instance
	unheard []*core.Violation // given to the core, which has not taken them yet
	// told says that a step failed since the last look, and that its error named a refused call: that attempt has been counted.
	told atomic.Bool
}

// hear takes what the core made of a failed step.
func (c *counters) hear(e *core.Effects) {
	if slices.ContainsFunc(e.Notes, func(n core.Note) bool { return n.Reason == ipc.ReasonSandboxCall }) {
		c.told.Store(true)
	}
}

// watchRunner looks at the runner and at the progress of the instance, beside the pump, until ctx ends.
func (p *Instance) watchRunner(ctx context.Context) {
	tick := time.NewTicker(min(sampleEvery, p.stallAfter()/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if r := p.runner.Load(); r != nil {
				p.lookAt(*r)
			}
			p.lookAtCompute()
			p.watchProgress(now)
		}
	}
}

// lookAt reads the counters of a runner that lives.
func (p *Instance) lookAt(r sandbox.Runner) {
	usage, err := r.Usage()
	if err != nil {
		p.log.Debug("the runner's counters cannot be read; it may just have ended", "err", err)
		return
	}
	p.count(r, usage, r.Logs(), time.Now())
}

// count compares counters with the last ones, and tells what broke a limit since. Refused system calls count at most once a look, and not at
// all where the strategy has let the error through, so that a step failed and the core has counted it. A look that falls between the refusal
// and the failed answer counts both.
func (p *Instance) count(r sandbox.Runner, usage sandbox.Usage, logs sandbox.LogStats, now time.Time) {
	c := &p.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runner != r {
		c.runner, c.usage, c.logs, c.at = r, sandbox.Usage{}, sandbox.LogStats{}, time.Time{}
	}
	told := c.told.Swap(false)
	for _, v := range sandbox.Since(c.usage, usage, c.logs, logs) {
		if v.Kind == sandbox.ViolationCalls && told {
			p.log.Warn("the runner was refused what its sandbox forbids, and said so itself", "reason", v.Reason, "observed", v.Observed, "unit", v.Unit)
			continue
		}
		p.violated(v)
	}
	if passed := now.Sub(c.at); !c.at.IsZero() && usage.Throttled > 0 && (usage.Throttled-c.usage.Throttled)*throttledPart > passed {
		p.violated(sandbox.Violation{Kind: sandbox.ViolationCPU, Limit: int64(passed / throttledPart), Observed: int64(usage.Throttled - c.usage.Throttled),
			Unit: "ns", Reason: ipc.ReasonSandboxCPU})
	}
	c.cpu += max(0, usage.CPU-max(0, c.usage.CPU))
	c.usage, c.logs, c.at = usage, logs, now
}

// violated gives a violation to the core, which counts it on its ladder. counters.mu is held.
func (p *Instance) violated(v sandbox.Violation) {
	p.log.Warn("the runner was refused what is above its ceiling, or forbidden", "reason", v.Reason, "limit", v.Limit, "observed", v.Observed, "unit", v.Unit)
	in := &core.Violation{Reason: v.Reason, Limit: v.Limit, Observed: v.Observed, Unit: v.Unit}
	p.counters.unheard = append(p.counters.unheard, in)
	p.box.PutUrgent(mailbox.Internal, urgent{input: in}) // where the mailbox is closed it stays unheard
}

// heard says that the core takes a violation now.
func (c *counters) heard(in *core.Violation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unheard = slices.DeleteFunc(c.unheard, func(v *core.Violation) bool { return v == in })
}

// tellUnheard tells the observer what no core took any more: a runner may be refused something until its very end, and the instance's last
// looks at it come when nobody takes inputs. Nothing is dropped without a word (law 5, SB-8).
func (p *Instance) tellUnheard() {
	c := &p.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.unheard {
		p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: v.Reason, Level: guard.Warn, Detail: fmt.Sprintf("limit %d %s, observed %d", v.Limit, v.Unit, v.Observed)})
	}
	c.unheard = nil
}

// lookBack takes the last counters of a runner that has ended.
func (p *Instance) lookBack(r sandbox.Runner) { p.count(r, r.Exit().Usage, r.Logs(), time.Now()) }

// processorTime is what all runners of the instance have used until now.
func (p *Instance) processorTime() time.Duration {
	if r := p.runner.Load(); r != nil {
		p.lookAt(*r)
	}
	p.counters.mu.Lock()
	defer p.counters.mu.Unlock()
	return p.counters.cpu
}
