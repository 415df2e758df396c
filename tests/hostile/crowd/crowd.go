package crowd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
)

// Member is one instance of the crowd.
type Member struct {
	Runner sandbox.Runner
	Ask    func() error // has it answer one event
	End    func() error // stops it, in order
}

// Bounds are what an idle instance may cost.
type Bounds struct {
	MemoryBytes   int64   // of its runner, as its control group counts it
	SupervisorKiB int64   // share of the supervisor's memory
	Descriptors   int     // of the supervisor
	CPU           float64 // of one core, the supervisor's share included
}

const (
	idleFor  = time.Second
	patience = 30 * time.Second // for what takes ms on an idle machine
)

// Check starts n instances, looks at them, stops them, and returns a line about them.
func Check(t *testing.T, what string, n int, bounds Bounds, start func(n int) (*Member, error)) string {
	t.Helper()
	before := observe(t)
	var all []*Member
	var took []time.Duration
	for i := range n {
		began := time.Now()
		m, err := start(i)
		if m != nil { // also what did not come as far as an answer has to end
			all = append(all, m)
		}
		if err == nil {
			err = m.Ask()
		}
		if err != nil {
			t.Errorf("%s: instance %d of %d: %v", what, i+1, n, err)
			break
		}
		took = append(took, time.Since(began))
	}
	cost := Bounds{}
	if !t.Failed() {
		cost = idle(t, before, all)
		for _, m := range slices.Backward(all) { // the youngest first: another order than that of their starts
			if err := m.Ask(); err != nil {
				t.Errorf("%s beside the others: %v", what, err)
			}
		}
	}
	began := time.Now()
	end(t, all)
	ended := time.Since(began)
	before.wantBack(t)
	if t.Failed() {
		return ""
	}
	if cost.MemoryBytes > bounds.MemoryBytes || cost.SupervisorKiB > bounds.SupervisorKiB || cost.Descriptors > bounds.Descriptors || cost.CPU > bounds.CPU {
		t.Errorf("%s: one of %d idle instances costs %+v, more than %+v", what, n, cost, bounds)
	}
	slices.Sort(took)
	return fmt.Sprintf("%d idle instances of %s: %.1f MiB each and %d KiB of the supervisor, %d descriptors, %.2f %% of a core; started in %s at the median, %s at most; stopped in %s\n",
		n, what, float64(cost.MemoryBytes)/(1<<20), cost.SupervisorKiB, cost.Descriptors, 100*cost.CPU,
		took[n/2].Round(time.Millisecond), took[n-1].Round(time.Millisecond), ended.Round(time.Millisecond))
}

// idle is what one of them costs while nothing happens, at the mean.
func idle(t *testing.T, before state, all []*Member) Bounds {
	t.Helper()
	used := func() (sum sandbox.Usage) {
		for _, m := range all {
			u, err := m.Runner.Usage()
			if err != nil || u.MemoryBytes <= 0 {
				t.Errorf("usage %+v, %v", u, err)
			}
			sum.CPU, sum.MemoryBytes = sum.CPU+u.CPU, sum.MemoryBytes+u.MemoryBytes
		}
		return sum
	}
	n := len(all)
	began, then, own := time.Now(), used(), ownCPU(t)
	time.Sleep(idleFor)
	now, wall := used(), time.Since(began)
	cpu := now.CPU - then.CPU + ownCPU(t) - own
	after := observe(t)
	return Bounds{MemoryBytes: now.MemoryBytes / int64(n), SupervisorKiB: max(0, after.residentKiB-before.residentKiB) / int64(n),
		Descriptors: (after.descriptors - before.descriptors) / n, CPU: cpu.Seconds() / wall.Seconds() / float64(n)}
}

// end stops all of them at once.
func end(t *testing.T, all []*Member) {
	t.Helper()
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, m := range all {
		work.Go(func() { errs[i] = m.End() })
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	for _, m := range all {
		select {
		case <-m.Runner.Done():
		case <-time.After(patience):
			t.Errorf("runner %d does not end", m.Runner.PID())
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", m.Runner.PID())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("process %d is still there: %v", m.Runner.PID(), err)
		}
	}
}

// state is what the supervisor holds.
type state struct {
	descriptors, goroutines int
	residentKiB             int64
}

func observe(t *testing.T) state {
	t.Helper()
	runtime.GC()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	s := state{descriptors: len(entries), goroutines: runtime.NumGoroutine()}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if s.residentKiB, err = strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// wantBack waits until no more is held than before: what ends may take a moment to be gone.
func (s state) wantBack(t *testing.T) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		now := observe(t)
		if now.descriptors <= s.descriptors && now.goroutines <= s.goroutines {
			return
		}
		if time.Since(began) > patience {
			t.Errorf("%d descriptors and %d goroutines are left, %d and %d were before", now.descriptors, now.goroutines, s.descriptors, s.goroutines)
			return
		}
	}
}

func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
