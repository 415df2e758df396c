package hostile

import (
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat is a ticker of 1 ms inside the supervisor that remembers how late it was at most.
type heartbeat struct {
	end  chan struct{}
	done sync.WaitGroup
	late atomic.Int64
}

func newHeartbeat() *heartbeat {
	h := &heartbeat{end: make(chan struct{})}
	h.done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-h.end:
				return
			case <-tick.C:
				now := time.Now()
				h.late.Store(max(h.late.Load(), int64(now.Sub(last)-time.Millisecond)))
				last = now
			}
		}
	})
	return h
}

func (h *heartbeat) stop() time.Duration {
	close(h.end)
	h.done.Wait()
	return time.Duration(h.late.Load())
}
