package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
)

// The large ledger: orders of so many instances, written in batches of so many. Small batches, as pumps make them: the statuses of an
// intent lie behind those of its neighbours, and a lookup reads up to the last one.
const (
	rowsInstances = 20
	rowsBatch     = 4
	rowsWaiting   = 50 // batches of an instance that are on their way to the disk
	rowsStatuses  = 2  // of an order, the second one final
)

// manyRows fills a ledger and measures the insert of one more order, and the lookup of an intent by its key, at the beginning and at the end.
func manyRows(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	const name = "rows"
	l := &largeLedger{chance: rand.New(rand.NewPCG(1, 2))}
	if l.db, err = r.openState(name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.db.Close(), os.RemoveAll(filepath.Join(r.state, name))) }()
	for range rowsInstances {
		in, err := l.db.OpenInstance(r.address())
		if err == nil {
			_, err = in.NextEpoch(statedb.LeaseRow{PID: os.Getpid(), BootID: "bench"})
		}
		if err != nil {
			return fmt.Errorf("opening an instance's ledger: %w", err)
		}
		l.each = append(l.each, in)
	}
	l.steps, l.inputs = make([]ipc.Step, rowsInstances), make([]ipc.InputNo, rowsInstances)
	if err := l.fill(ctx, p.rows/10); err != nil {
		return err
	}
	small, err := l.measure(p.lookups)
	if err != nil {
		return err
	}
	begin, from := time.Now(), l.db.Stats().Rows
	if err := l.fill(ctx, p.rows); err != nil {
		return err
	}
	rate := float64(l.db.Stats().Rows-from) / time.Since(begin).Seconds()
	large, err := l.measure(p.lookups)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(r.state, name, "ledger.db"))
	if err != nil {
		return fmt.Errorf("looking at the ledger's size: %w", err)
	}
	at := fmt.Sprintf(" at %d rows", p.rows)
	f.add(fmt.Sprintf("ledger: rows written in batches of %d, up to %d rows", rowsBatch*(1+rowsStatuses)+1, p.rows), rate, "rows/s", 0, "")
	f.add("ledger: insert of one order p50"+at, large.insert.p50(), "µs", small.insert.p50(), "")
	f.add("ledger: insert of one order p99"+at, large.insert.p99(), "µs", small.insert.p99(), "")
	f.add("ledger: lookup of a recent intent p50"+at, large.recent.p50(), "µs", small.recent.p50(), "")
	f.add("ledger: lookup of any intent p50"+at, large.any.p50(), "µs", small.any.p50(), "")
	f.add("ledger: lookup of any intent p99"+at, large.any.p99(), "µs", small.any.p99(), "")
	f.add("ledger: size of a row"+at, float64(info.Size())/float64(l.db.Stats().Rows), "B", 0, "")
	return nil
}

// largeLedger is a ledger that grows.
type largeLedger struct {
	db     *statedb.DB
	each   []*statedb.Instance
	steps  []ipc.Step
	inputs []ipc.InputNo
	chance *rand.Rand
}

// fill writes orders until the ledger has so many rows.
func (l *largeLedger) fill(ctx context.Context, rows int) error {
	done := make(chan error, len(l.each)*rowsWaiting)
	for l.db.Stats().Rows < uint64(rows) {
		for range rowsWaiting {
			for i := range l.each {
				l.each[i].Persist(l.batch(i, rowsBatch, func(_ statedb.Head, err error) { done <- err }))
			}
		}
		for range cap(done) {
			if err := <-done; err != nil {
				return fmt.Errorf("filling the ledger: %w", err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// batch is the next n orders of an instance, each with its statuses.
func (l *largeLedger) batch(i, n int, done func(statedb.Head, error)) *statedb.Batch {
	in := l.each[i]
	b := &statedb.Batch{FirstInput: l.inputs[i] + 1, LastInput: l.inputs[i] + ipc.InputNo(2*n), Inputs: make([]byte, n*orderInputBytes/4), Urgent: true, Done: done}
	l.inputs[i] = b.LastInput
	owner := ipc.Owner{Address: in.Address(), Lineage: in.Lineage()}
	for range n {
		l.steps[i]++
		key := owner.StepKey(l.steps[i], 0)
		b.Intents = append(b.Intents, statedb.IntentRow{Key: key, Step: l.steps[i], Bytes: make([]byte, orderIntentBytes), Verdict: 1})
		b.Statuses = append(b.Statuses, statedb.StatusRow{Key: key, Status: ipc.StatusStaged}, statedb.StatusRow{Key: key, Status: ipc.StatusExpired})
	}
	return b
}

// accesses are what single accesses to a ledger take.
type accesses struct{ insert, recent, any sample }

func (l *largeLedger) measure(n int) (a accesses, err error) {
	done := make(chan error, 1)
	for j := range n {
		i := j % len(l.each)
		b := l.batch(i, 1, func(_ statedb.Head, err error) { done <- err })
		begin := time.Now()
		l.each[i].Persist(b)
		if err := <-done; err != nil {
			return a, fmt.Errorf("inserting an order: %w", err)
		}
		a.insert = append(a.insert, int64(time.Since(begin)))
	}
	for range n {
		i := l.chance.IntN(len(l.each))
		took, err := l.lookup(i, l.steps[i])
		if err != nil {
			return a, err
		}
		a.recent = append(a.recent, took)
		if took, err = l.lookup(i, 1+ipc.Step(l.chance.Uint64N(uint64(l.steps[i])))); err != nil {
			return a, err
		}
		a.any = append(a.any, took)
	}
	return a, nil
}

// lookup finds the order of a step by its key.
func (l *largeLedger) lookup(i int, step ipc.Step) (ns int64, err error) {
	in := l.each[i]
	key := ipc.Owner{Address: in.Address(), Lineage: in.Lineage()}.StepKey(step, 0)
	begin := time.Now()
	found, err := in.Intent(key)
	if err != nil {
		return 0, fmt.Errorf("looking for the order of step %d: %w", step, err)
	}
	ns = int64(time.Since(begin))
	if found.Step != step {
		return 0, fmt.Errorf("the key of step %d found step %d", step, found.Step)
	}
	return ns, nil
}
