package core

import (
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// IntentRow is the ledger's record of one judged intent.
type IntentRow struct {
	Key        ipc.Key
	Step       ipc.Step
	Ordinal    uint32
	Kind       ipc.IntentKind
	Verdict    gate.Verdict
	Asked      *ipc.Intent // as the strategy answered it
	ValidCore  ipc.Nanos
	ValidWall  ipc.Nanos
	Epoch      ipc.Epoch
	Obligation uint64 // that made it; 0 = the strategy's
}

// StatusRow is one appended transition of an intent's status.
type StatusRow struct {
	Key    ipc.Key
	Status ipc.Status
	Reason ipc.ReasonCode
	CoreTS ipc.Nanos
	Epoch  ipc.Epoch
}

// Note is something that an operator or a metric should hear of (law 5: nothing degrades silently).
type Note struct {
	Reason ipc.ReasonCode
	Level  guard.Level
	Detail string
}

// Effects are what the shell must do after one input, as data. The slices belong to the core and are valid until the next Step.
type Effects struct {
	InputNo    ipc.InputNo
	Intents    []IntentRow     // persist
	Statuses   []StatusRow     // persist
	Offers     []*gate.Tracked // hand to I: they are durable
	Staged     []*gate.Tracked // ask J/E for approval, once durable
	Telemetry  []ipc.Telemetry // to metrics
	Compute    []Task          // to the compute lane, once durable
	Notes      []Note
	Ack        *ipc.Cursor    // acknowledge to the source once durable
	Restart    ipc.ReasonCode // not empty: kill what is left of the runner and restore it
	Halt       ipc.ReasonCode // not empty: stop the runner and stay halted
	Resume     bool           // the halt is over: start the runner
	Checkpoint bool           // the strategy asked for a checkpoint
	Snapshot   bool           // ask I for a snapshot
	Urgent     bool           // somebody waits for the durability of this input
}

func (e *Effects) reset(no ipc.InputNo) {
	*e = Effects{
		InputNo: no, Intents: e.Intents[:0], Statuses: e.Statuses[:0], Offers: e.Offers[:0], Staged: e.Staged[:0],
		Telemetry: e.Telemetry[:0], Compute: e.Compute[:0], Notes: e.Notes[:0],
	}
}

func (e *Effects) note(level guard.Level, reason ipc.ReasonCode, detail string) {
	e.Notes = append(e.Notes, Note{Reason: reason, Level: level, Detail: detail})
}
