package heartbeat

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxLateness is the bound of the supervisor's own ticker, whatever a strategy does (NN-2, DOD-2).
const MaxLateness = 100 * time.Millisecond

// Heartbeat is a running ticker.
type Heartbeat struct {
	end  chan struct{}
	done sync.WaitGroup
	late atomic.Int64
}

// New starts one.
func New() *Heartbeat {
	h := &Heartbeat{end: make(chan struct{})}
	last := time.Now() // a stall before the ticker's first turn counts as well
	h.done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for going := true; going; {
			select {
			case <-h.end: // a stall that ends with what is measured counts as well
				going = false
			case <-tick.C:
			}
			now := time.Now()
			h.late.Store(max(h.late.Load(), int64(now.Sub(last)-time.Millisecond)))
			last = now
		}
	})
	return h
}

// Stop ends it and says how late it was at most.
func (h *Heartbeat) Stop() time.Duration {
	close(h.end)
	h.done.Wait()
	return time.Duration(h.late.Load())
}

// Within does something with a heartbeat, and again when that was late: a stall that what is tested causes comes again; one that comes
// from a busy machine does not. It says how late the last one was, and gives an error when all of them were too late.
func Within(tries int, do func()) (time.Duration, error) {
	for try := 1; ; try++ {
		beat := New()
		do()
		late := beat.Stop()
		if late <= MaxLateness {
			return late, nil
		}
		if try == tries {
			return late, fmt.Errorf("the supervisor's heartbeat was late by %s, the %d. time in a row", late, tries)
		}
	}
}
