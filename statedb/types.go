package statedb

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/msup/msup/ipc"
)

// Durability says what a reported persist survives.
type Durability uint8

// The durabilities, strongest first.
const (
	// Power survives a power cut: every commit is synced before it is reported.
	Power Durability = iota
	// Process survives kill -9 of the process, not a power cut. After a power cut the mark may be ahead of the ledger,
	// which halts the instance and names this setting as the cause.
	Process
	// None is for research: nothing is promised after any crash.
	None
)

// String returns the word used in msup.toml.
func (d Durability) String() string {
	switch d {
	case Power:
		return "power"
	case Process:
		return "process"
	case None:
		return "none"
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// Options of Open. The zero value is the safe one.
type Options struct {
	Durability Durability
	Logger     *slog.Logger // nil: slog.Default
	// CommitDelay is the longest wait of batches that nobody waits for; 0 means DefaultCommitDelay, negative none.
	CommitDelay time.Duration
	// Observer, when set, is called from the writer goroutine after every commit; it must not block.
	Observer func(CommitInfo)
	// WALTarget is the size in bytes above which the write-ahead log is emptied in the background; 0 means DefaultWALTarget.
	WALTarget int64
}

// Defaults and limits. Sizes are in bytes.
const (
	DefaultCommitDelay = 5 * time.Millisecond
	DefaultWALTarget   = 8 << 20

	MaxInputsBytes      = 16 << 20 // encoded inputs of one batch
	MaxIntentBytes      = 1 << 20  // encoded intent
	MaxReasonBytes      = 4 << 10  // reason of a status
	MaxStateBytes       = 16 << 20 // state bytes of a checkpoint
	MaxCoreBytes        = 16 << 20 // core state of a checkpoint
	MaxCursors          = 4096     // cursors of a checkpoint
	MaxBatchRows        = 4096     // intents + statuses of one batch
	PruneRowsPerTx      = 1000     // rows deleted in one transaction (a longer one stalls the writer)
	pruneBytesPerTx     = 4 << 20  // payload bytes deleted in one transaction
	maxPruneRest        = 50 * time.Millisecond
	maxGroupBytes       = 8 << 20 // payload bytes after which a group commit is closed
	maxGroupOps         = 1024    // operations after which a group commit is closed
	markSyncInterval    = 10 * time.Millisecond
	maxRowNo            = 1<<40 - 1
	maxInstances        = 1 << 22
	inputsHeaderBytes   = 24
	defaultMarkCapacity = 64
)

// Head is a place in an instance's chain: the number of the last row and the hash over everything up to it.
type Head struct {
	RowNo uint64
	Hash  ipc.Digest
}

// InstanceInfo describes one instance that the ledger knows.
type InstanceInfo struct {
	Address ipc.Address
	Lineage ipc.Lineage
	Created ipc.Nanos // wall time of the first creation
	Epoch   ipc.Epoch
	Head    Head
}

// IntentRow is an intent after the gate, with its verdict.
type IntentRow struct {
	Key            ipc.Key
	Step           ipc.Step
	Ordinal        uint32
	Bytes          []byte     // the intent after the gate, opaque
	RequestDigest  ipc.Digest // before the gate
	Digest         ipc.Digest // after the gate
	Verdict        uint8
	ValidUntilCore ipc.Nanos
	ValidUntilWall ipc.Nanos
	Epoch          ipc.Epoch
}

// StatusRow is one appended transition of an intent's status.
type StatusRow struct {
	Key    ipc.Key
	Status ipc.Status
	CoreTS ipc.Nanos
	Reason string
	Epoch  ipc.Epoch
}

// Batch is what one persist of one instance makes durable, all of it or nothing. The caller does not touch it, or the
// bytes that it refers to, between Persist and Done.
type Batch struct {
	// FirstInput and LastInput are zero when the batch holds no inputs; else FirstInput follows the last persisted input.
	FirstInput, LastInput ipc.InputNo
	Inputs                []byte // encoded inputs, opaque, framed by the caller
	Intents               []IntentRow
	Statuses              []StatusRow
	// Epoch of the writer; zero means the epoch of the Instance that the batch is given to.
	Epoch ipc.Epoch
	// Urgent: somebody waits, commit at once. A batch with intents is always urgent.
	Urgent bool
	// Done is called once, from the writer goroutine, after the commit returned and the mark was written, or after the
	// batch failed (after Close: from Persist itself, with ErrClosed). It must not block. May be nil.
	Done func(Head, error)
}

// Intent is an intent row as read back, with where it stands.
type Intent struct {
	IntentRow
	RowNo  uint64
	Status ipc.Status // last status; zero when the intent never got one (verdicts late and refused)
}

// StatusEntry is a status row as read back.
type StatusEntry struct {
	StatusRow
	RowNo uint64
}

// IntentFilter narrows Intents; zero fields do not filter.
type IntentFilter struct {
	FromStep, ToStep ipc.Step // inclusive
	FromRow          uint64   // inclusive
	Verdict          uint8
	Limit            int
}

// LeaseRow is the owner recorded with every epoch.
type LeaseRow struct {
	PID       int
	StartTime uint64 // ticks since boot, from /proc/pid/stat
	BootID    string
	Nonce     ipc.Nonce
	WallTS    ipc.Nanos
}

// Lease is an epoch and its owner.
type Lease struct {
	Epoch ipc.Epoch
	LeaseRow
}

// Checkpoint is a strategy's saved state together with everything needed to go on from it.
type Checkpoint struct {
	State              []byte // the strategy's own bytes
	StateSchemaVersion uint32
	Cursors            []ipc.Cursor
	InputNo            ipc.InputNo // last input that the state includes; ends a persisted batch
	Step               ipc.Step
	Core               []byte // the core's state
	PackageHash        ipc.Digest
	ConfigHash         ipc.Digest
	Head               Head // of the persisted batch that ends at InputNo
	SavedCoreTS        ipc.Nanos
	Generation         uint64 // counts the saves of the instance; set by SaveCheckpoint
}
