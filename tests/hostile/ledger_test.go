package hostile

import (
	"sync"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// memory is a ledger that has everything durable at once: what a hostile strategy does to the real one is for tests/crash.
type memory struct {
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

var _ supervisor.Ledger = (*memory)(nil)

// Lineage is the same in every run, so that decisions can be compared.
func (m *memory) Lineage() ipc.Lineage { return ipc.Lineage{1} }

func (m *memory) LastInput() ipc.InputNo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *memory) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch = max(m.epoch, above) + 1
	return m.epoch, nil
}

func (m *memory) Persist(b *supervisor.Batch) {
	m.mu.Lock()
	m.last = b.Last
	m.rows++
	head := supervisor.Head{RowNo: m.rows}
	m.inputs = append(m.inputs, inputs{b.First, b.Last, b.Inputs})
	m.mu.Unlock()
	if b.Done != nil {
		b.Done(head, nil)
	}
}

func (m *memory) Flush() (supervisor.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return supervisor.Head{RowNo: m.rows}, nil
}

func (m *memory) Reset() (ipc.InputNo, error) { return m.LastInput(), nil }

func (m *memory) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	m.mu.Lock()
	kept := m.inputs
	m.mu.Unlock()
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

func (m *memory) SaveCheckpoint(c supervisor.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest = []supervisor.Checkpoint{c}
	return nil
}

// Prune: the memory keeps everything.
func (m *memory) Prune() (int, error) { return 0, nil }

func (m *memory) Checkpoints() ([]supervisor.Checkpoint, []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newest, nil
}
