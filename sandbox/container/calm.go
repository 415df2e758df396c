package container

import (
	"sync"
	"time"
)

const (
	// quiet is how long no start must have been under way before something is made in advance: a strategy that has connected still imports,
	// initializes and reads its log again.
	quiet = 500 * time.Millisecond
	// unrest bounds the waiting for that, so that one instance that is started over and over does not keep all others from a prepared start.
	unrest = 10 * time.Second
)

// calm counts the starts that somebody waits for. What is made in advance waits for their end: the successors of the first instances took the
// processors from the starts of the last, 0.5 s of the 3.5 after a kill -9 of a supervisor with 20 instances.
type calm struct {
	quiet, unrest time.Duration

	mu     sync.Mutex
	starts int
	since  time.Time     // of the last end
	ended  chan struct{} // closed when the last start that is under way ends; nil when none is
}

// begin counts one start, which its end gives back.
func (c *calm) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starts++; c.starts == 1 {
		c.ended = make(chan struct{})
	}
}

func (c *calm) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starts--; c.starts == 0 {
		c.since = time.Now()
		close(c.ended)
		c.ended = nil
	}
}

// left is how long the quiet still has to last, and what to wait for where it has not begun.
func (c *calm) left() (time.Duration, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quiet - time.Since(c.since), c.ended
}

// wait returns when it is quiet, or has not become so for long. It reports false when stop was first.
func (c *calm) wait(stop <-chan struct{}) bool {
	deadline := time.NewTimer(c.unrest)
	defer deadline.Stop()
	for {
		select {
		case <-stop:
			return false
		default:
		}
		left, ended := c.left()
		var over <-chan time.Time
		if ended == nil {
			if left <= 0 {
				return true
			}
			over = time.After(left)
		}
		select {
		case <-stop:
			return false
		case <-deadline.C:
			return true
		case <-ended:
		case <-over:
		}
	}
}
