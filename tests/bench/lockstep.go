package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/feed/synthetic"
)

// lockStep measures msup run at full speed: the synthetic market, two instances, the real ledger, every event waiting for all answers.
func lockStep(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	db, err := r.openState("lockstep")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	market, err := synthetic.New(synthetic.Options{Seed: 1, Events: p.feed, Faults: synthetic.DefaultFaults()})
	if err != nil {
		return fmt.Errorf("making a synthetic market: %w", err)
	}
	defer func() { err = errors.Join(err, market.Close()) }()
	k, err := r.plain()
	if err != nil {
		return err
	}
	s := &supervisor.Supervisor{Logger: r.log}
	everything := func(kind ipc.EventKind, _ ipc.InstrumentID) bool { return kind == ipc.KindQuote }
	var all []*live
	for range 2 {
		address := r.address()
		store, err := db.OpenInstance(address)
		if err != nil {
			return fmt.Errorf("opening an instance's ledger: %w", err)
		}
		l, err := r.prepare(wiring{kind: k, address: address, ledger: &durable{Instance: store}})
		if err != nil {
			return err
		}
		all = append(all, l)
		s.Members = append(s.Members, &supervisor.Member{Instance: l.Instance, Subscribe: everything})
	}
	s.Start(ctx)
	defer s.Stop()
	for _, l := range all {
		if err := l.begun(ctx); err != nil {
			return err
		}
	}
	begin := time.Now()
	n, err := s.Play(ctx, market, supervisor.Pace{})
	if err != nil {
		return fmt.Errorf("playing the market: %w", err)
	}
	took := time.Since(begin).Seconds()
	answers := uint64(0)
	for _, l := range all {
		answers += l.meter.answers.Load()
		if err := l.meter.problem(); err != nil {
			return err
		}
	}
	f.add("lock step of two instances on the synthetic market", float64(n)/took, "events/s", 0, "")
	f.add("lock step of two instances on the synthetic market, deliveries", float64(answers)/took, "1/s", 0, "")
	return nil
}
