package core

import (
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// propose takes the proposals of a result, if its service gives them: their ttl begins with the input that brought it. A result that does
// not hold any is an error: the strategy must not see what the gate cannot check (EX-3).
func (s *State) propose(c Computing, payload []byte, e *Effects) error {
	if !slices.Contains(s.gate.Policy.ProposalsFrom, c.Task) {
		return nil
	}
	list, err := gate.ParseProposals(payload)
	if err != nil {
		return err
	}
	for _, why := range s.gate.Propose(c.Task, list, s.CoreTS) {
		e.note(guard.Warn, ipc.ReasonProposalRefused, c.Task+": "+why)
	}
	return nil
}

// Proposals are those that are live, sorted by id. The slice is the caller's.
func (s *State) Proposals() []gate.Proposal { return slices.Clone(s.gate.Proposals) }
