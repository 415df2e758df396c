package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
)

// coldStart measures from the start of a runner to its answer to on_init, and the parts in between.
func coldStart(ctx context.Context, r *rig, p plan, f *figures) error {
	parts := []struct {
		name string
		ms   []float64
	}{{name: "spawn: the sandbox stands"}, {name: "connect: the interpreter runs"}, {name: "import: strategy loaded, hello"}, {name: "init: on_init answered"}}
	var total []float64
	for range p.starts {
		marks, err := r.coldStart(ctx)
		if err != nil {
			return err
		}
		for i := range parts {
			parts[i].ms = append(parts[i].ms, milliseconds(marks[i+1].Sub(marks[i])))
		}
		total = append(total, milliseconds(marks[len(parts)].Sub(marks[0])))
	}
	f.add("cold start of a python process to the answer of on_init", median(total), "ms", 0, "<= 60")
	for _, part := range parts {
		f.add("cold start, "+part.name, median(part.ms), "ms", 0, "")
	}
	return nil
}

func (r *rig) coldStart(ctx context.Context) (marks [5]time.Time, err error) {
	a := r.address()
	init := r.init(a, 1)
	marks[0] = time.Now()
	runner, err := r.box.Start(ctx, r.spec(a))
	if err != nil {
		return marks, err
	}
	defer func() { err = errors.Join(err, runner.Kill()) }()
	marks[1] = time.Now()
	if _, err := runner.Conn(ctx); err != nil {
		return marks, err
	}
	marks[2] = time.Now()
	s, err := supervisor.OpenSession(ctx, runner, r.pack.Hash, 0)
	if err != nil {
		return marks, fmt.Errorf("opening a session: %w", err)
	}
	marks[3] = time.Now()
	if a, err := s.Init(init, nil); err != nil || a.Fault != nil {
		return marks, fmt.Errorf("on_init: %w, %+v", err, a)
	}
	marks[4] = time.Now()
	return marks, nil
}

// killToIntent measures from kill -9 of a runner to the next intent: the loss is found at the next event, the runner restored from the log.
func killToIntent(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	var victim sandbox.Runner
	l, err := r.start(ctx, wiring{every: 1, ledger: &memory{keep: true}, started: func(x sandbox.Runner) { victim = x }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	var took []float64
	for range p.starts {
		for range 20 { // steps to replay
			if _, _, err := l.step(ctx); err != nil {
				return err
			}
		}
		begin := time.Now()
		if err := unix.Kill(victim.PID(), unix.SIGKILL); err != nil { // alive: it has just answered
			return fmt.Errorf("killing a runner: %w", err)
		}
		// The event that finds the runner dead is skipped; the one after it makes the intent.
		for offers := l.meter.offers.Load(); l.meter.offers.Load() == offers; {
			bytes, recv, err := quote(l.next)
			if err != nil {
				return err
			}
			l.next++
			if err := l.Publish(ctx, supervisor.Market{Recv: recv, Event: bytes}); err != nil {
				return fmt.Errorf("publishing a quote: %w", err)
			}
			if err := l.settle(ctx); err != nil {
				return err
			}
		}
		took = append(took, milliseconds(l.meter.offered.Sub(begin)))
	}
	f.add("kill -9 of a python runner → next intent", median(took), "ms", 0, "")
	return nil
}

// idleMemory measures what one more instance costs while nothing happens.
func idleMemory(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, n := range p.idle {
		runners, supervisorShare, err := r.idle(ctx, n)
		if err != nil {
			return err
		}
		f.add(fmt.Sprintf("memory of an idle python instance, %d instances: runner", n), runners, "MB", 0, "")
		f.add(fmt.Sprintf("memory of an idle python instance, %d instances: share of the supervisor", n), supervisorShare, "MB", 0, "")
	}
	return nil
}

func (r *rig) idle(ctx context.Context, n int) (runner, share float64, err error) {
	before, err := residentMB(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	var all []*live
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.stop())
		}
	}()
	var pids []int
	for range n {
		l, err := r.start(ctx, wiring{every: 1, ledger: &memory{}, started: func(x sandbox.Runner) { pids = append(pids, x.PID()) }})
		if err != nil {
			return 0, 0, err
		}
		all = append(all, l)
	}
	total := 0.0
	for _, pid := range pids {
		mb, err := residentMB(pid)
		if err != nil {
			return 0, 0, err
		}
		total += mb
	}
	after, err := residentMB(os.Getpid())
	return total / float64(n), max(0, after-before) / float64(n), err
}

// residentMB is the proportional set size of a process: pages that several share are counted in parts.
func residentMB(pid int) (mb float64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			return kb / 1e3 * 1.024, err
		}
	}
	return 0, fmt.Errorf("process %d shows no Pss", pid)
}
