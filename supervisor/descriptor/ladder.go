package descriptor

import (
	"fmt"
	"strings"
	"time"
)

// Ladder says how many violations of one kind within Window lead to which step (SB-7); 0 = never.
type Ladder struct {
	Window  time.Duration // core time
	Warn    int64
	Degrade int64
	Halt    int64
}

// NamedLadder is a kind of violation with its ladder.
type NamedLadder struct {
	Kind string
	Ladder
}

// ladderDefaults are all the kinds, and what holds where a descriptor says nothing. What a sandbox counts (cpu, threads, log) comes at most once
// a second for each; the others one by one.
var ladderDefaults = []NamedLadder{
	{"timeouts", Ladder{time.Minute, 1, 20, 500}},
	{"faults", Ladder{time.Minute, 1, 5, 20}},
	{"rejects", Ladder{time.Minute, 1, 20, 200}},
	{"refusals", Ladder{time.Second, 1, 50, 500}},
	{"memory", Ladder{time.Hour, 1, 3, 10}},
	{"cpu", Ladder{5 * time.Minute, 1, 120, 270}},
	{"threads", Ladder{5 * time.Minute, 1, 30, 120}},
	{"files", Ladder{time.Minute, 1, 5, 20}},
	{"disk", Ladder{time.Minute, 1, 5, 20}},
	{"calls", Ladder{time.Minute, 1, 5, 20}},
	{"log", Ladder{5 * time.Minute, 1, 60, 240}},
	{"telemetry", Ladder{time.Minute, 1, 50, 1000}},
	{"intents", Ladder{time.Minute, 1, 100, 1000}},
	{"timers", Ladder{time.Minute, 1, 50, 1000}},
	{"messages", Ladder{time.Hour, 1, 2, 5}},
	{"quality", Ladder{Window: time.Minute}}, // off: recordings and venues differ too much for a default
}

// DefaultLadders are the ladders of a descriptor without a [ladders] table, in the order of the documentation.
func DefaultLadders() []NamedLadder { return append([]NamedLadder(nil), ladderDefaults...) }

func ladderKinds() []string {
	return names(ladderDefaults, func(l NamedLadder) string { return l.Kind })
}

// ladderRow is [ladders]: a table for each kind that is to differ from its default.
func ladderRow(doc string) prop {
	elem := prop{kind: aTable, props: []prop{
		integer("window_s", "s", "Length of the window.", nil, 1, 86400),
		integer("warn", "violations", "So many are told; 0 = none.", nil, 0, 1e6),
		integer("degrade", "violations", "So many open the breaker; 0 = never.", nil, 0, 1e6),
		integer("halt", "violations", "So many halt the instance; 0 = never.", nil, 0, 1e6),
	}}
	return prop{name: "ladders", kind: aMap, elem: &elem, pattern: formOf(`^(` + strings.Join(ladderKinds(), "|") + `)$`),
		hint: "must be one of " + strings.Join(ladderKinds(), ", "), example: `{ log = { window_s = 300, degrade = 60, halt = 240 } }`, doc: doc}
}

// defaultsInWords shows them in the documentation.
func defaultsInWords() string {
	words := make([]string, len(ladderDefaults))
	for i, l := range ladderDefaults {
		words[i] = fmt.Sprintf("%s %d s: %d, %d, %d", l.Kind, l.Window/time.Second, l.Warn, l.Degrade, l.Halt)
	}
	return strings.Join(words, "; ")
}

// over replaces what a table gives.
func (l Ladder) over(s section) Ladder {
	if s.given["window_s"] {
		l.Window = time.Duration(s.num("window_s")) * time.Second
	}
	for name, rung := range map[string]*int64{"warn": &l.Warn, "degrade": &l.Degrade, "halt": &l.Halt} {
		if s.given[name] {
			*rung = s.num(name)
		}
	}
	return l
}

// ladders binds [ladders] over the defaults.
func (w *walker) ladders(root section) []NamedLadder {
	out := DefaultLadders()
	for _, e := range root.entries("ladders") {
		s, ok := e.value.(section)
		if !ok {
			continue
		}
		for i := range out {
			if out[i].Kind != e.key {
				continue
			}
			l := out[i].Ladder.over(s)
			if l.Degrade > 0 && l.Halt > 0 && l.Degrade > l.Halt {
				w.add(CodeConflict, s.path, fmt.Sprintf("degrade %d is above halt %d", l.Degrade, l.Halt), "degrade first: make degrade at most halt")
			}
			out[i].Ladder = l
		}
	}
	return out
}

// LadderCeiling is what the host demands of one kind's ladder: no rung later, no window shorter. Zero demands nothing.
type LadderCeiling struct {
	Kind string
	Ladder
}

// ladderCeilings binds [policy.ladders].
func ladderCeilings(policy section) []LadderCeiling {
	var out []LadderCeiling
	for _, e := range policy.entries("ladders") {
		if s, ok := e.value.(section); ok {
			out = append(out, LadderCeiling{e.key, Ladder{}.over(s)})
		}
	}
	return out
}

// Exceeds says in words where a ladder is more lenient than the host allows.
func (c LadderCeiling) Exceeds(l Ladder) []string {
	var out []string
	if l.Window < c.Window {
		out = append(out, fmt.Sprintf("window_s %d is shorter than the %d that the host policy demands", l.Window/time.Second, c.Window/time.Second))
	}
	for _, r := range []struct {
		name           string
		asked, allowed int64
	}{{"warn", l.Warn, c.Warn}, {"degrade", l.Degrade, c.Degrade}, {"halt", l.Halt, c.Halt}} {
		switch {
		case r.allowed == 0:
		case r.asked == 0:
			out = append(out, fmt.Sprintf("%s never comes, but the host policy demands it at %d", r.name, r.allowed))
		case r.asked > r.allowed:
			out = append(out, fmt.Sprintf("%s %d comes later than the %d that the host policy demands", r.name, r.asked, r.allowed))
		}
	}
	return out
}

// checkLadders refuses a descriptor whose ladders are more lenient than the host allows.
func (r *resolver) checkLadders(e Entry, d *Descriptor) {
	for _, c := range r.file.Policy.Ladders {
		for _, l := range d.Ladders {
			if l.Kind != c.Kind {
				continue
			}
			for _, problem := range c.Exceeds(l.Ladder) {
				r.add(CodePolicy, e.at("package"), fmt.Sprintf("ladders.%s.%s (by %s)", l.Kind, problem, d.File),
					"make it stricter in [ladders] of "+FileName+", or relax policy.ladders."+l.Kind)
			}
		}
	}
}
