package supervisor

import (
	"slices"

	"github.com/msup/msup/ipc"
)

// durably remembers that an event of a source is in the ledger, so that its repetition may be acknowledged at once.
func (p *Instance) durably(c ipc.Cursor) {
	for i := range p.inLedger {
		if p.inLedger[i].Source == c.Source {
			p.inLedger[i] = c
			return
		}
	}
	p.inLedger = append(p.inLedger, c)
}

// isDurable reports whether an event that was taken is in the ledger already. The core may have taken it in a batch that is still on its way,
// and that a failed persist voids: acknowledged before that, the source would never send it again (BP-2). The simulation found it, where the
// last report of an order was lost in that way.
func (p *Instance) isDurable(c ipc.Cursor) bool {
	return slices.ContainsFunc(p.inLedger, func(d ipc.Cursor) bool {
		return d.Source == c.Source && (c.Epoch < d.Epoch || c.Epoch == d.Epoch && c.Seq <= d.Seq)
	})
}
