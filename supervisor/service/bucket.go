package service

import (
	"sync"
	"time"
)

// bucket is a token bucket: so many requests a second, and a burst of as many as a second brings, at least one.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	most   float64
	tokens float64
	last   time.Time
}

func newBucket(perSecond float64, now time.Time) *bucket {
	most := max(1, perSecond)
	return &bucket{rate: perSecond, most: most, tokens: most, last: now}
}

// take takes one token, if there is one.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.last); d > 0 {
		b.tokens, b.last = min(b.most, b.tokens+d.Seconds()*b.rate), now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
