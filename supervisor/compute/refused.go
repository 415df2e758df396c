package compute

import (
	"sync"

	"github.com/msup/msup/sandbox"
)

// refused counts what the runners of a part were refused: each one from its start to after its end, every refusal once.
type refused struct {
	mu      sync.Mutex
	runners map[sandbox.Runner]*counted
	ended   []sandbox.Violation // of runners that are gone; the ceiling of restarts bounds it
}

// counted is what was counted of a runner when it was last looked at.
type counted struct {
	usage sandbox.Usage
	logs  sandbox.LogStats
}

func (c *counted) since(usage sandbox.Usage, logs sandbox.LogStats) []sandbox.Violation {
	v := sandbox.Since(c.usage, usage, c.logs, logs)
	c.usage, c.logs = usage, logs
	return v
}

func (f *refused) watch(r sandbox.Runner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runners == nil {
		f.runners = map[sandbox.Runner]*counted{}
	}
	f.runners[r] = &counted{}
}

// end takes the last counters of a runner that has ended.
func (f *refused) end(r sandbox.Runner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.runners[r]; c != nil {
		f.ended = append(f.ended, c.since(r.Exit().Usage, r.Logs())...)
		delete(f.runners, r)
	}
}

// take returns what was refused since the last call.
func (f *refused) take() []sandbox.Violation {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.ended
	f.ended = nil
	for r, c := range f.runners {
		usage, err := r.Usage()
		if err != nil {
			continue // it ends: its last counters come with end
		}
		all = append(all, c.since(usage, r.Logs())...)
	}
	return all
}
