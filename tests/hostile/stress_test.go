package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/tests/hostile/heartbeat"
)

var (
	stressAll  = flag.Bool("stress-all", false, "every stressor at every level, for -stress-each")
	stressEach = flag.Duration("stress-each", 10*time.Second, "how long each stressor runs with -stress-all")
)

// stressors are of a program that nobody here wrote. Each is a class of load: processors, caches, memory, mappings, files, pipes,
// sockets, timers, signals, threads, and the calls that kernels had holes in.
var stressors = strings.Fields(`af-alg aio bigheap brk cache clock cpu dentry dir epoll eventfd fault fcntl futex get hdd io-uring itimer
	kill malloc memcpy mmap mmapfork mremap pipe poll seek sigq sock stack stream switch sysbadaddr timer timerfd userfaultfd vm`)

// inContainers are those that a container gets when time is short: one of each class that the walls of L1 and L3 bound in different ways.
var inContainers = strings.Fields("brk cpu hdd pipe sysbadaddr vm")

// A strategy may not fork, and stress-ng does its work in children: this library lets it go on in the one process that it has, under the
// strategy's own walls. It ends when it is killed.
const noFork = `#include <sys/types.h>
pid_t fork(void) { return 0; }
pid_t vfork(void) { return 0; }
`

// Proves: NN-2, DOD-2, SB-L1, SB-2, SB-6, SB-8
func TestStressNG(t *testing.T) {
	each := 2 * time.Second
	if *stressAll {
		each = *stressEach
	}
	stress(t, levelRoot, stressors, each)
}

// The same in containers.
//
// Proves: NN-2, DOD-2, SB-L3, SB-2, SB-6, SB-8
func TestStressNGInContainers(t *testing.T) {
	names, each := inContainers, time.Second
	if *stressAll {
		names, each = stressors, *stressEach
	}
	stress(t, levelContainer, names, each)
}

func stress(t *testing.T, l level, names []string, each time.Duration) {
	binary, err := exec.LookPath("stress-ng")
	if err != nil {
		t.Fatalf("%v: install it (make setup does)", err)
	}
	dir := tempDir(t, 0o755)
	source, library := filepath.Join(dir, "nofork.c"), filepath.Join(dir, "nofork.so")
	if err := os.WriteFile(source, []byte(noFork), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h := newHost(t, l)
	calm := h.calm()
	neighbour := h.start(t.Context(), "neighbour:"+neighbourClass, limits, calm)
	if err := neighbour.deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	var (
		mu     sync.Mutex
		work   sync.WaitGroup
		places = make(chan struct{}, *atOnce)
		alone  sync.RWMutex    // what is repeated runs by itself
		took   []time.Duration // of the neighbour
		latest time.Duration   // of the supervisor's heartbeat
	)
	for _, name := range names {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			var used sandbox.Exit
			var err error
			strain := func() { used, err = h.strain(t.Context(), binary, dir, name, each) }
			alone.RLock()
			late, slow := heartbeat.Within(1, strain)
			alone.RUnlock()
			if slow != nil && err == nil {
				alone.Lock()
				late, slow = heartbeat.Within(repeats-1, strain)
				alone.Unlock()
			}
			err = errors.Join(err, slow)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			began := time.Now()
			if err := neighbour.deliver(t.Context()); err != nil {
				t.Errorf("the neighbour beside %s: %v", name, err)
			}
			took, latest = append(took, time.Since(began)), max(latest, late)
			fmt.Fprintf(&summary, "stress-ng %-14s %-4s CPU %6s, memory at most %4d MiB, %s\n", name, l, used.Usage.CPU.Round(time.Millisecond), used.Usage.MemoryPeakBytes>>20, used)
		})
	}
	work.Wait()
	if err := neighbour.end(); err != nil {
		t.Error(err)
	}
	compareAlone(t, h, calm, neighbour)
	slices.Sort(took)
	fmt.Fprintf(&summary, "%d stressors at %s for %s each; the neighbour's answer took %s at the median, %s at most; heartbeat at most %s late\n\n", len(names), l, each,
		took[len(took)/2], took[len(took)-1], latest.Round(time.Microsecond))
}

// strain runs one stressor and kills it. Its ceilings have to hold, and nothing of it may stay.
func (h *host) strain(ctx context.Context, binary, dir, name string, each time.Duration) (sandbox.Exit, error) {
	var quiet witness
	spec := h.spec(ipc.Address{Bot: "hostile", Strategy: "stress", Instance: ipc.InstanceID(name)}, "", limits, quiet.line)
	spec.Argv = []string{binary, "--" + name, "1", "--timeout", "1h", "--temp-path", "/tmp", "--oomable"}
	spec.Env = append(slices.Clone(h.runtime.Env), "LD_PRELOAD=/stress/nofork.so")
	spec.Binds = append(slices.Clone(h.runtime.Binds), sandbox.Bind{Source: dir, Target: "/stress"})
	spec.Dir, spec.NeedSocket = "/tmp", false
	r, err := h.box.Start(ctx, spec)
	if err != nil {
		return sandbox.Exit{}, err
	}
	select {
	case <-r.Done(): // it was ended by a ceiling, or by a refusal
	case <-time.After(each):
	}
	if err := r.Kill(); err != nil {
		return r.Exit(), err
	}
	e := r.Exit()
	l := limits.OrDefault()
	switch {
	case e.Reason == "" || e.Detail == "":
		return e, fmt.Errorf("exit %+v does not say why", e)
	case e.Cause == sandbox.CauseSetupFailed:
		return e, fmt.Errorf("it never started: %s; %s", e.Detail, e.Stderr)
	case e.Usage.MemoryPeakBytes > l.MemoryBytes+1<<20:
		return e, fmt.Errorf("it had %d bytes of memory", e.Usage.MemoryPeakBytes)
	// The quota is per period of 100 ms; what runs may finish its slice.
	case e.Usage.CPU > time.Duration(float64(each)*l.CPUQuota*1.3)+time.Second:
		return e, fmt.Errorf("it used %s of processor time in %s", e.Usage.CPU, each)
	case r.Logs().Bytes > l.LogBytesPerRun:
		return e, fmt.Errorf("it logged %d bytes", r.Logs().Bytes)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID())); err == nil {
		return e, fmt.Errorf("process %d is still there", r.PID())
	}
	return e, nil
}
