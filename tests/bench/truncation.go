package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/msup/msup/statedb"
)

// truncationWriters persist at the same time: as many as keep the writer busy without hiding a stall behind a queue.
const truncationWriters = 8

// truncation measures what emptying the write-ahead log beside the writer does to the slowest persists: two ledgers in turns, one that
// empties its log as in use, one whose log only grows.
func truncation(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	emptied, err := r.newCommitter("emptied", truncationWriters, statedb.Options{WALTarget: p.walTarget})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emptied.close()) }()
	grows, err := r.newCommitter("grows", truncationWriters, statedb.Options{WALTarget: 1 << 50})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, grows.close()) }()
	var with, without, ratios []float64
	for range p.rounds {
		a, err := emptied.persist(ctx, 4*p.turn)
		if err != nil {
			return err
		}
		b, err := grows.persist(ctx, 4*p.turn)
		if err != nil {
			return err
		}
		with, without, ratios = append(with, a.p99()), append(without, b.p99()), append(ratios, a.p99()/b.p99())
	}
	times := emptied.db.Stats().Emptied
	if times == 0 || grows.db.Stats().Emptied != 0 {
		return fmt.Errorf("the write-ahead log was emptied %d times, and %d times where it should only grow: nothing was measured", times, grows.db.Stats().Emptied)
	}
	at := fmt.Sprintf("persist p99 of %d writers", truncationWriters)
	f.add(at+", the write-ahead log only grows", median(without), "µs", 0, "")
	f.add(at+", the write-ahead log is emptied in between", median(with), "µs", median(without), "")
	f.add(at+": emptied ÷ only grows", median(ratios), "×", median(without), "")
	f.add("times that the write-ahead log was emptied meanwhile", float64(times), "times", 0, "")
	return nil
}
