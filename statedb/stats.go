package statedb

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the persist latency histogram; the last bucket of Stats.Latency has none.
var LatencyBounds = []time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// Stats counts since Open.
type Stats struct {
	Commits       uint64
	FailedCommits uint64
	Operations    uint64 // batches and other writes
	Rows          uint64 // rows added to the chains
	LogicalBytes  uint64 // payloads, heads and keys of those rows
	WALBytes      uint64 // written to the write-ahead log
	WALSize       uint64 // in use at present
	Emptied       uint64 // times that the log was started over
	QueueLength   int    // operations that wait for the writer
	// Latency counts operations by the time from submission to the end of their commit, per LatencyBounds.
	Latency    []uint64
	LatencySum time.Duration
}

// CommitInfo describes one commit to an Observer.
type CommitInfo struct {
	Operations int
	Rows       int64
	Bytes      int64         // payloads, heads and keys
	Commit     time.Duration // transaction and sync
	Oldest     time.Duration // from the first submission to the end of the commit
	Err        error
}

type statsKeeper struct {
	observer func(CommitInfo)
	walBytes atomic.Int64

	mu sync.Mutex
	s  Stats
}

func newStats(observer func(CommitInfo)) *statsKeeper {
	return &statsKeeper{observer: observer, s: Stats{Latency: make([]uint64, len(LatencyBounds)+1)}}
}

func (k *statsKeeper) commit(g *group, ops []*op, err error, start, end time.Time) {
	k.mu.Lock()
	if err != nil {
		k.s.FailedCommits++
	} else {
		k.s.Commits++
		k.s.Rows += uint64(g.rows)
		k.s.LogicalBytes += uint64(g.bytes)
	}
	k.s.Operations += uint64(len(ops))
	for _, o := range ops {
		d := end.Sub(o.queued)
		i, _ := slices.BinarySearch(LatencyBounds, d)
		k.s.Latency[i]++
		k.s.LatencySum += d
	}
	k.mu.Unlock()
	if k.observer != nil {
		k.observer(CommitInfo{Operations: len(ops), Rows: g.rows, Bytes: g.bytes, Commit: end.Sub(start), Oldest: end.Sub(ops[0].queued), Err: err})
	}
}

// startedOver is told of every start-over of the log, with the number of frames that it had.
func (k *statsKeeper) startedOver(frames int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s.WALBytes += uint64(frames * walFrameBytes)
	k.s.Emptied++
}

// Stats gives the counters as they stand.
func (db *DB) Stats() Stats {
	k := db.stats
	k.mu.Lock()
	s := k.s
	s.Latency = slices.Clone(k.s.Latency)
	k.mu.Unlock()
	s.WALSize = uint64(k.walBytes.Load())
	s.WALBytes += s.WALSize
	db.writer.mu.Lock()
	s.QueueLength = len(db.writer.queue)
	db.writer.mu.Unlock()
	return s
}
