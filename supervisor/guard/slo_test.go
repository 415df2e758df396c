package guard

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

// broken are the promises that a window breaks.
func broken(found []Finding) (reasons []ipc.ReasonCode) {
	for _, f := range found {
		if f.Broken {
			reasons = append(reasons, f.Reason)
		}
	}
	return reasons
}

// Proves: LN-6
func TestAWindowIsMeasuredAgainstWhatIsPromised(t *testing.T) {
	all := Objective{Window: 1e9, P95: 5e6, DropRate: 0.01, CPU: 3e8}
	for name, c := range map[string]struct {
		slow, quick       int
		received, dropped uint64
		cpu               ipc.Nanos
		want              []ipc.ReasonCode
	}{
		"nothing happened":       {},
		"all kept, at the edges": {slow: 5, quick: 95, received: 100, dropped: 1, cpu: 3e8},
		"one answer too many":    {slow: 6, quick: 94, want: []ipc.ReasonCode{ipc.ReasonSLOLatency}},
		"one drop too many":      {received: 199, dropped: 2, want: []ipc.ReasonCode{ipc.ReasonSLODrops}},
		"a little too much cpu":  {cpu: 3e8 + 1, want: []ipc.ReasonCode{ipc.ReasonSLOCPU}},
		"everything":             {slow: 40, received: 10, dropped: 10, cpu: 9e9, want: []ipc.ReasonCode{ipc.ReasonSLOLatency, ipc.ReasonSLODrops, ipc.ReasonSLOCPU}},
	} {
		t.Run(name, func(t *testing.T) {
			var m Meter
			for range c.slow {
				m.Answered(all, 5e6+1)
			}
			for range c.quick {
				m.Answered(all, 5e6)
			}
			m.Market(c.received, c.dropped)
			m.Used(c.cpu)
			if got := broken(m.Close(all)); !slices.Equal(got, c.want) {
				t.Errorf("broken %v, want %v", got, c.want)
			}
			if got := broken(m.Close(all)); len(got) != 0 {
				t.Errorf("the next window, in which nothing happened, breaks %v", got)
			}
		})
	}
	if none := (Objective{Window: 1e9, DropRate: -1}); none.Measures() {
		t.Error("nothing is promised, and measured")
	} else if nothing := (Objective{DropRate: 0}); nothing.Measures() || !all.Measures() {
		t.Error("without a window nothing is measured; with one it is")
	}
}

// A few slow answers are no percentile; they are not forgotten either.
// Proves: LN-6
func TestFewAnswersCountIntoTheNextWindow(t *testing.T) {
	o := Objective{Window: 1e9, P95: 1e6, DropRate: -1}
	var m Meter
	for range fewest / 2 {
		m.Answered(o, 2e6)
	}
	if found := m.Close(o); len(found) != 0 {
		t.Fatalf("ten answers are judged: %+v", found)
	}
	for range fewest / 2 {
		m.Answered(o, 0)
	}
	if found := m.Close(o); len(found) != 1 || !found[0].Broken || found[0].Observed != fewest/2 || found[0].Unit == "" {
		t.Errorf("half of twenty answers were slow: %+v", found)
	}
}

// The finding is that of the sorted durations.
// Proves: LN-6
func TestThePercentileIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Objective{Window: 1, P95: 50, DropRate: -1}
		durations := rapid.SliceOfN(rapid.Int64Range(1, 100), fewest, 200).Draw(t, "durations")
		var m Meter
		for _, d := range durations {
			m.Answered(o, ipc.Nanos(d))
		}
		found := m.Close(o)
		slices.Sort(durations)
		p95 := durations[len(durations)-1-len(durations)/20]
		if len(found) != 1 || found[0].Broken != (p95 > 50) {
			t.Fatalf("p95 of %v is %d: %+v", durations, p95, found)
		}
	})
}

// Every reason that is counted is one of a ladder that can be set.
// Proves: SB-7, SB-8
func TestEveryViolationHasALadder(t *testing.T) {
	counted := map[Kind]bool{}
	for reason, kind := range kinds {
		if _, ok := ipc.Lookup(reason); !ok {
			t.Errorf("%s is not in the catalogue", reason)
		}
		if !slices.Contains(Violations, kind) && !slices.Contains(Objectives, kind) {
			t.Errorf("%s counts as %s, which has no ladder", reason, kind)
		}
		counted[kind] = true
	}
	for _, kind := range slices.Concat(Violations, Objectives) {
		if !counted[kind] {
			t.Errorf("nothing counts as %s", kind)
		}
	}
	var settable []Kind
	for _, l := range descriptor.DefaultLadders() {
		switch l.Kind {
		case "timeouts", "faults", "rejects", "refusals": // outcomes and verdicts
		default:
			settable = append(settable, Kind(l.Kind))
		}
	}
	if !slices.Equal(settable, Violations) {
		t.Errorf("a descriptor sets the ladders %v, these are %v", settable, Violations)
	}
	if _, ok := KindOf(ipc.ReasonOperatorHalt); ok {
		t.Error("an operator's halt is no violation")
	}
}
