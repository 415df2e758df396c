package descriptor

import (
	"time"

	"github.com/msup/msup/ipc"
)

// FileName is the name of the descriptor inside a package.
const FileName = "strategy.toml"

// RuntimeKind says what executes a strategy (NN-1).
type RuntimeKind string

// The runtime kinds.
const (
	RuntimePython     RuntimeKind = "python"
	RuntimeRustWasm   RuntimeKind = "rust_wasm"
	RuntimeRustNative RuntimeKind = "rust_native"
)

// InstanceModel says whether a strategy runs once per bot or in shards (DM-2).
type InstanceModel string

// The instance models.
const (
	ModelSingle  InstanceModel = "single"
	ModelSharded InstanceModel = "sharded"
)

// Isolation is the least isolation that a descriptor, an entry of a deployment or the host policy demands.
type Isolation string

// The isolation demands. Auto takes the strongest that the host offers.
const (
	IsolationAuto Isolation = "auto"
	IsolationL0   Isolation = "L0"
	IsolationL1   Isolation = "L1"
	IsolationL2   Isolation = "L2"
	IsolationL3   Isolation = "L3"
)

// Rank orders demands: auto is -1, L0 is 0 … L3 is 3. A sandbox of level n satisfies a demand of rank at most n.
func (i Isolation) Rank() int {
	switch i {
	case IsolationL0:
		return 0
	case IsolationL1:
		return 1
	case IsolationL2:
		return 2
	case IsolationL3:
		return 3
	}
	return -1
}

// Recovery says how an instance gets its memory back after a crash.
type Recovery string

// The ways of recovery.
const (
	RecoveryReplay Recovery = "replay" // checkpoint, then the recorded inputs, comparing every answer
	RecoveryInform Recovery = "inform" // checkpoint, then on_recovered
)

// Descriptor is a decoded and validated strategy.toml (DM-1). It is never changed after it was made; share the pointer.
type Descriptor struct {
	File         string // the file it was read from, for messages
	Strategy     ipc.StrategyID
	Version      string // SemVer
	Runtime      RuntimeKind
	Entry        string // python: "module:Class"; rust: the file of the module or binary, relative to the package
	Model        InstanceModel
	Lane         ipc.Lane
	Isolation    Isolation
	Description  string
	Capabilities Capabilities
	Resources    Resources
	Ladders      []NamedLadder   // every kind (SB-7)
	Breaker      Breaker         // what a ladder's degrade means (RS-6)
	SLO          SLO             // promises for every window (LN-6)
	Risk         ipc.RiskContext // default of the mandatory risk_context (BC-J)
	State        StatePolicy
	Contracts    Contracts
	Config       ConfigSchema
	Telemetry    []string // declared names, sorted; any other name is refused (DM-3)
	Warmup       Warmup
	Python       Python
	Provenance   Provenance
	Services     []Service // external services that it may ask (EX-2)
	Compute      Compute   // the compute lane (LN-2)
}

// Capabilities is what a strategy may subscribe to and ask for; everything else is refused (RS-4, SB-3).
type Capabilities struct {
	Events      []ipc.EventKind  // subscribed kinds, ascending
	Instruments []string         // globs on instrument ids: * and ? match any characters
	Intents     []ipc.IntentKind // ascending
	OrderTypes  []ipc.OrderType  // ascending
	Venues      []string         // globs on Instrument.Venue
	Assets      []string         // globs on Instrument.Base and Quote
	External    []string         // allow-listed external services; compute lane only (EX-2)
}

// Resources are the ceilings of one instance (SB-1, SB-2, SB-4, SB-5, BP-4).
type Resources struct {
	CPUCores           float64       `json:"cpu_cores"`
	MemoryMB           int64         `json:"memory_mb"` // MiB
	Threads            int64         `json:"threads"`   // processes and threads
	OpenFiles          int64         `json:"open_files"`
	TmpMB              int64         `json:"tmp_mb"` // MiB
	DeadlineSoft       time.Duration `json:"deadline_soft_ns"`
	DeadlineHard       time.Duration `json:"deadline_hard_ns"`
	DeadlineInit       time.Duration `json:"deadline_init_ns"`       // import and on_init, restoring included
	DeadlineCheckpoint time.Duration `json:"deadline_checkpoint_ns"` // answer to a checkpoint request
	DeadlineStop       time.Duration `json:"deadline_stop_ns"`       // on_shutdown
	QueueEvents        int64         `json:"queue_events"`           // market events waiting (BP-4)
	AnswerBytes        int64         `json:"answer_bytes"`
	StateBytes         int64         `json:"state_bytes"`
	Timers             int64         `json:"timers"` // pending at one time
	IntentsPerEvent    int64         `json:"intents_per_event"`
	IntentsPerSecond   int64         `json:"intents_per_second"`
	IntentsPerRun      int64         `json:"intents_per_run"`
	CancelsPerSecond   int64         `json:"cancels_per_second"` // a ceiling of their own: cancels pass every mode
	LogLinesPerSecond  int64         `json:"log_lines_per_second"`
	LogBytesPerRun     int64         `json:"log_bytes_per_run"`
	RestartsPerHour    int64         `json:"restarts_per_hour"`
}

// StatePolicy says how state is saved and restored (ST-1, ST-2, ST-5).
type StatePolicy struct {
	SchemaVersion    uint32
	MigratesFrom     []uint32 // older schema versions that the strategy's migrate hook accepts, ascending
	CheckpointSteps  uint64
	CheckpointPeriod time.Duration
	Recovery         Recovery
}

// Contracts are the versions of the contracts the strategy was written for.
type Contracts struct {
	Events  uint32
	Intents uint32
}

// Warmup is history delivered, flagged, before going live. At most one of them is above zero.
type Warmup struct {
	Bars     uint64
	Duration time.Duration
}

// Python holds what only Python strategies need.
type Python struct {
	Lock string // hash-locked requirements file relative to the package; "" = no dependencies
}

// Provenance says where the code comes from. It is part of the package, so its signature covers it (BC-U).
type Provenance struct {
	Source   string
	Revision string
	Builder  string
}
