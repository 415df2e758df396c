package crash

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("seed", 1, "the first world")
	trialsFlag  = flag.Int("trials", 0, "how many trials, in place of the number per change")
	minutesFlag = flag.Float64("minutes", 0, "go on for so long, in place of a number of trials")
	keepFlag    = flag.String("keep", "", "an empty folder for what failing worlds, and the undisturbed one, leave behind")
)

// long reports whether this is no test of every change.
func long() bool { return *trialsFlag > 0 || *minutesFlag > 0 }

// workers is how many worlds run at once: they mostly wait for disks and for each other.
const workers = 3

// campaign is a test that tries worlds until it has made its trials. World n has the seed n.
type campaign struct {
	t       *testing.T
	first   uint64
	trials  int
	workers int
	until   time.Time

	mu     sync.Mutex
	next   uint64
	done   int
	counts map[string]int
	failed error
}

// newCampaign is one that makes so many trials per change.
func newCampaign(t *testing.T, perChange int) *campaign {
	c := &campaign{t: t, first: *seedFlag, next: *seedFlag, trials: perChange, workers: workers, counts: map[string]int{}}
	if *trialsFlag > 0 {
		c.trials = *trialsFlag
	}
	if *minutesFlag > 0 {
		c.until = time.Now().Add(time.Duration(*minutesFlag * float64(time.Minute)))
	}
	return c
}

// take gives the number of the next world, false when there were enough.
func (c *campaign) take() (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil || c.until.IsZero() && c.done >= c.trials || !c.until.IsZero() && time.Now().After(c.until) {
		return 0, false
	}
	c.next++
	return c.next - 1, true
}

// count notes that something happened; it is printed at the end.
func (c *campaign) count(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

// run tries worlds; one tells how many trials it made.
func (c *campaign) run(world func(seed uint64, chance *rand.Rand) (trials int, err error)) {
	c.t.Helper()
	began := time.Now()
	var group sync.WaitGroup
	for range c.workers {
		group.Go(func() {
			for {
				seed, more := c.take()
				if !more {
					return
				}
				trials, err := world(seed, rand.New(rand.NewPCG(seed, 0)))
				c.mu.Lock()
				c.done += trials
				if err != nil {
					c.failed = errors.Join(c.failed, fmt.Errorf("world %d: %w\nrun it again: go test ./tests/crash -run '^%s$' -seed %d -trials 1 -v", seed, err, c.t.Name(), seed))
				}
				c.mu.Unlock()
			}
		})
	}
	group.Wait()
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Fprintf(&text, ", %d %s", c.counts[what], what)
	}
	c.t.Logf("%d trials in %d worlds, seeds %d to %d, %.0f s%s; to go on: SEED=%d", c.done, c.next-c.first, c.first, c.next-1, time.Since(began).Seconds(), text.String(), c.next)
	if c.failed != nil {
		c.t.Fatal(c.failed)
	}
}

// demand fails where the campaign never came to something that it is about. One world alone may miss it, and one that goes on elsewhere.
func (c *campaign) demand(whats ...string) {
	c.t.Helper()
	for _, what := range whats {
		if c.counts[what] == 0 && *trialsFlag == 0 && c.first == 1 {
			c.t.Errorf("%d trials without %s try too little", c.done, what)
		}
	}
}
