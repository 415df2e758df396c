package capsule

import (
	"errors"
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// errReadOnly is what a capsule answers to whoever wants to write.
var errReadOnly = errors.New("a capsule cannot be written to")

// Log is a capsule as the ledger and the recordings of an instance that verifies it.
type Log struct{ c *Capsule }

var (
	_ supervisor.Ledger     = (*Log)(nil)
	_ supervisor.Recordings = (*Log)(nil)
)

// Log gives the recorded part to a replay.
func (c *Capsule) Log() *Log { return &Log{c} }

// Lineage is that of the instance.
func (l *Log) Lineage() ipc.Lineage {
	lineage, _ := l.c.lineage() // Open has decoded it
	return lineage
}

// LastInput is the answer to the last step.
func (l *Log) LastInput() ipc.InputNo { return l.c.Manifest.LastInput }

// Flush gives the SHA-256 of the capsule in the place of the chain's head: there is nothing to wait for.
func (l *Log) Flush() (supervisor.Head, error) { return supervisor.Head{Hash: l.c.SHA256}, nil }

// ReadInputs gives what the capsule holds from an input on, as one batch. What lies before it is as good as pruned.
func (l *Log) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	if from < l.c.Manifest.FirstInput {
		return fmt.Errorf("input %d is asked for, the capsule begins at input %d: %w", from, l.c.Manifest.FirstInput, supervisor.ErrPruned)
	}
	if from > l.LastInput() {
		return nil
	}
	return fn(l.c.Manifest.FirstInput, l.LastInput(), l.c.inputs)
}

// Checkpoints gives the one that the replay begins from, when there is one.
func (l *Log) Checkpoints() ([]supervisor.Checkpoint, []error) {
	p := l.c.Manifest.Checkpoint
	if p == nil {
		return nil, nil
	}
	pkg, err := digest(p.PackageHash)
	if err != nil {
		return nil, []error{refused(fileManifest, "the checkpoint's package: %v", err)}
	}
	config, err := digest(p.ConfigHash)
	if err != nil {
		return nil, []error{refused(fileManifest, "the checkpoint's configuration: %v", err)}
	}
	return []supervisor.Checkpoint{{State: l.c.state, StateVersion: p.StateVersion, Cursors: l.c.Core.Cursors, InputNo: p.InputNo, Step: p.Step,
		Core: l.c.core, PackageHash: pkg, ConfigHash: config, CoreTS: p.CoreTS}}, nil
}

// Intent gives what was decided about a key.
func (l *Log) Intent(k ipc.Key) (supervisor.RecordedIntent, bool, error) {
	i, ok := l.c.Intents[k]
	if !ok {
		return supervisor.RecordedIntent{}, false, nil
	}
	r, err := i.recorded()
	return r, err == nil, err
}

// NextEpoch refuses: nothing is started on a capsule.
func (l *Log) NextEpoch(ipc.Nonce, ipc.Epoch) (ipc.Epoch, error) { return 0, errReadOnly }

// Persist fails.
func (l *Log) Persist(b *supervisor.Batch) {
	if b.Done != nil {
		b.Done(supervisor.Head{}, errReadOnly)
	}
}

// Reset fails.
func (l *Log) Reset() (ipc.InputNo, error) { return 0, errReadOnly }

// SaveCheckpoint fails.
func (l *Log) SaveCheckpoint(supervisor.Checkpoint) error { return errReadOnly }

// Prune fails.
func (l *Log) Prune() (int, error) { return 0, errReadOnly }
