package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/tests/memory"
)

// hogs are what compute parts do when they burn (NN-4). What the walls refuse they try again at once.
var hogs = []struct{ name, script string }{
	{"spin", "while True: pass"},
	{"allocate", "import random\nwhile True:\n    b = bytearray(100 << 20)\n    for i in range(0, len(b), 4096): b[i] = 1"},
	{"fork", "import os, threading\nwhile True:\n    try: os.fork() or os._exit(0)\n    except OSError: pass\n    try: threading.Thread(target=sum, args=(range(1000),)).start()\n    except RuntimeError: pass"},
	{"log", "import sys\nwhile True: sys.stdout.write('x' * 900 + '\\n')"},
}

// lanes measures event → intent alone, beside a compute lane that burns every processor, and beside a compute runner that is killed and
// started over and over, in turns (LN-3, DOD-4). The compute lane's runners are the helper's, as they are in msup run under root; without root
// there is no helper, and the supervisor does their starts itself.
func lanes(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	helped, endHelper, err := r.openHelper(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endHelper()) }()
	for _, k := range r.kinds {
		if k.word != "python" && k.word != "wasm" {
			continue
		}
		if err := lanesOf(ctx, r, p, f, k, helped); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// besides are what the low-latency lane is measured beside.
func (r *rig) besides(ctx context.Context, p plan, helped sandbox.Sandbox) []beside {
	const restarts = "beside a compute runner that is killed and started"
	return []beside{
		{"alone", func() (func() error, error) { return func() error { return nil }, nil }, false},
		{fmt.Sprintf("beside %d hogs a processor in the compute lane", p.hogs), func() (func() error, error) { return r.burn(ctx, helped, p.hogs*len(r.cpus)) }, true},
		{restarts, func() (func() error, error) { return r.churn(ctx, helped) }, true},
		{restarts + " without a helper", func() (func() error, error) { return r.churn(ctx, r.box) }, false},
	}
}

// beside is one neighbourhood.
type beside struct {
	name  string
	begin func() (end func() error, err error)
	goal  bool // it is in the budget
}

func lanesOf(ctx context.Context, r *rig, p plan, f *figures, k *kind, helped sandbox.Sandbox) (err error) {
	l, err := r.start(ctx, wiring{kind: k, every: 1, ledger: &memory.Ledger{}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	if _, _, err := l.run(ctx, min(1000, p.exchanges)); err != nil {
		return err
	}
	all := r.besides(ctx, p, helped)
	taken := make([]sample, len(all))
	for range p.rounds {
		for i, b := range all {
			end, err := b.begin()
			if err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			inside, _, err := l.run(ctx, p.exchanges)
			if err = errors.Join(err, end()); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			taken[i] = append(taken[i], inside...)
		}
	}
	for i, b := range all {
		for _, q := range []struct {
			name  string
			share float64
			goal  string
		}{{"p50", 0.50, ""}, {"p99", 0.99, "<= 1.2"}, {"p99.9", 0.999, ""}} {
			value, floor := taken[i].quantile(q.share), taken[0].quantile(q.share)
			if i == 0 {
				f.add(k.name+" event→intent "+q.name+", "+b.name, value, "µs", 0, "")
				continue
			}
			goal := ""
			if b.goal {
				goal = q.goal
			}
			f.add(k.name+" event→intent "+q.name+" ÷ alone, "+b.name, value/floor, "×", floor, goal)
		}
	}
	return nil
}

// hog starts one in the lane and behind the walls of a compute part.
func (r *rig) hog(ctx context.Context, box sandbox.Sandbox, script string) (sandbox.Runner, error) {
	// Only what may talk to the supervisor has the weight of its lane: a job without a socket is waited for.
	return box.Start(ctx, sandbox.Spec{Address: r.address(), Lane: ipc.LaneCompute, NeedSocket: true, Argv: r.python.Argv("-c", script),
		Env: r.python.Env, Binds: r.python.Binds, Limits: sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 16}})
}

// burn starts so many hogs, of every sort in turn.
func (r *rig) burn(ctx context.Context, box sandbox.Sandbox, n int) (end func() error, err error) {
	var running []sandbox.Runner
	end = func() error {
		var all error
		for _, runner := range running {
			all = errors.Join(all, runner.Kill())
		}
		return all
	}
	for i := range n {
		h := hogs[i%len(hogs)]
		runner, err := r.hog(ctx, box, h.script)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting a hog that would %s: %w", h.name, err), end())
		}
		running = append(running, runner)
	}
	time.Sleep(burnIn)
	if i := slices.IndexFunc(running, ended); i >= 0 {
		e := running[i].Exit()
		return nil, errors.Join(fmt.Errorf("the hog that should %s ended: %s %s", hogs[i%len(hogs)].name, e, e.Stderr), end())
	}
	return end, nil
}

// burnIn lets hogs get past their interpreter's start.
const burnIn = 500 * time.Millisecond

func ended(r sandbox.Runner) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

// churn starts and kills a spinning compute runner until end is called.
func (r *rig) churn(ctx context.Context, box sandbox.Sandbox) (end func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			runner, err := r.hog(ctx, box, hogs[0].script)
			if err != nil {
				if ctx.Err() == nil {
					done <- fmt.Errorf("starting a runner to be killed: %w", err)
					return
				}
				break
			}
			time.Sleep(20 * time.Millisecond)
			if err := runner.Kill(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() error {
		cancel()
		return <-done
	}, nil
}
