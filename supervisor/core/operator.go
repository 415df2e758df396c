package core

import (
	"slices"

	"github.com/msup/msup/ipc"
)

// mostOrders bounds how many commands a State remembers; the log has all of them.
const mostOrders = 8

// Order is a command as an inspection shows it: what was ordered, by whom, and when (HR-3, OB-9).
type Order struct {
	Op      string         `json:"op"`
	Who     string         `json:"who"`
	Reason  ipc.ReasonCode `json:"reason_code,omitempty"`
	InputNo ipc.InputNo    `json:"input_no"`
	CoreTS  ipc.Nanos      `json:"core_ts"`
	WallTS  ipc.Nanos      `json:"wall_ts"` // about: core time and what wall time was ahead of it when both were last told
}

// String returns the name used on the control plane and in inspections; "" for what only the supervisor itself orders.
func (o CommandOp) String() string {
	switch o {
	case OpHalt:
		return "halt"
	case OpResume:
		return "resume"
	case OpMode:
		return "mode"
	case OpCancelAll:
		return "cancel_all"
	case OpHedgeToFlat:
		return "hedge_to_flat"
	case OpAbandon:
		return "abandon"
	}
	return ""
}

// remember keeps the last commands: whoever looks at a halted instance wants to know who halted it.
func (s *State) remember(in *Command) {
	op := in.Op.String()
	if op == "" {
		return
	}
	if len(s.Orders) >= mostOrders {
		s.Orders = slices.Clone(s.Orders[1:])
	}
	s.Orders = append(s.Orders, Order{Op: op, Who: in.Who, Reason: in.Reason, InputNo: s.InputNo, CoreTS: s.CoreTS, WallTS: s.CoreTS + s.WallAhead})
}
