package sim

import (
	"maps"
	"slices"

	"github.com/msup/msup/ipc"
)

// maxOpenOrders keeps a snapshot within what one message may hold.
const maxOpenOrders = ipc.MaxRows / 2

// account is what I knows of one instance.
type account struct {
	id          int64
	address     ipc.Address
	lineage     ipc.Lineage
	epoch       ipc.Epoch
	owner       ipc.Nonce
	lastStep    ipc.Step
	oldestOpen  ipc.Step
	sourceEpoch uint64 // rises with the lineage: reports are numbered anew
	seq         uint64 // of the last report
	acked       uint64
	positions   map[ipc.InstrumentID]ipc.Decimal
	open        int
	peer        *peer // who is told; nil = nobody connected
}

func (a *account) cursor(source ipc.SourceID) ipc.Cursor {
	return ipc.Cursor{Source: source, Epoch: a.sourceEpoch, Seq: a.seq}
}

// reducible is how much of the position an order of this side may close.
func (a *account) reducible(id ipc.InstrumentID, side ipc.Side) ipc.Decimal {
	p := a.positions[id]
	if side == ipc.SideSell && p.Sign() > 0 || side == ipc.SideBuy && p.Sign() < 0 {
		return p.Abs()
	}
	return ipc.Decimal{}
}

func (a *account) positionRows() []ipc.PositionRow {
	var rows []ipc.PositionRow
	for _, id := range slices.Sorted(maps.Keys(a.positions)) {
		if p := a.positions[id]; !p.IsZero() {
			rows = append(rows, ipc.PositionRow{Instrument: id, Quantity: p})
		}
	}
	return rows
}

// keyEntry is what I knows of one key; digest nil = tombstoned before it was seen.
type keyEntry struct {
	account *account
	status  ipc.Status
	digest  *ipc.Digest
	reason  ipc.ReasonCode
	step    ipc.Step
	ordinal uint32
}
