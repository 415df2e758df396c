package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// snapshotVersion rises when an older State can no longer be read as it stands.
const snapshotVersion = 1

// snapshot is a State as a checkpoint holds it. JSON, because it is small, rare, and read by people after an incident.
type snapshot struct {
	Version     int                         `json:"version"`
	Address     ipc.Address                 `json:"address"`
	Lineage     string                      `json:"lineage"`
	InputNo     ipc.InputNo                 `json:"input_no"`
	Step        ipc.Step                    `json:"step"`
	CoreTS      ipc.Nanos                   `json:"core_ts"`
	ProcessedTS ipc.Nanos                   `json:"processed_ts"`
	Epoch       ipc.Epoch                   `json:"epoch"`
	RunID       ipc.RunID                   `json:"run_id"`
	PackageHash ipc.Digest                  `json:"package_hash"`
	ConfigHash  ipc.Digest                  `json:"config_hash"`
	Params      json.RawMessage             `json:"params"`
	Init        []byte                      `json:"init"`
	NextInit    []byte                      `json:"next_init"`
	Pending     *Pending                    `json:"pending"`
	Timers      []Timer                     `json:"timers"`
	Queue       []Queued                    `json:"queue"`
	Cursors     []ipc.Cursor                `json:"cursors"`
	Market      []MarketCursor              `json:"market"`
	Held        []gate.Held                 `json:"held"`
	Recovery    *Recovery                   `json:"recovery,omitempty"`
	Obligation  *gate.Obligation            `json:"obligation,omitempty"`
	Obligations uint64                      `json:"obligations,omitempty"`
	OwnIntents  uint64                      `json:"own_intents,omitempty"`
	Computes    []Computing                 `json:"computes,omitempty"`
	Sink        Sink                        `json:"sink,omitzero"`
	WallAhead   ipc.Nanos                   `json:"wall_ahead"`
	Halted      ipc.ReasonCode              `json:"halted"`
	Released    ipc.InputNo                 `json:"released"`
	Timeouts    guard.Ladder                `json:"timeouts"`
	Faults      guard.Ladder                `json:"faults"`
	Kills       guard.Ladder                `json:"kills"`
	Rejects     guard.Ladder                `json:"rejects"`
	Refusals    guard.Ladder                `json:"refusals"`
	Storms      guard.Ladder                `json:"storms,omitzero"`
	Violations  map[guard.Kind]guard.Ladder `json:"violations,omitempty"`
	Clean       int                         `json:"clean,omitempty"`
	Burst       TimerBurst                  `json:"timer_burst,omitzero"`
	InitFailed  bool                        `json:"init_failed,omitempty"`
	Orders      []Order                     `json:"orders,omitempty"`
	Second      gate.Window                 `json:"second"`
	Cancels     gate.Window                 `json:"cancels"`
	Proposals   []gate.Proposal             `json:"proposals,omitempty"`
	Run         int                         `json:"run"`
	Book        gate.BookRecord             `json:"book"`
}

// Marshal returns the state as bytes: equal states give equal bytes (NN-7).
func (s *State) Marshal() ([]byte, error) {
	book, err := s.gate.Book.Record()
	if err != nil {
		return nil, fmt.Errorf("%s: writing the book: %w", s.Address, err)
	}
	b, err := json.Marshal(snapshot{
		Version: snapshotVersion, Address: s.Address, Lineage: s.Lineage.String(), InputNo: s.InputNo, Step: s.StepNo, CoreTS: s.CoreTS,
		ProcessedTS: s.ProcessedTS, Epoch: s.Epoch, RunID: s.RunID, PackageHash: s.PackageHash, ConfigHash: s.ConfigHash, Params: s.written, Init: s.Init, NextInit: s.NextInit,
		Pending: s.Pending, Timers: s.Timers, Queue: s.Queue, Cursors: s.Cursors, Market: s.Market, Held: s.Held, Recovery: s.Recovery, Obligation: s.Obligation, Obligations: s.Obligations,
		OwnIntents: s.OwnIntents, Computes: s.Computes, Sink: s.Sink, WallAhead: s.WallAhead, Halted: s.Halted, Released: s.Released,
		Timeouts: s.Timeouts, Faults: s.Faults, Kills: s.Kills, Rejects: s.Rejects, Refusals: s.Refusals, Storms: s.Storms, Violations: s.Violations, Clean: s.Clean, Burst: s.Burst,
		InitFailed: s.InitFailed, Orders: s.Orders, Second: s.gate.Second, Cancels: s.gate.Cancels, Proposals: s.gate.Proposals, Run: s.gate.Run,
		Book: book,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: writing the core state: %w", s.Address, err)
	}
	return b, nil
}

// Restore reads what Marshal wrote. The instance must be the same one.
func Restore(b []byte, address ipc.Address, lineage ipc.Lineage) (*State, error) {
	var c snapshot
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%s: the core state of the checkpoint cannot be read: %w", address, err)
	}
	switch {
	case c.Version != snapshotVersion:
		return nil, fmt.Errorf("%s: core state version %d; this msup reads version %d", address, c.Version, snapshotVersion)
	case c.Address != address || c.Lineage != lineage.String():
		return nil, fmt.Errorf("%s (lineage %s): the core state belongs to %s (lineage %s)", address, lineage, c.Address, c.Lineage)
	}
	s := New(address, lineage)
	if err := s.setParams(c.Params); err != nil {
		return nil, fmt.Errorf("%s: the core state of the checkpoint: %w", address, err)
	}
	s.Init, s.NextInit = c.Init, c.NextInit
	s.InputNo, s.StepNo, s.CoreTS, s.ProcessedTS = c.InputNo, c.Step, c.CoreTS, c.ProcessedTS
	s.Epoch, s.RunID, s.PackageHash, s.ConfigHash = c.Epoch, c.RunID, c.PackageHash, c.ConfigHash
	s.Pending, s.Timers, s.Queue, s.Cursors, s.Held = c.Pending, c.Timers, c.Queue, c.Cursors, c.Held
	s.Market = c.Market
	s.Obligation, s.Obligations, s.OwnIntents, s.WallAhead = c.Obligation, c.Obligations, c.OwnIntents, c.WallAhead
	s.Sink, s.Computes = c.Sink, c.Computes
	s.Recovery, s.Halted, s.Released = c.Recovery, c.Halted, c.Released
	s.Timeouts, s.Faults, s.Kills, s.Rejects, s.Refusals = c.Timeouts, c.Faults, c.Kills, c.Rejects, c.Refusals
	s.Violations, s.Clean = c.Violations, c.Clean
	s.Storms, s.Burst, s.InitFailed, s.Orders = c.Storms, c.Burst, c.InitFailed, c.Orders
	s.gate.Second, s.gate.Cancels, s.gate.Run, s.gate.RunID, s.gate.Proposals = c.Second, c.Cancels, c.Run, c.RunID, c.Proposals
	if err := s.gate.Book.Load(c.Book); err != nil {
		return nil, fmt.Errorf("%s: the book of the checkpoint cannot be read: %w", address, err)
	}
	slices.SortFunc(s.Held, func(a, b gate.Held) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	s.mode = gate.Join(s.Held)
	return s, nil
}
