package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
)

// durable is the real ledger behind the supervisor's port, and counts what it is given.
type durable struct {
	*statedb.Instance
	logical volume
	forgets bool // saves no checkpoint, so that everything is replayed
	saves   []time.Duration
}

// volume is what goes into a ledger, in bytes of payload; orders are the persists that an offer waits for.
type volume struct{ inputs, rows, orders, orderBytes int64 }

var _ supervisor.Ledger = (*durable)(nil)

func (d *durable) NextEpoch(owner ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	return d.Instance.NextEpochAbove(above, statedb.LeaseRow{PID: os.Getpid(), BootID: "bench", Nonce: owner})
}

func (d *durable) Persist(b *supervisor.Batch) {
	out := &statedb.Batch{FirstInput: b.First, LastInput: b.Last, Inputs: b.Inputs, Urgent: b.Urgent}
	size := int64(len(b.Inputs))
	for i := range b.Intents {
		r := &b.Intents[i]
		size += int64(len(r.Bytes))
		out.Intents = append(out.Intents, statedb.IntentRow{Key: r.Key, Step: r.Step, Ordinal: r.Ordinal, Bytes: r.Bytes,
			RequestDigest: r.Verdict.RequestDigest, Digest: r.Verdict.Digest, Verdict: uint8(r.Verdict.Outcome),
			ValidUntilCore: r.ValidCore, ValidUntilWall: r.ValidWall, Epoch: r.Epoch})
	}
	for i := range b.Statuses {
		r := &b.Statuses[i]
		out.Statuses = append(out.Statuses, statedb.StatusRow{Key: r.Key, Status: r.Status, CoreTS: r.CoreTS, Reason: string(r.Reason), Epoch: r.Epoch})
	}
	d.logical.inputs += int64(len(b.Inputs))
	d.logical.rows += size - int64(len(b.Inputs))
	if len(b.Intents) > 0 {
		d.logical.orders++
		d.logical.orderBytes += size
	}
	if b.Done != nil {
		out.Done = func(h statedb.Head, err error) { b.Done(supervisor.Head(h), err) }
	}
	d.Instance.Persist(out)
}

func (d *durable) Flush() (supervisor.Head, error) {
	h, err := d.Instance.Flush()
	return supervisor.Head(h), err
}

func (d *durable) Reset() (ipc.InputNo, error) {
	_, last, err := d.Instance.Reset()
	return last, err
}

func (d *durable) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	err := d.Instance.ReadInputs(from, fn)
	if errors.Is(err, statedb.ErrPruned) {
		return fmt.Errorf("%w: %w", supervisor.ErrPruned, err)
	}
	return err
}

func (d *durable) SaveCheckpoint(c supervisor.Checkpoint) error {
	if d.forgets {
		return nil
	}
	begin := time.Now()
	err := d.Instance.SaveCheckpoint(statedb.Checkpoint{State: c.State, StateSchemaVersion: c.StateVersion, Cursors: c.Cursors,
		InputNo: c.InputNo, Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash,
		Head: statedb.Head(c.Head), SavedCoreTS: c.CoreTS})
	d.saves = append(d.saves, time.Since(begin))
	return err
}

func (d *durable) Checkpoints() ([]supervisor.Checkpoint, []error) {
	valid, problems := d.Instance.Checkpoints()
	var out []supervisor.Checkpoint
	for i := range valid {
		c := &valid[i]
		out = append(out, supervisor.Checkpoint{State: c.State, StateVersion: c.StateSchemaVersion, Cursors: c.Cursors, InputNo: c.InputNo,
			Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash, Head: supervisor.Head(c.Head), CoreTS: c.SavedCoreTS})
	}
	return out, problems
}

// openState opens a state directory with the safest durability.
func (r *rig) openState(name string) (*statedb.DB, error) {
	return r.openStateWith(name, statedb.Options{})
}

func (r *rig) openStateWith(name string, o statedb.Options) (*statedb.DB, error) {
	o.Durability, o.Logger = statedb.Power, r.log
	db, err := statedb.Open(filepath.Join(r.state, name), o)
	if err != nil {
		return nil, fmt.Errorf("opening a state directory: %w", err)
	}
	return db, nil
}
