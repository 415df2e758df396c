package load

import (
	"sync"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// memory is a ledger that has everything durable at once and keeps nothing, so that what grows is the supervisor's.
type memory struct {
	mu    sync.Mutex
	epoch ipc.Epoch
	last  ipc.InputNo
	rows  uint64
}

var _ supervisor.Ledger = (*memory)(nil)

func (m *memory) Lineage() ipc.Lineage { return ipc.Lineage{9} }

func (m *memory) LastInput() ipc.InputNo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *memory) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	m.epoch = max(m.epoch, above) + 1
	return m.epoch, nil
}

func (m *memory) Persist(b *supervisor.Batch) {
	m.mu.Lock()
	if b.Last != 0 {
		m.last = b.Last
	}
	m.rows++
	head := supervisor.Head{RowNo: m.rows}
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

// ReadInputs: nothing was before this run, and in it no runner is restored.
func (m *memory) ReadInputs(ipc.InputNo, func(first, last ipc.InputNo, payload []byte) error) error {
	return nil
}

func (m *memory) SaveCheckpoint(supervisor.Checkpoint) error      { return nil }
func (m *memory) Prune() (int, error)                             { return 0, nil }
func (m *memory) Checkpoints() ([]supervisor.Checkpoint, []error) { return nil, nil }
