package sim

import (
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// breaks gives every third world ladders of violations and promises, and one of the breakers.
func breaks(p *core.Params, seed uint64) {
	if seed%3 != 1 {
		return
	}
	p.Ladders = map[guard.Kind]guard.Rule{}
	for _, kind := range append(append([]guard.Kind{}, guard.Violations...), guard.Objectives...) {
		p.Ladders[kind] = guard.Rule{Window: 2000 * ms, Warn: 1, Degrade: 2, Halt: 9}
	}
	modes := []core.BreakerMode{core.BreakerNoTrade, core.BreakerReduceOnly, core.BreakerCancelAll, core.BreakerHedgeToFlat}
	recoveries := []core.BreakerRecovery{core.RecoverCooldown, core.RecoverManual, core.RecoverCondition}
	p.Breaker = core.Breaker{Mode: modes[seed/3%4], Recovery: recoveries[seed/12%3], CleanSteps: int(seed / 36 % 3)}
}

// violate lets the sandbox count something, or a window end.
func (w *world) violate() {
	reasons := []ipc.ReasonCode{ipc.ReasonLogCeiling, ipc.ReasonSandboxPIDs, ipc.ReasonSandboxCPU, ipc.ReasonSLOLatency, ipc.ReasonSLODrops}
	reason := reasons[w.rng.IntN(len(reasons))]
	if kind, _ := guard.KindOf(reason); w.s.Broke(reason) && w.rng.IntN(2) == 0 {
		w.say("a window kept %s", kind)
		w.counts["promises kept"]++
		w.apply(&core.Guard{At: w.at(), Lift: true, Held: gate.Held{ID: core.SLOHeld(kind), Origin: gate.OriginSLO, Restriction: gate.Unrestricted(),
			Reason: ipc.ReasonConditionMet, Release: gate.ReleaseCondition}})
		return
	}
	w.say("violation: %s", reason)
	w.counts["violations"]++
	w.apply(&core.Violation{At: w.at(), Reason: reason, Limit: 1, Observed: 2, Unit: "things"})
}
