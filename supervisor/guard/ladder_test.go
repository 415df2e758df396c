package guard

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

// Proves: SB-7, CB-1
func TestLadderClimbsWithinItsWindow(t *testing.T) {
	rule := Rule{Window: 10, Warn: 1, Degrade: 2, Halt: 4}
	var l Ladder
	for i, c := range []struct {
		now  ipc.Nanos
		want Level
	}{{0, Warn}, {9, Degrade}, {10, Degrade}, {12, Degrade}, {13, Halt}, {14, Halt}, {40, Warn}, {49, Degrade}, {60, Warn}} {
		if got := l.Observe(rule, c.now); got != c.want {
			t.Errorf("observation %d at %d: %s, want %s", i, c.now, got, c.want)
		}
	}
	if got := l.Level(rule, 69); got != Warn {
		t.Errorf("at 69: %s", got)
	}
	if got := l.Level(rule, 70); got != Fine || len(l.Times) != 0 {
		t.Errorf("at 70, ten after the last: %s, %v", got, l.Times)
	}
}

func TestZeroTurnsARungOff(t *testing.T) {
	var l Ladder
	for now := range ipc.Nanos(100) {
		if got := l.Observe(Rule{Window: 1000, Degrade: 3}, now); got == Warn || got == Halt || (got == Degrade) != (now >= 2) {
			t.Fatalf("at %d: %s", now, got)
		}
	}
	if got := l.Observe(Rule{Window: 1000}, 100); got != Fine {
		t.Errorf("no rung at all: %s", got)
	}
}

// A ladder gives what counting every observation within the window gives, in bounded memory.
// Proves: SB-7
func TestLadderIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{Window: ipc.Nanos(rapid.IntRange(1, 30).Draw(t, "window")), Warn: rapid.IntRange(0, 3).Draw(t, "warn"),
			Degrade: rapid.IntRange(0, 6).Draw(t, "degrade"), Halt: rapid.IntRange(0, 9).Draw(t, "halt")}
		var l Ladder
		var all []ipc.Nanos
		now := ipc.Nanos(0)
		for range 60 {
			now += ipc.Nanos(rapid.IntRange(0, 8).Draw(t, "pause"))
			all = append(all, now)
			n := 0
			for _, at := range all {
				if at > now-rule.Window {
					n++
				}
			}
			want := Fine
			for level, rung := range map[Level]int{Warn: rule.Warn, Degrade: rule.Degrade, Halt: rule.Halt} {
				if rung > 0 && n >= rung {
					want = max(want, level)
				}
			}
			if got := l.Observe(rule, now); got != want {
				t.Fatalf("%d within the window of %+v: %s, want %s", n, rule, got, want)
			}
			if most := max(rule.Warn, rule.Degrade, rule.Halt) + 1; len(l.Times) > most {
				t.Fatalf("%d times are kept, %d say everything", len(l.Times), most)
			}
		}
	})
}

func TestLevelNames(t *testing.T) {
	for level, want := range map[Level]string{Fine: "fine", Warn: "warn", Degrade: "degrade", Halt: "halt", 9: "halt"} {
		if level.String() != want {
			t.Errorf("%d is %s", level, level)
		}
	}
}
