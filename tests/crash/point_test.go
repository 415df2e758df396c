package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// A long campaign's run has 200 intents; that of every change a third of them, as a tracer is dear.
const (
	pointEvents          = 600
	pointEventsPerChange = 220
)

// recoveryOps is about how many writes and syncs a start on a killed one's state makes before it trades.
const recoveryOps = 40

// randomOps is how many random writes and syncs are tried beside the points, in each round of worlds, and for every change.
const (
	randomOps          = 60
	randomOpsPerChange = 17
)

// A supervisor dies just before and just after each of its actions, at random ones of their occurrences, and at random writes and syncs of its
// state directory; every third world dies again while it recovers. Then a run goes to the end, and I was told what it is told without.
// Proves: NN-3, NN-5, NN-6, GT-5, GT-6, ST-1, ST-4, LS-3
func TestCrashAtEveryAction(t *testing.T) {
	events := pointEventsPerChange
	if long() {
		events = pointEvents
	}
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": eager()}, events: events, atLeast: events / 3})
	totals := s.countPoints()
	t.Logf("an undisturbed run passes %v", totals)
	var moments []moment
	for _, p := range points {
		for _, before := range []bool{true, false} {
			if before && (p == pointAnswer || p == pointStatus) {
				continue // what is read is known afterwards; what precedes it is after deliver, and after offer
			}
			if totals[moment{p, before}] == 0 {
				t.Fatalf("an undisturbed run never passes %v: %v", moment{p, before}, totals)
			}
			moments = append(moments, moment{p, before})
		}
	}
	c := newCampaign(t, len(moments)+randomOpsPerChange)
	c.run(func(seed uint64, chance *rand.Rand) (int, error) {
		at := moment{"", chance.IntN(2) == 0} // any on the disk
		if n := int((seed - 1) % uint64(len(moments)+randomOps)); n < len(moments) {
			at = moments[n]
		}
		nth := 1 + chance.IntN(totals[at])
		hit, err := s.crashed(c, seed, at, nth, chance)
		if err != nil {
			return 1, fmt.Errorf("at %v number %d of about %d: %w", at, nth, totals[at], err)
		}
		if !hit {
			c.count("not reached", 1) // threads and batches are not the same in two runs
			return 0, nil
		}
		what := "random writes and syncs"
		if at.point != "" {
			what = "actions"
		}
		c.count(what, 1)
		return 1, nil
	})
	c.demand("actions", "random writes and syncs", "crashes in recovery")
}

// moment is before or after the calls of a point; "" = of any on the disk.
type moment struct {
	point  point
	before bool
}

func (m moment) String() string {
	what, when := string(m.point), "after "
	if what == "" {
		what = "a write or sync"
	}
	if m.before {
		when = "before "
	}
	return when + what
}

// counter calls die at the n-th pass of a moment.
func (m moment) counter(nth int, hit *bool) func(point, bool) verdict {
	passed := 0
	return func(p point, before bool) verdict {
		if before != m.before || p != m.point && (m.point != "" || !p.disk()) {
			return verdict{}
		}
		passed++
		*hit = passed == nth
		return verdict{die: passed == nth}
	}
}

// countPoints is how often an undisturbed run passes each moment.
func (s *setting) countPoints() map[moment]int {
	s.t.Helper()
	w, err := s.world("counting")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := w.remove(); err != nil {
			s.t.Error(err)
		}
	}()
	totals := map[moment]int{}
	code, err := w.traced(func(p point, before bool) verdict {
		totals[moment{p, before}]++
		if p.disk() {
			totals[moment{"", before}]++
		}
		return verdict{}
	}, w.runArgs()...)
	if err != nil || code != 0 {
		s.t.Fatalf("the traced run ended with %d: %v\n%s", code, err, w.said())
	}
	if err := w.same(); err != nil {
		s.t.Fatalf("under the tracer: %v", err)
	}
	return totals
}

// crashed plays one world: it dies at the moment, perhaps once more in its recovery, and then comes to its end.
func (s *setting) crashed(c *campaign, seed uint64, at moment, nth int, chance *rand.Rand) (hit bool, err error) {
	w, err := s.numbered(seed)
	if err != nil {
		return false, err
	}
	defer w.close(&err)
	code, err := w.traced(at.counter(nth, &hit), w.runArgs()...)
	if err != nil || code > 0 {
		return hit, errors.Join(fmt.Errorf("the traced run ended with %d:\n%s", code, w.said()), err)
	}
	if code == 0 {
		return false, w.same()
	}
	if seed%3 == 0 {
		var again bool
		m := moment{"", chance.IntN(2) == 0}
		code, err := w.traced(m.counter(1+chance.IntN(recoveryOps), &again), w.runArgs()...)
		if err != nil || code > 0 {
			return hit, errors.Join(fmt.Errorf("the traced recovery ended with %d:\n%s", code, w.said()), err)
		}
		if again {
			c.count("crashes in recovery", 1)
		}
	}
	if err := os.Remove(w.tracedOutput()); err != nil {
		return hit, err
	}
	if err := w.finish(); err != nil {
		return hit, err
	}
	return hit, w.same()
}
