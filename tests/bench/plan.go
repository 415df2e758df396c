package main

import (
	"time"

	"github.com/msup/msup/statedb"
)

// plan says how much of everything is measured. The counts of the full plan are so large that the medians of two runs on an idle
// machine differ by less than a tenth; those of the quick one only show that everything works.
type plan struct {
	rounds    int           // turns of every measurement that is compared with a floor
	exchanges int           // round trips of one turn
	syncs     int           // durable round trips of one turn
	writers   []int         // concurrent writers of the group commit
	turn      time.Duration // of one turn of the group commit
	batches   int           // of 256 events in one turn of the research throughput
	load      time.Duration // at loadRate, for the write amplification
	walTarget int64         // bytes after which the write-ahead log is emptied
	rows      int           // of the large ledger
	lookups   int           // of intents in it, and single inserts
	starts    int           // cold starts, and kills
	idle      []int         // instances
	states    []int64       // bytes of checkpoints
	replay    int           // steps
	restores  int           // of each of those
	fleet     []int         // instances of the supervisor that is killed
	kills     int           // of it
	feed      int           // events of the synthetic market
	hogs      int           // in the compute lane, a processor
}

var (
	full = plan{rounds: 9, exchanges: 4000, syncs: 300, writers: []int{1, 8, 64, 512}, turn: 700 * time.Millisecond, batches: 400,
		load: 5 * time.Second, walTarget: statedb.DefaultWALTarget, rows: 10_000_000, lookups: 20_000, starts: 9, idle: []int{10, 50, 100},
		states: []int64{0, 1e6, 10e6, 16e6}, replay: 10_000, restores: 3, fleet: []int{1, 20}, kills: 3, feed: 30_000, hogs: 8}
	quick = plan{rounds: 2, exchanges: 50, syncs: 10, writers: []int{1, 8, 64, 512}, turn: 30 * time.Millisecond, batches: 4,
		load: 100 * time.Millisecond, walTarget: 64 << 10, rows: 100_000, lookups: 100, starts: 1, idle: []int{2, 3},
		states: []int64{0, 1e6}, replay: 300, restores: 1, fleet: []int{2}, kills: 1, feed: 1000, hogs: 2}
)
