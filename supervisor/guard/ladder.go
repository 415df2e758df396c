package guard

import "github.com/msup/msup/ipc"

// Level says how bad it is.
type Level uint8

// The rungs of a ladder (SB-7).
const (
	Fine    Level = 0
	Warn    Level = 1
	Degrade Level = 2
	Halt    Level = 3
)

// String returns the name used in logs and metrics.
func (l Level) String() string {
	return [...]string{"fine", "warn", "degrade", "halt"}[min(l, Halt)]
}

// Rule says how many observations within Window reach each rung. Zero turns a rung off.
type Rule struct {
	Window  ipc.Nanos // core_ts
	Warn    int
	Degrade int
	Halt    int
}

// Ladder counts one kind of outcome. The zero Ladder is ready for use.
type Ladder struct {
	Times []ipc.Nanos // core_ts of the observations within the window, oldest first
}

// Observe counts one more outcome at now and returns the rung that it reaches.
func (l *Ladder) Observe(rule Rule, now ipc.Nanos) Level {
	l.expire(rule, now)
	l.Times = append(l.Times, now)
	return l.level(rule)
}

// Level returns the rung at now without counting anything.
func (l *Ladder) Level(rule Rule, now ipc.Nanos) Level {
	l.expire(rule, now)
	return l.level(rule)
}

func (l *Ladder) level(rule Rule) Level {
	n := len(l.Times)
	switch {
	case rule.Halt > 0 && n >= rule.Halt:
		return Halt
	case rule.Degrade > 0 && n >= rule.Degrade:
		return Degrade
	case rule.Warn > 0 && n >= rule.Warn:
		return Warn
	}
	return Fine
}

func (l *Ladder) expire(rule Rule, now ipc.Nanos) {
	// More observations than the highest rung needs carry no information: the memory of a guard stays bounded.
	most := max(rule.Warn, rule.Degrade, rule.Halt)
	keep := max(0, len(l.Times)-most)
	for keep < len(l.Times) && l.Times[keep] <= now-rule.Window {
		keep++
	}
	l.Times = append(l.Times[:0], l.Times[keep:]...)
}
