package hostile

import (
	"flag"
	"testing"

	"github.com/msup/msup/tests/hostile/crowd"
)

var (
	idleInstances  = flag.Int("idle", 20, "how many idle instances the process sandbox gets")
	idleContainers = flag.Int("idle-containers", 0, "how many idle instances containers get")
)

// Many strategies that have nothing to do stay small, cost no processor, and leave nothing.
//
// Proves: NN-2, SB-L1, SB-L3, SB-2, SB-6
func TestIdleInstances(t *testing.T) {
	for _, l := range []level{levelRoot, levelContainer} {
		n := *idleInstances
		if l == levelContainer {
			n = *idleContainers
		}
		if n == 0 {
			continue
		}
		t.Run(string(l), func(t *testing.T) {
			h := newHost(t, l)
			// What a sandbox has from its first runner on is not the crowd's.
			first := h.start(t.Context(), "neighbour:Idler", limits, h.calm())
			if err := first.deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			line := crowd.Check(t, "Python at "+string(l), n, crowd.Bounds{MemoryBytes: 64 << 20, SupervisorKiB: 2048, Descriptors: 16, CPU: 0.05},
				func(int) (*crowd.Member, error) {
					s := h.start(t.Context(), "neighbour:Idler", limits, h.calm())
					err := s.deliver(t.Context())
					s.mu.Lock()
					defer s.mu.Unlock()
					if len(s.runners) == 0 {
						t.Fatalf("no runner was started: %v, %q", err, s.lines)
					}
					return &crowd.Member{Runner: s.runners[0], Ask: func() error { return s.deliver(t.Context()) }, End: s.end}, err
				})
			if err := first.end(); err != nil {
				t.Error(err)
			}
			summary.WriteString(line)
		})
	}
}
