package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

// The load of the write amplification: so many delivered events a second over so many instances, one in a hundred answered with an order.
const (
	loadRate      = 100_000
	loadInstances = 50
	loadTick      = supervisor.BatchDelay
	ordersPer     = 100 // events
)

// amplification writes what instances write under that load, at that rate, and compares what the process sent to the disk with what the
// inputs and rows hold.
func amplification(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	dir := filepath.Join(r.state, "load")
	db, err := r.openState("load")
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, db.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	l := &loader{failed: make(chan error, 1)}
	for range loadInstances {
		in, err := db.OpenInstance(r.address())
		if err == nil {
			_, err = in.NextEpoch(statedb.LeaseRow{PID: os.Getpid(), BootID: "bench"})
		}
		if err != nil {
			return fmt.Errorf("opening an instance's ledger: %w", err)
		}
		l.instances = append(l.instances, loaded{ledger: in})
	}
	before, err := written()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.run(ctx, p.load); err != nil {
		return err
	}
	for i := range l.instances {
		if _, err := l.instances[i].ledger.Flush(); err != nil {
			return fmt.Errorf("flushing the load: %w", err)
		}
	}
	took := time.Since(began)
	closed = true
	if err := db.Close(); err != nil { // what is still to be copied out of the write-ahead log counts
		return fmt.Errorf("closing the load's ledger: %w", err)
	}
	after, err := written()
	if err != nil {
		return err
	}
	perEvent := float64(after-before) / float64(l.events)
	f.add("write amplification: bytes to disk ÷ bytes of inputs", float64(after-before)/float64(l.inputBytes), "×", float64(l.inputBytes)/float64(l.events), "<= 5")
	f.add("bytes to disk per delivered event", perEvent, "B", float64(l.inputBytes)/float64(l.events), "")
	f.add(fmt.Sprintf("bytes to disk per day at %d delivered events/s", loadRate), perEvent*loadRate*86400/1e12, "TB", 0, "")
	f.add("delivered events made durable per second (offered: 100000)", float64(l.events)/took.Seconds(), "events/s", 0, "")
	return nil
}

// written is what this process has caused to be written to disks, in bytes.
func written() (int64, error) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, fmt.Errorf("reading this process's counters: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
	}
	return 0, errors.New("/proc/self/io holds no write_bytes")
}

// loaded is one instance of the load.
type loaded struct {
	ledger *statedb.Instance
	step   ipc.Step
}

// loader makes the batches that pumps would make.
type loader struct {
	instances  []loaded
	failed     chan error
	waiting    atomic.Int64 // batches that are not durable yet
	events     int64
	inputBytes int64
}

// run offers the load for so long.
func (l *loader) run(ctx context.Context, length time.Duration) error {
	ticker := time.NewTicker(loadTick)
	defer ticker.Stop()
	perBatch := int(loadRate * loadTick / time.Second / loadInstances)
	for ticks := int(length / loadTick); ticks > 0; ticks-- {
		for i := range l.instances {
			if err := l.persist(&l.instances[i], perBatch); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case err := <-l.failed:
			return fmt.Errorf("persisting the load: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
		for l.waiting.Load() > 20*loadInstances && ctx.Err() == nil { // the disk is slower than the load: do not hoard
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// persist gives the ledger the batch of n steps of one instance.
func (l *loader) persist(in *loaded, n int) error {
	b := &statedb.Batch{FirstInput: ipc.InputNo(2*in.step + 1)}
	for range n {
		in.step++
		event, recv, err := quote(uint64(in.step))
		if err != nil {
			return err
		}
		at := core.At{CoreTS: recv}
		answer := &core.Answer{At: at, Step: in.step, Outcome: core.Applied, Digest: ipc.EmptyAnswerDigest, DurationNS: 20_000}
		if in.step%ordersPer == 0 {
			answer.Body = make([]byte, orderIntentBytes)
			key := ipc.Owner{Address: in.ledger.Address(), Lineage: in.ledger.Lineage()}.StepKey(in.step, 0)
			b.Intents = append(b.Intents, statedb.IntentRow{Key: key, Step: in.step, Bytes: make([]byte, orderIntentBytes), Verdict: 1})
			b.Statuses = append(b.Statuses, statedb.StatusRow{Key: key, Status: ipc.StatusStaged}, statedb.StatusRow{Key: key, Status: ipc.StatusApproved},
				statedb.StatusRow{Key: key, Status: ipc.StatusOffered}, statedb.StatusRow{Key: key, Status: ipc.StatusCommitted})
		}
		b.Inputs = core.AppendInput(b.Inputs, &core.Delivery{At: at, Step: in.step, ProcessedTS: recv, Event: event})
		b.Inputs = core.AppendInput(b.Inputs, answer)
	}
	b.LastInput = ipc.InputNo(2 * in.step)
	l.events += int64(n)
	l.inputBytes += int64(len(b.Inputs))
	l.waiting.Add(1)
	b.Done = func(_ statedb.Head, err error) {
		l.waiting.Add(-1)
		if err != nil {
			select {
			case l.failed <- err:
			default:
			}
		}
	}
	in.ledger.Persist(b)
	return nil
}
