package descriptor

import (
	"fmt"
	"time"
)

// SLO is what a strategy promises of each instance for every window (LN-6), and after how many broken windows in a row what follows (LN-7).
type SLO struct {
	Window        time.Duration
	P95           time.Duration // of answers; 0 = no promise
	DropRate      float64       // dropped ÷ received market events; below zero = no promise
	CPU           time.Duration // processor time in one window; 0 = no promise
	PriorityAfter int64         // windows; 0 = never
	DegradeAfter  int64
	HaltAfter     int64
}

// Promises reports whether anything is promised.
func (s SLO) Promises() bool { return s.P95 > 0 || s.DropRate >= 0 || s.CPU > 0 }

// Breaker is what happens when a ladder reaches degrade, and how it ends (CB-2, CB-3).
type Breaker struct {
	Mode       string // no_trade, reduce_only, cancel_all or hedge_to_flat
	Recovery   string // cooldown, manual or condition
	Cooldown   time.Duration
	CleanSteps int64
}

func sloRow() prop {
	return prop{name: "slo", kind: aTable, doc: "What each instance promises for every window (LN-6). Broken promises lower its priority, then open its breaker, then halt it (LN-7).", props: []prop{
		integer("window_s", "s", "Length of a window, in real time.", int64(10), 1, 3600),
		{name: "p95_ms", kind: aFloat, unit: "ms", doc: "Nineteen of twenty answers take at most this. Absent = no promise.", min: 0.01, max: 600000, ranged: true, example: "2.5"},
		{name: "drop_rate", kind: aFloat, unit: "fraction", doc: "At most this part of the market events is dropped; 0 = none may be. Absent = no promise.", min: 0, max: 1, ranged: true, example: "0.01"},
		{name: "cpu_seconds", kind: aFloat, unit: "s", doc: "Processor time of the runner in one window, at most. Absent = no promise.", min: 0.001, max: 1e6, ranged: true, example: "2.0"},
		integer("priority_after", "windows", "So many broken windows, none kept between, let the neighbours go first; 0 = never.", int64(1), 0, 1e6),
		integer("degrade_after", "windows", "So many open the breaker, until a window is kept; 0 = never.", int64(3), 0, 1e6),
		integer("halt_after", "windows", "So many halt the instance; 0 = never.", int64(30), 0, 1e6),
	}}
}

func breakerRow() prop {
	return prop{name: "breaker", kind: aTable, doc: "What happens when a ladder reaches degrade (CB-2, CB-3).", props: []prop{
		choice("mode", "What the instance may still do; cancel_all and hedge_to_flat are done by msup itself, and the strategy may not trade meanwhile.", "no_trade",
			"no_trade", "reduce_only", "cancel_all", "hedge_to_flat"),
		choice("recovery", "cooldown: after cooldown_s. manual: by msup resume. condition: after clean_steps. After the first two the instance is mute, recorded but sending nothing, for clean_steps.",
			"cooldown", "cooldown", "manual", "condition"),
		integer("cooldown_s", "s", "How long the degraded mode lasts, from the last violation.", int64(30), 1, 86400),
		integer("clean_steps", "steps", "Steps without a late answer, a fault or a kill before it may trade again; 0 = none.", int64(10), 0, 1e6),
	}}
}

func (w *walker) slo(s section) SLO {
	o := SLO{
		Window: time.Duration(s.num("window_s")) * time.Second, P95: time.Duration(s.float("p95_ms") * float64(time.Millisecond)), DropRate: -1,
		CPU:           time.Duration(s.float("cpu_seconds") * float64(time.Second)),
		PriorityAfter: s.num("priority_after"), DegradeAfter: s.num("degrade_after"), HaltAfter: s.num("halt_after"),
	}
	if s.given["drop_rate"] && w.ok(s.at("drop_rate")) {
		o.DropRate = s.float("drop_rate")
	}
	if o.DegradeAfter > 0 && o.HaltAfter > 0 && o.DegradeAfter > o.HaltAfter && w.ok(s.at("degrade_after"), s.at("halt_after")) {
		at := "halt_after"
		if s.given["degrade_after"] {
			at = "degrade_after"
		}
		w.add(CodeConflict, s.at(at), fmt.Sprintf("degrade_after %d is above halt_after %d", o.DegradeAfter, o.HaltAfter), "make degrade_after at most halt_after")
	}
	return o
}

func (w *walker) breaker(s section) Breaker {
	b := Breaker{Mode: s.str("mode"), Recovery: s.str("recovery"), Cooldown: time.Duration(s.num("cooldown_s")) * time.Second, CleanSteps: s.num("clean_steps")}
	if b.Recovery == "condition" && b.CleanSteps == 0 && w.ok(s.at("clean_steps")) {
		w.add(CodeConflict, s.at("clean_steps"), `is 0, but recovery = "condition" ends with clean steps`, "ask for at least 1, or choose another recovery")
	}
	return b
}
