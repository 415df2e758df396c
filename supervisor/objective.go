package supervisor

import (
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// objective is the window that is being measured (LN-6). It is live: what comes of it goes into the log, and a replay reads it there (LN-7).
type objective struct {
	meter   guard.Meter
	began   time.Time
	put     uint64 // market events until then
	dropped uint64
	cpu     time.Duration
	lowered bool           // what the runner below was told
	told    sandbox.Runner // nil: none yet
}

func (p *Instance) measures() bool { return p.cfg.Objective.Measures() }

func (p *Instance) windowEnd() time.Time {
	return p.objective.began.Add(time.Duration(p.cfg.Objective.Window))
}

// windowDue reports whether a window is over. A halted instance promises nothing.
func (p *Instance) windowDue() bool {
	if !p.measures() {
		return false
	}
	if p.objective.began.IsZero() || p.state.Halted != "" || p.session == nil {
		p.beginWindow(time.Now())
		return false
	}
	return !time.Now().Before(p.windowEnd())
}

// untilWindow is how long the end of the window is away.
func (p *Instance) untilWindow() (time.Duration, bool) {
	if !p.measures() || p.objective.began.IsZero() || p.state.Halted != "" || p.session == nil {
		return forever, false
	}
	return max(0, time.Until(p.windowEnd())), true
}

func (p *Instance) beginWindow(now time.Time) {
	o, c := &p.objective, p.box.Counts()
	o.began, o.put, o.dropped, o.cpu = now, c.Put, c.Dropped, p.processorTime()
}

// measured takes the answer to one delivery.
func (p *Instance) measured(kind ipc.EventKind, took time.Duration) {
	if p.measures() && kind != core.EventInit {
		p.objective.meter.Answered(p.cfg.Objective, ipc.Nanos(took))
	}
}

// closeWindow judges a window. One that a hanging callback has made longer may use that much more processor time.
func (p *Instance) closeWindow() error {
	o, now := &p.objective, time.Now()
	c, cpu := p.box.Counts(), p.processorTime()
	o.meter.Market(c.Put-o.put, c.Dropped-o.dropped)
	o.meter.Used(perWindow(ipc.Nanos(cpu-o.cpu), p.cfg.Objective.Window, ipc.Nanos(now.Sub(o.began))))
	found := o.meter.Close(p.cfg.Objective)
	o.began, o.put, o.dropped, o.cpu = now, c.Put, c.Dropped, cpu
	for _, f := range found {
		kind, _ := guard.KindOf(f.Reason)
		var in core.Input
		switch {
		case f.Broken:
			p.log.Warn("a promise was broken", "reason", f.Reason, "detail", f.Detail)
			in = &core.Violation{Reason: f.Reason, Limit: f.Limit, Observed: f.Observed, Unit: f.Unit}
		case p.state.Broke(f.Reason):
			in = &core.Guard{Lift: true, Held: gate.Held{ID: core.SLOHeld(kind), Origin: gate.OriginSLO, Restriction: unrestricted, Reason: ipc.ReasonConditionMet,
				Release: gate.ReleaseCondition}}
		default:
			continue
		}
		if err := p.apply(p.stamp(in)); err != nil {
			return err
		}
	}
	p.prioritise()
	return nil
}

// perWindow is the part of what was used in a longer time that falls to one window.
func perWindow(used, window, length ipc.Nanos) ipc.Nanos {
	if length <= window {
		return used
	}
	return ipc.Nanos(float64(used) * float64(window) / float64(length))
}

// prioritise lets the neighbours of an instance that breaks its promises go first (LN-7). The core knows whether it does: a new runner, and the
// one of a later process, begin with what the log says.
func (p *Instance) prioritise() {
	r := p.runner.Load()
	if r == nil {
		return
	}
	o, lowered := &p.objective, p.state.Lowered()
	if o.told == *r && o.lowered == lowered || o.told != *r && !lowered {
		return
	}
	o.told, o.lowered = *r, lowered
	able, ok := (*r).(sandbox.Prioritised)
	if !ok {
		p.log.Warn("this sandbox has no priorities; the next steps stand", "lowered", lowered)
		return
	}
	if err := able.SetLowered(lowered); err != nil {
		p.log.Warn("changing the runner's priority failed; the next steps stand", "lowered", lowered, "err", err)
		return
	}
	p.log.Info("the runner's priority was changed", "lowered", lowered)
}
