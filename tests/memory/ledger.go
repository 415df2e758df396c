package memory

import (
	"sync"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// Ledger is the supervisor's ledger of one instance, in memory. Its zero value keeps no inputs.
type Ledger struct {
	// Keeps says that inputs stay, for a runner that is restored.
	Keeps bool
	// ID is the lineage: decisions of two runs can be compared when it is the same.
	ID ipc.Lineage

	mu     sync.Mutex
	epoch  ipc.Epoch
	last   ipc.InputNo
	rows   uint64
	inputs []inputs
	newest []supervisor.Checkpoint
}

type inputs struct {
	first, last ipc.InputNo
	payload     []byte
}

var _ supervisor.Ledger = (*Ledger)(nil)

// Lineage is ID.
func (l *Ledger) Lineage() ipc.Lineage { return l.ID }

// LastInput is the newest input that was persisted.
func (l *Ledger) LastInput() ipc.InputNo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// NextEpoch counts the owners.
func (l *Ledger) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = max(l.epoch, above) + 1
	return l.epoch, nil
}

// Persist has a batch durable before it returns.
func (l *Ledger) Persist(b *supervisor.Batch) {
	l.mu.Lock()
	if b.Last != 0 { // 0: the batch holds no inputs
		l.last = b.Last
	}
	l.rows++
	head := supervisor.Head{RowNo: l.rows}
	if l.Keeps {
		l.inputs = append(l.inputs, inputs{b.First, b.Last, b.Inputs})
	}
	l.mu.Unlock()
	if b.Done != nil {
		b.Done(head, nil)
	}
}

// Flush has nothing to do.
func (l *Ledger) Flush() (supervisor.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return supervisor.Head{RowNo: l.rows}, nil
}

// Reset has nothing to undo.
func (l *Ledger) Reset() (ipc.InputNo, error) { return l.LastInput(), nil }

// ReadInputs gives back what was kept.
func (l *Ledger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	l.mu.Lock()
	kept := l.inputs
	l.mu.Unlock()
	for _, i := range kept {
		if i.last < from {
			continue
		}
		if err := fn(i.first, i.last, i.payload); err != nil {
			return err
		}
	}
	return nil
}

// SaveCheckpoint replaces the one before.
func (l *Ledger) SaveCheckpoint(c supervisor.Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = []supervisor.Checkpoint{c}
	return nil
}

// Prune removes nothing: what is kept is wanted.
func (l *Ledger) Prune() (int, error) { return 0, nil }

// Checkpoints are the newest one, if there is any.
func (l *Ledger) Checkpoints() ([]supervisor.Checkpoint, []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest, nil
}
