package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/lease"
)

// ledger lets one instance of statedb serve the supervisor's port.
type ledger struct {
	instance *statedb.Instance
}

var (
	_ supervisor.Ledger         = ledger{}
	_ supervisor.EvidenceKeeper = ledger{}
)

func (l ledger) Lineage() ipc.Lineage   { return l.instance.Lineage() }
func (l ledger) LastInput() ipc.InputNo { return l.instance.LastInput() }

// NextEpoch records this process as the owner of the next epoch.
func (l ledger) NextEpoch(owner ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	self, err := lease.Self()
	if err != nil {
		return 0, err
	}
	return l.instance.NextEpochAbove(above, statedb.LeaseRow{PID: self.PID, StartTime: self.Start, BootID: self.Boot, Nonce: owner,
		WallTS: ipc.Nanos(time.Now().UnixNano())})
}

func (l ledger) Persist(b *supervisor.Batch) {
	out := &statedb.Batch{FirstInput: b.First, LastInput: b.Last, Inputs: b.Inputs, Urgent: b.Urgent}
	for i := range b.Intents {
		r := &b.Intents[i]
		out.Intents = append(out.Intents, statedb.IntentRow{Key: r.Key, Step: r.Step, Ordinal: r.Ordinal, Bytes: r.Bytes,
			RequestDigest: r.Verdict.RequestDigest, Digest: r.Verdict.Digest, Verdict: uint8(r.Verdict.Outcome),
			ValidUntilCore: r.ValidCore, ValidUntilWall: r.ValidWall, Epoch: r.Epoch})
	}
	for i := range b.Statuses {
		r := &b.Statuses[i]
		out.Statuses = append(out.Statuses, statedb.StatusRow{Key: r.Key, Status: r.Status, CoreTS: r.CoreTS, Reason: string(r.Reason), Epoch: r.Epoch})
	}
	if b.Done != nil {
		out.Done = func(h statedb.Head, err error) { b.Done(supervisor.Head(h), err) }
	}
	l.instance.Persist(out)
}

func (l ledger) Flush() (supervisor.Head, error) {
	h, err := l.instance.Flush()
	return supervisor.Head(h), err
}

func (l ledger) Reset() (ipc.InputNo, error) {
	_, last, err := l.instance.Reset()
	return last, err
}

func (l ledger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	err := l.instance.ReadInputs(from, fn)
	if errors.Is(err, statedb.ErrPruned) {
		return fmt.Errorf("%w: %w", supervisor.ErrPruned, err)
	}
	return err
}

func (l ledger) SaveCheckpoint(c supervisor.Checkpoint) error {
	return l.instance.SaveCheckpoint(statedb.Checkpoint{State: c.State, StateSchemaVersion: c.StateVersion, Cursors: c.Cursors,
		InputNo: c.InputNo, Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash,
		Head: statedb.Head(c.Head), SavedCoreTS: c.CoreTS})
}

// KeepEvidence copies the files of the state directory.
func (l ledger) KeepEvidence(cause error) (string, error) { return l.instance.KeepEvidence(cause) }

// Prune forgets what lies below the older valid slot.
func (l ledger) Prune() (int, error) { return l.instance.Prune() }

func (l ledger) Checkpoints() ([]supervisor.Checkpoint, []error) {
	valid, problems := l.instance.Checkpoints()
	out := make([]supervisor.Checkpoint, 0, len(valid))
	for _, c := range valid {
		out = append(out, checkpointOf(c))
	}
	return out, problems
}
