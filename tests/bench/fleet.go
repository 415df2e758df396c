package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/lease"
)

// run is a supervisor: it finds what an earlier one left, takes leases and ledger, restores every instance, and lets them trade until ctx ends.
func (v *victim) run(ctx context.Context) (err error) {
	r := &rig{dir: v.Dir, state: v.State, store: v.Store, log: quiet(), keeps: true, replaces: true, say: func(string, ...any) {}}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.openKinds(ctx, []string{v.Kind}, v.Hashes); err != nil {
		return err
	}
	k := r.kind(v.Kind)
	if k == nil {
		return fmt.Errorf("there is no %s here", v.Kind)
	}
	leases, err := lease.Open(lease.Options{Dir: filepath.Join(v.Dir, "leases"), Nonce: ipc.Nonce{1}, Logger: r.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leases.Close()) }()
	db, err := r.openState("ledger")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var all []*live
	defer func() {
		for _, l := range all { // all at once, then each
			l.Stop()
		}
		for _, l := range all {
			err = errors.Join(err, l.stop())
		}
	}()
	var drivers sync.WaitGroup
	defer drivers.Wait()
	for i := range v.Instances {
		w := wiring{kind: k, prepared: true, every: 1, address: r.address()}
		held, err := leases.Acquire(ctx, w.address)
		if err != nil {
			return err
		}
		store, err := db.OpenInstance(w.address)
		if err != nil {
			return err
		}
		w.lease, w.ledger = held, &durable{Instance: store}
		// Not ctx: the instances are stopped in order.
		l, err := r.launch(context.WithoutCancel(ctx), w)
		if err != nil {
			return err
		}
		l.next = v.First
		all = append(all, l)
		drivers.Go(func() { v.drive(ctx, l, i) })
	}
	<-ctx.Done()
	return nil
}

// drive publishes quotes to one instance and tells when it trades. What goes wrong ends the talk, which the benchmark notices.
func (v *victim) drive(ctx context.Context, l *live, number int) {
	before := uint64(0)
	for ctx.Err() == nil {
		if err := errors.Join(l.publish(ctx), l.settle(ctx)); err != nil {
			if ctx.Err() == nil {
				v.say(err.Error(), number)
			}
			return
		}
		// Verdicts, not offers: what an earlier supervisor did not get settled is offered again before the first event.
		verdicts := l.meter.verdicts.Load()
		if before == 0 && verdicts > 0 {
			v.say(saysTrades, number)
		}
		if before < victimOffers && verdicts >= victimOffers {
			v.say(saysReplays, number)
		}
		before = verdicts
		time.Sleep(time.Millisecond) // a market, not a flood
	}
}
