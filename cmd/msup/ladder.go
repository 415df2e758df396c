package main

import (
	"math"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/guard"
)

// setLadders gives an instance the ladders, the breaker and the promises of its descriptor (SB-7, RS-6, LN-7).
func setLadders(p *core.Params, d descriptor.Instance) {
	p.Ladders = map[guard.Kind]guard.Rule{}
	for _, l := range d.Descriptor.Ladders {
		rule := guard.Rule{Window: ipc.Nanos(l.Window), Warn: int(l.Warn), Degrade: int(l.Degrade), Halt: int(l.Halt)}
		switch l.Kind {
		case "timeouts":
			p.Timeouts = rule
		case "faults":
			p.Faults = rule
		case "rejects":
			p.Rejects = rule
		case "refusals":
			p.Refusals = rule
		default:
			p.Ladders[guard.Kind(l.Kind)] = rule
		}
	}
	p.Kills = guard.Rule{Window: hour, Warn: 1, Degrade: 3, Halt: int(d.Resources.RestartsPerHour) + 1}
	b := d.Descriptor.Breaker
	p.Breaker = core.Breaker{Mode: core.BreakerMode(b.Mode), Recovery: core.BreakerRecovery(b.Recovery), CleanSteps: int(b.CleanSteps)}
	p.Cooldown = ipc.Nanos(b.Cooldown)
	if slo := d.Descriptor.SLO; slo.Promises() {
		// Windows without one that was kept between count, however far apart: a window that is kept clears the ladder.
		rule := guard.Rule{Window: math.MaxInt64, Warn: int(slo.PriorityAfter), Degrade: int(slo.DegradeAfter), Halt: int(slo.HaltAfter)}
		for _, kind := range guard.Objectives {
			p.Ladders[kind] = rule
		}
	}
}

// objectiveOf is what an instance is measured against.
func objectiveOf(s descriptor.SLO) guard.Objective {
	return guard.Objective{Window: ipc.Nanos(s.Window), P95: ipc.Nanos(s.P95), DropRate: s.DropRate, CPU: ipc.Nanos(s.CPU)}
}
