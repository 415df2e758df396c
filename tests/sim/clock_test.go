package sim

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// clockWorlds is how many worlds with a broken clock are simulated; -worlds below it says fewer, above it more.
const clockWorlds = 100

// The wall clock jumps, backwards and forwards, by a second to a year; core time, which never goes back, jumps forwards as far. All that a
// world demands holds: nothing is offered too late, nothing twice, and every recovery comes to the same state.
//
// Proves: NN-3, NN-6, NN-7, BC-F, GT-5, GT-6, ST-1
func TestClockJumps(t *testing.T) {
	began, total := time.Now(), map[string]int{}
	count := clockWorlds
	if *worlds != defaultWorlds {
		count = *worlds
	}
	first, last := seeds(t, count)
	for seed := first; seed < last; seed++ {
		w := newWorld(t, seed)
		clock := rand.New(rand.NewPCG(seed, 3))
		for range 150 + w.rng.IntN(150) {
			if clock.IntN(12) == 0 {
				w.leap(clock)
			}
			w.act()
		}
		w.rest()
		for what, n := range w.counts {
			total[what] += n
		}
	}
	t.Logf("%d worlds in %.1f s, %d jumps forwards, %d backwards, %d of core time, %d recoveries, %d offers, %d expired", last-first, time.Since(began).Seconds(),
		total["wall forwards"], total["wall backwards"], total["core forwards"], total["recoveries"], total["offers"], total["expired"])
	for _, what := range []string{"wall forwards", "wall backwards", "core forwards", "recoveries", "offers", "expired", "committed"} {
		if *oneOf < 0 && total[what] == 0 {
			t.Errorf("%d worlds without %s try too little", last-first, what)
		}
	}
}

// leap lets a clock jump by a second to a year: as often by seconds as by months.
func (w *world) leap(clock *rand.Rand) {
	by := ipc.Nanos(time.Second)
	for range clock.IntN(26) { // 2 to the 25th seconds are a year
		by *= 2
	}
	switch clock.IntN(3) {
	case 0:
		w.skew += by
		w.counts["wall forwards"]++
	case 1:
		w.skew -= by
		w.counts["wall backwards"]++
	default: // a machine that was asleep
		w.now += by
		w.counts["core forwards"]++
	}
	w.say("a clock jumps by %s, the wall is %s ahead", time.Duration(by), time.Duration(w.skew))
}
