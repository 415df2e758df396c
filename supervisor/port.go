package supervisor

import (
	"context"
	"errors"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// Head is a place in an instance's chain.
type Head struct {
	RowNo uint64
	Hash  ipc.Digest
}

// Batch is what one persist makes durable, all of it or nothing.
type Batch struct {
	First, Last ipc.InputNo
	Inputs      []byte
	Intents     []LedgerIntent
	Statuses    []core.StatusRow
	Urgent      bool
	Done        func(Head, error) // called from the persister; must not block
}

// LedgerIntent is an intent row with its bytes: those after the gate, or those asked for when the gate refused.
type LedgerIntent struct {
	core.IntentRow
	Bytes []byte
}

// Checkpoint is a saved state and everything needed to go on from it (ST-1).
type Checkpoint struct {
	State        []byte
	StateVersion uint32
	Cursors      []ipc.Cursor
	InputNo      ipc.InputNo
	Step         ipc.Step
	Core         []byte
	PackageHash  ipc.Digest
	ConfigHash   ipc.Digest
	Head         Head
	CoreTS       ipc.Nanos
}

// ErrPruned says that the beginning of a log was pruned: what is asked for lies below the older checkpoint.
var ErrPruned = errors.New("the log was pruned")

// Ledger is the durable record of one instance. Implementations: statedb; a memory for research.
type Ledger interface {
	Lineage() ipc.Lineage
	LastInput() ipc.InputNo
	// NextEpoch makes an epoch durable that is higher than every earlier one of this ledger, and than above; every start of the instance
	// takes one (LS-3).
	NextEpoch(owner ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error)
	// Persist makes a batch durable; batches keep their order. A failure voids all later batches until Reset.
	Persist(*Batch)
	// Flush waits until everything given to Persist is durable.
	Flush() (Head, error)
	// Reset ends the voided state and returns the last durable input.
	Reset() (ipc.InputNo, error)
	// ReadInputs calls fn with every batch of inputs from the one that holds from; ErrPruned when that one is gone.
	ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error
	SaveCheckpoint(Checkpoint) error
	// Prune deletes, beside everything else and in small portions, what no valid checkpoint needs any more: rows below the older one, but no
	// intent that is not final.
	Prune() (rows int, err error)
	// Checkpoints returns the valid ones, newest first, and what is wrong with the others.
	Checkpoints() ([]Checkpoint, []error)
}

// EvidenceKeeper is a Ledger whose rows lie in files, which it can copy for a later judgement (ST-4). A memory for research has none.
type EvidenceKeeper interface {
	// KeepEvidence copies the files as they stand and names the folder; the same cause again names the copy that is there.
	KeepEvidence(cause error) (dir string, err error)
}

// Lease is the claim on one instance that all supervisors of a host respect, whatever state directory they use (LS-1, LS-2).
// Implementation: package lease.
type Lease interface {
	// Epoch is the highest that any owner has had.
	Epoch() ipc.Epoch
	// Raise makes the owner's epoch durable in the lease, before the instance goes live.
	Raise(to ipc.Epoch) error
	// Lost is closed when this process is not the owner any more, or may soon be taken for dead; Err says why.
	Lost() <-chan struct{}
	Err() error
}

// Sink is I as seen from one supervisor. Its calls that wait take a context; Offer and Ack only enqueue.
type Sink interface {
	Hello(ctx context.Context, h ipc.BoundaryHello) (ipc.Welcome, error)
	Offer(o *ipc.Offer) error
	Query(ctx context.Context, q ipc.Query) (ipc.StatusReport, error)
	Tombstone(ctx context.Context, t ipc.Tombstone) (ipc.StatusReport, error)
	RequestSnapshot(a ipc.Address) error
	// Resume asks for the reports after a cursor once more.
	Resume(a ipc.Address, c ipc.Cursor) error
	Ack(a ipc.Address, c ipc.Cursor) error
}

// SinkRefusal is found by errors.As in an error of a Sink when I refused, rather than being out of reach.
type SinkRefusal interface {
	error
	// Refusal is I's reason, and the highest epoch that it knows.
	Refusal() (ipc.ReasonCode, ipc.Epoch)
}

// Approver is J or E as asked for approvals (GT-7).
type Approver interface {
	// Request asks for the word on a staged intent, whose bytes are durable. It only enqueues; the word comes through [Instance.Approve],
	// and none before ValidUntil means no. After every start, and after a void, the same intent may be asked about again.
	Request(r *ipc.ApprovalRequest) error
}

// Authority is J or E as a source of restrictions, commands and signals (BP-3). Its calls only enqueue; events come through [Instance.Arrive].
type Authority interface {
	// Resume asks for everything after the cursors that are durable; I's is not among them. After every start, and after a void.
	Resume(a ipc.Address, have []ipc.Cursor) error
	Ack(a ipc.Address, c ipc.Cursor) error
	// Owns reports whether a source of events is J or E, rather than I.
	Owns(source ipc.SourceID) bool
}

// Observer hears what an instance does, on the pump's goroutine: it must be quick and must not call back.
type Observer interface {
	Delivered(a ipc.Address, kind ipc.EventKind)
	Answered(a ipc.Address, outcome core.Outcome, took ipc.Nanos)
	Arrived(a ipc.Address, e ipc.Event)
	Judged(a ipc.Address, row *core.IntentRow)
	Offered(a ipc.Address, t *gate.Tracked)
	Noted(a ipc.Address, n core.Note)
	Telemetry(a ipc.Address, t ipc.Telemetry)
	Restarted(a ipc.Address, reason ipc.ReasonCode)
	Health(a ipc.Address, h core.Health, reason ipc.ReasonCode)
}
