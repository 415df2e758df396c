package main

import "time"

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
	starts    int           // cold starts, and kills
	idle      []int         // instances
	feed      int           // events of the synthetic market
}

var (
	full = plan{rounds: 9, exchanges: 4000, syncs: 300, writers: []int{1, 8, 64, 512}, turn: 700 * time.Millisecond, batches: 400,
		load: 5 * time.Second, starts: 9, idle: []int{10, 50}, feed: 30_000}
	quick = plan{rounds: 2, exchanges: 50, syncs: 10, writers: []int{1, 8, 64, 512}, turn: 30 * time.Millisecond, batches: 4,
		load: 100 * time.Millisecond, starts: 2, idle: []int{2, 4}, feed: 1000}
)
