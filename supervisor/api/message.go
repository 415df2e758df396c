package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// ops are the commands that an operator may give, by the name that they have on the wire.
var ops = map[string]struct {
	op     core.CommandOp
	reason ipc.ReasonCode
}{
	"halt":          {core.OpHalt, ipc.ReasonOperatorHalt},
	"resume":        {core.OpResume, ipc.ReasonOperatorResume},
	"mode":          {core.OpMode, ipc.ReasonOperatorMode},
	"cancel_all":    {core.OpCancelAll, ipc.ReasonOperatorCancelAll},
	"hedge_to_flat": {core.OpHedgeToFlat, ipc.ReasonOperatorHedgeToFlat},
	"abandon":       {core.OpAbandon, ipc.ReasonOperatorAbandon},
}

// Request is an operator's command to some instances.
type Request struct {
	Op          string           `json:"op"`
	Instances   []string         `json:"instances"` // BOT/STRATEGY/INSTANCE
	Who         string           `json:"who"`       // for the log
	Restriction *ipc.Restriction `json:"restriction,omitempty"`
}

// most bounds what one request may name, and how long a name may be.
const (
	mostInstances = 4096
	mostWho       = 128 // bytes
)

// Command is the input that a request becomes, or why it is none.
func (r *Request) Command() (core.Command, error) {
	known, ok := ops[r.Op]
	names := make([]string, 0, len(ops))
	for name := range ops {
		names = append(names, name)
	}
	slices.Sort(names)
	c := core.Command{Op: known.op, Reason: known.reason, Who: r.Who, Restriction: gate.Unrestricted()}
	switch {
	case !ok:
		return c, fmt.Errorf("op: %q is no command; write one of %s", r.Op, strings.Join(names, ", "))
	case len(r.Instances) == 0 || len(r.Instances) > mostInstances:
		return c, fmt.Errorf("instances: %d are named; name 1 to %d, as BOT/STRATEGY/INSTANCE", len(r.Instances), mostInstances)
	case r.Who == "" || len(r.Who) > mostWho || strings.ContainsFunc(r.Who, control):
		return c, fmt.Errorf("who: write who gives the command, in 1 to %d bytes without control characters", mostWho)
	case (r.Restriction != nil) != (known.op == core.OpMode):
		return c, fmt.Errorf("restriction: it belongs to the command mode, and to no other")
	}
	if f := r.Restriction; f != nil {
		if f.SizeFactor.Sign() < 0 || f.SizeFactor.Cmp(gate.One) > 0 {
			return c, fmt.Errorf("restriction: a size factor of %s; write a number from 0 to 1", f.SizeFactor)
		}
		c.Restriction = *f
	}
	return c, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// Result is what became of a command at one instance. Error is empty when the command is durable.
type Result struct {
	Instance   string           `json:"instance"`
	Op         string           `json:"op"`
	Who        string           `json:"who"`
	Durable    bool             `json:"durable"`
	Was        core.Health      `json:"was,omitempty"` // health before the command
	Health     core.Health      `json:"health_state,omitempty"`
	Reason     ipc.ReasonCode   `json:"reason_code,omitempty"`
	Obligation *gate.Obligation `json:"obligation,omitempty"` // under way after the command
	Error      string           `json:"error,omitempty"`
}

// Results is the answer to a command.
type Results struct {
	Results []Result `json:"results"`
}

// Instances is the answer to GET /v1/instances.
type Instances struct {
	Instances []Shown `json:"instances"`
}

// Shown is one instance, or why it cannot be shown now.
type Shown struct {
	Instance   string                 `json:"instance"`
	Inspection *supervisor.Inspection `json:"inspection,omitempty"`
	Error      string                 `json:"error,omitempty"`
}

// problem is the body of every answer that is not 200.
type problem struct {
	Error string `json:"error"`
}
