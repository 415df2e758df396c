package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/tests/memory"
)

// coldStart measures from the start of a runner to its answer to on_init, and the parts in between.
func coldStart(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, k := range r.kinds {
		parts := []struct {
			name string
			ms   []float64
		}{{name: "spawn: the walls stand"}, {name: "connect: the program runs"}, {name: "hello: strategy loaded"}, {name: "init: on_init answered"}}
		var total []float64
		for range p.starts {
			marks, err := r.coldStart(ctx, k)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			for i := range parts {
				parts[i].ms = append(parts[i].ms, milliseconds(marks[i+1].Sub(marks[i])))
			}
			total = append(total, milliseconds(marks[len(parts)].Sub(marks[0])))
		}
		f.add("cold start of "+k.name+" to the answer of on_init", median(total), "ms", 0, k.cold)
		for _, part := range parts {
			f.add("cold start of "+k.name+", "+part.name, median(part.ms), "ms", 0, "")
		}
	}
	return nil
}

func (r *rig) coldStart(ctx context.Context, k *kind) (marks [5]time.Time, err error) {
	a := r.address()
	init := r.init(a, k, wiring{every: 1})
	marks[0] = time.Now()
	runner, err := k.box.Start(ctx, k.spec(a))
	if err != nil {
		return marks, err
	}
	defer func() { err = errors.Join(err, runner.Kill()) }()
	marks[1] = time.Now()
	if _, err := runner.Conn(ctx); err != nil {
		return marks, err
	}
	marks[2] = time.Now()
	s, err := supervisor.OpenSession(ctx, runner, k.pack.Hash, 0)
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
func killToIntent(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, k := range r.kinds {
		name := "kill -9 of a " + k.name + " runner → next intent"
		took, err := r.kill(ctx, p, wiring{kind: k, prepared: true})
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		f.add(name, median(took), "ms", 0, k.kill)
		if k.prepared == nil {
			continue
		}
		if took, err = r.kill(ctx, p, wiring{kind: k}); err != nil {
			return fmt.Errorf("%s, nothing prepared: %w", k.name, err)
		}
		f.add(name+", nothing prepared", median(took), "ms", 0, "")
	}
	return nil
}

func (r *rig) kill(ctx context.Context, p plan, w wiring) (took []float64, err error) {
	var victim sandbox.Runner
	w.every, w.ledger, w.started = 1, &memory.Ledger{Keeps: true}, func(x sandbox.Runner) { victim = x }
	l, err := r.start(ctx, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	for range p.starts {
		for range 20 { // steps to replay
			if _, _, err := l.step(ctx); err != nil {
				return nil, err
			}
		}
		if err := w.awaitPrepared(ctx); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := unix.Kill(victim.PID(), unix.SIGKILL); err != nil { // alive: it has just answered
			return nil, fmt.Errorf("killing a runner: %w", err)
		}
		if err := l.untilOffer(ctx); err != nil {
			return nil, err
		}
		took = append(took, milliseconds(l.meter.offered.Sub(begin)))
	}
	return took, nil
}

// untilOffer publishes quotes until one has made an order: the event that finds a runner dead is skipped, the one after it makes the intent.
func (l *live) untilOffer(ctx context.Context) error {
	for offers := l.meter.offers.Load(); l.meter.offers.Load() == offers; {
		if err := l.publish(ctx); err != nil {
			return err
		}
		if err := l.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publish gives the instance its next quote.
func (l *live) publish(ctx context.Context) error {
	bytes, recv, err := quote(l.next)
	if err != nil {
		return err
	}
	l.next++
	if err := l.Publish(ctx, supervisor.Market{Recv: recv, Event: bytes}); err != nil {
		return fmt.Errorf("publishing a quote: %w", err)
	}
	return nil
}

// awaitPrepared waits until the next start is made in advance; in use there are minutes between two losses.
func (w *wiring) awaitPrepared(ctx context.Context) error {
	pool, ok := w.kind.prepared.(interface{ Prepared() int })
	if !w.prepared || !ok {
		return nil
	}
	for begin := time.Now(); pool.Prepared() == 0; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil || time.Since(begin) > patience {
			return errors.Join(errors.New("the next start was not prepared"), ctx.Err())
		}
	}
	return nil
}
