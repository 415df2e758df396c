package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/msup/msup/ipc"
)

// restore measures, for every language, what a checkpoint costs and how long an instance takes to go on from one, or from its whole log:
// opening the ledger, verifying it, starting a runner and bringing it to where it was, up to the answer to the next event. Containers
// add what their start takes longer, which section start tells.
func restore(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, k := range r.kinds {
		if k.prepared != nil && r.kind("python") != nil {
			continue
		}
		for _, bytes := range p.states {
			if err := r.restoreCheckpoint(ctx, k, p, f, bytes); err != nil {
				return fmt.Errorf("%s, a checkpoint of %d bytes: %w", k.name, bytes, err)
			}
		}
		var all []float64
		for range p.restores {
			_, took, err := r.interrupted(ctx, wiring{kind: k, every: ordersPer}, p.replay, true)
			if err != nil {
				return fmt.Errorf("%s, %d steps: %w", k.name, p.replay, err)
			}
			all = append(all, milliseconds(took))
		}
		f.add(fmt.Sprintf("restore of %s by the replay of %d steps", k.name, p.replay), median(all), "ms", 0, "")
	}
	return nil
}

func (r *rig) restoreCheckpoint(ctx context.Context, k *kind, p plan, f *figures, bytes int64) error {
	w := wiring{kind: k, every: 1, ballast: bytes}
	held, err := r.checkpointTime(ctx, w, p.restores)
	if err != nil {
		return err
	}
	var saved, restored []float64
	for range p.restores {
		save, took, err := r.interrupted(ctx, w, 10, false)
		if err != nil {
			return err
		}
		saved, restored = append(saved, milliseconds(save)), append(restored, milliseconds(took))
	}
	at := fmt.Sprintf(" of %g MB, %s", float64(bytes)/1e6, k.name)
	f.add("checkpoint"+at+": the pump waits for the state", median(held), "ms", 0, "")
	f.add("checkpoint"+at+": written and verified beside the pump", median(saved), "ms", 0, "")
	f.add("restore from a checkpoint"+at, median(restored), "ms", 0, "")
	return nil
}

// checkpointTime asks a runner for its state.
func (r *rig) checkpointTime(ctx context.Context, w wiring, n int) (ms []float64, err error) {
	s, err := r.newStudent(ctx, w.kind, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.session.Close(patience)) }()
	for range n {
		begin := time.Now()
		state, _, err := s.session.Checkpoint(s.state.StepNo, ipc.MaxStateBytes)
		if err != nil {
			return nil, fmt.Errorf("asking for a checkpoint: %w", err)
		}
		ms = append(ms, milliseconds(time.Since(begin)))
		if int64(len(state)) < w.ballast {
			return nil, fmt.Errorf("a checkpoint of %d bytes, its ballast alone has %d", len(state), w.ballast)
		}
	}
	return ms, nil
}

// interrupted runs an instance for some steps, ends it, and opens everything again. saved is what its last checkpoint took; with forgets
// there is none, as after kill -9 before the first.
func (r *rig) interrupted(ctx context.Context, w wiring, steps int, forgets bool) (saved, restored time.Duration, err error) {
	const name = "restore"
	w.address = r.address()
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Join(r.state, name))) }()
	var next uint64
	life := func(run func(l *live) error) (saves []time.Duration, err error) {
		db, err := r.openState(name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		store, err := db.OpenInstance(w.address)
		if err != nil {
			return nil, fmt.Errorf("opening an instance's ledger: %w", err)
		}
		ledger := &durable{Instance: store, forgets: forgets}
		w.ledger = ledger
		l, err := r.launch(ctx, w)
		if err != nil {
			return nil, err
		}
		l.next = next
		err = run(l)
		next = l.next
		err = errors.Join(err, l.stop())
		return ledger.saves, err
	}
	saves, err := life(func(l *live) error {
		for range steps {
			if err := l.publish(ctx); err != nil {
				return err
			}
		}
		return l.settle(ctx)
	})
	if err != nil {
		return 0, 0, err
	}
	if !forgets {
		if len(saves) == 0 {
			return 0, 0, errors.New("no checkpoint was saved")
		}
		saved = saves[len(saves)-1]
	}
	begin := time.Now()
	_, err = life(func(l *live) error {
		if err := errors.Join(l.publish(ctx), l.settle(ctx)); err != nil {
			return err
		}
		restored = time.Since(begin)
		if n := l.meter.answers.Load(); n == 0 || w.every == 1 && l.meter.offers.Load() == 0 {
			return fmt.Errorf("the restored instance answered %d events and offered %d orders", n, l.meter.offers.Load())
		}
		return nil
	})
	return saved, restored, err
}
