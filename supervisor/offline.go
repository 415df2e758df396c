package supervisor

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// Inspection is what a recovered core shows of an instance (OB-8, OB-9). It holds no configuration values and no strategy state.
type Inspection struct {
	Address     ipc.Address         `json:"address"`
	Lineage     string              `json:"lineage"`
	Epoch       ipc.Epoch           `json:"epoch"`
	RunID       ipc.RunID           `json:"run_id"`
	Health      core.Health         `json:"health_state"`
	Reason      ipc.ReasonCode      `json:"reason_code,omitempty"`
	Step        ipc.Step            `json:"step"`
	InputNo     ipc.InputNo         `json:"input_no"`
	ProcessedTS ipc.Nanos           `json:"processed_ts"`
	PackageHash string              `json:"package_hash"`
	ConfigHash  string              `json:"config_hash"`
	Pending     bool                `json:"pending"` // a delivery without an answer: it will be repeated
	Queued      int                 `json:"queued"`
	Timers      []core.Timer        `json:"timers"`
	Held        []gate.Held         `json:"restrictions"`
	Obligation  *gate.Obligation    `json:"obligation,omitempty"` // what M itself is doing
	Recovering  *core.Recovery      `json:"recovering,omitempty"` // an informed strategy has not come to the end of it
	Positions   []ipc.PositionRow   `json:"positions"`
	Unknown     ipc.ReasonCode      `json:"positions_unknown,omitempty"`
	Open        []InspectedIntent   `json:"open_intents"`
	Cursors     []ipc.Cursor        `json:"cursors"`
	Market      []core.MarketCursor `json:"market_cursors"`
	Orders      []core.Order        `json:"commands,omitempty"` // the last ones, oldest first, with who gave them
}

// InspectedIntent is an intent or order that is not final.
type InspectedIntent struct {
	Key       ipc.Key     `json:"key"`
	Kind      string      `json:"kind"`
	Step      ipc.Step    `json:"step"`
	Status    string      `json:"status"`
	Working   bool        `json:"working"` // I has it; its final execution report is still to come
	Remaining ipc.Decimal `json:"remaining"`
}

// Inspect reads the ledger of an instance that does not run.
func (p *Instance) Inspect() (*Inspection, error) {
	if err := p.Recover(); err != nil {
		return nil, err
	}
	return p.inspection(), nil
}

// Forgot says what I, by its welcome, lacks of what this ledger knows it to have had; "" = nothing. Ask it after [Instance.Inspect].
func (p *Instance) Forgot(w ipc.Welcome) string { return p.state.Heard().Forgot(w.LastStep, w.Cursor) }

// LastStart is the start that the log ends under, without its parameters: it names package, configuration and run.
func (p *Instance) LastStart() (*core.Start, error) {
	if err := p.Recover(); err != nil {
		return nil, err
	}
	s := p.state
	if s.Epoch == 0 {
		return nil, fmt.Errorf("%s: the log holds no start", p.cfg.Address)
	}
	return &core.Start{Epoch: s.Epoch, RunID: s.RunID, StrategyVersion: s.StrategyVersion(), PackageHash: s.PackageHash, ConfigHash: s.ConfigHash}, nil
}

// Record makes an operator's command durable for an instance that does not run; the next run begins with it.
func (p *Instance) Record(c core.Command) error {
	if err := p.Recover(); err != nil {
		return err
	}
	if p.state.Epoch == 0 {
		return fmt.Errorf("%s has never run: there is nothing to command", p.cfg.Address)
	}
	p.batch.urgent = false
	if err := p.apply(p.stamp(&c)); err != nil {
		return err
	}
	return p.flush()
}
