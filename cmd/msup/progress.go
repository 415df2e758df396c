package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/supervisor/boundary/feed"
)

// progressAfter is how long a run may take before it shows where it is.
const progressAfter = 2 * time.Second

// progress shows on a terminal how far a feed is, twice a second; elsewhere every ten seconds a line.
type progress struct {
	app    *app
	source feed.Source
	events atomic.Uint64
	began  time.Time
	done   chan struct{}
	wg     sync.WaitGroup
}

func (a *app) startProgress(source feed.Source) *progress {
	p := &progress{app: a, source: source, began: time.Now(), done: make(chan struct{})}
	if a.quiet {
		return p
	}
	p.wg.Add(1)
	go p.show()
	return p
}

func (p *progress) event(n uint64) { p.events.Store(n) }

func (p *progress) show() {
	defer p.wg.Done()
	every, format := 10*time.Second, "%3.0f %%  %d events  %.0f/s\n"
	if p.app.terminal() {
		every, format = 500*time.Millisecond, "\r%3.0f %%  %d events  %.0f/s   "
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	drawn := false
	for {
		select {
		case <-p.done:
			if drawn && p.app.terminal() {
				fmt.Fprintln(p.app.stderr)
			}
			return
		case <-tick.C:
			elapsed := time.Since(p.began)
			if elapsed < progressAfter {
				continue
			}
			drawn = true
			n := p.events.Load()
			fmt.Fprintf(p.app.stderr, format, 100*p.source.Progress(), n, float64(n)/elapsed.Seconds())
		}
	}
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}
