package hostile

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/tests/hostile/heartbeat"
)

// What a flood may cost the supervisor.
const (
	floodFor       = 3 * time.Second
	floodCPU       = 0.5      // of one core
	floodHeapBytes = 64 << 20 // above what it was
	floodIntentCPU = 20 * time.Millisecond
)

// The supervisor's processor time, memory and heartbeat while a strategy prints, or writes into its socket, as fast as it can.
//
// Proves: NN-2, SB-4, SB-6, DOD-2
func TestAFloodCostsTheSupervisorLittle(t *testing.T) {
	h := newHost(t, levelRoot)
	d := h.calm()
	d.Hard = floodFor
	for _, entry := range []string{"hostile_resources:LogFlooder", "hostile_resources:LineFlooder", "hostile_protocol:Dripper", "hostile_protocol:SlowFlood", "hostile_swallow:QuietFlooder"} {
		t.Run(entry, func(t *testing.T) {
			var cost cost
			late, err := heartbeat.Within(repeats, func() {
				cost = measure(t, func() {
					s := h.start(t.Context(), entry, limits, d)
					if err := s.deliver(t.Context()); err != nil {
						t.Error(err)
					}
					if err := s.end(); err != nil {
						t.Error(err)
					}
				})
			})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(&summary, "flood %-28s %4.0f %% of a core, %3d MiB above before, heartbeat at most %s late\n", entry, 100*cost.cpu.Seconds()/cost.wall.Seconds(),
				cost.heap>>20, late.Round(time.Microsecond))
			if cost.cpu.Seconds() > floodCPU*cost.wall.Seconds() {
				t.Errorf("the supervisor used %s in %s", cost.cpu, cost.wall)
			}
			if cost.heap > floodHeapBytes {
				t.Errorf("the supervisor's memory grew by %d bytes", cost.heap)
			}
		})
	}
}

// Every answer holds as many intents as it can; the ladder ends it.
//
// Proves: SB-5, SB-7, DOD-2
func TestAFloodOfIntentsEndsInAHalt(t *testing.T) {
	h := newHost(t, levelRoot)
	var s *subject
	const events = 50
	var cost cost
	late, err := heartbeat.Within(repeats, func() {
		cost = measure(t, func() {
			s = h.start(t.Context(), "hostile_intents:Flood", limits, h.calm())
			for range events {
				if err := s.deliver(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := s.end(); err != nil {
				t.Error(err)
			}
		})
	})
	if err != nil {
		t.Error(err)
	}
	fmt.Fprintf(&summary, "flood of %d intents: %s of processor time, %d MiB above before, heartbeat at most %s late\n\n", len(s.intents), cost.cpu.Round(time.Millisecond),
		cost.heap>>20, late.Round(time.Microsecond))
	if s.State().Halted != ipc.ReasonBreakerIntents {
		t.Errorf("halted for %q, want %s", s.State().Halted, ipc.ReasonBreakerIntents)
	}
	if cost.cpu > events*floodIntentCPU || cost.heap > floodHeapBytes {
		t.Errorf("it cost %s and %d bytes", cost.cpu, cost.heap)
	}
}

// cost is what something took of this process.
type cost struct {
	wall, cpu time.Duration
	heap      int64 // at most, above what it was before
}

func measure(t *testing.T, act func()) (c cost) {
	t.Helper()
	before := heapBytes()
	end, done := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				done <- most
				return
			case <-tick.C:
				most = max(most, heapBytes()-before)
			}
		}
	}()
	began, cpu := time.Now(), ownCPU(t)
	act()
	c.wall, c.cpu = time.Since(began), ownCPU(t)-cpu
	close(end)
	c.heap = <-done
	return c
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
