package ipc

// MessageType is the first element of every frame. Values are fixed for ever.
type MessageType uint8

// Runner session (supervisor ↔ runner).
const (
	TypeHello             MessageType = 1  // runner → supervisor
	TypeInit              MessageType = 2  // supervisor → runner
	TypeAnswer            MessageType = 3  // runner → supervisor
	TypeDeliver           MessageType = 4  // supervisor → runner
	TypeBatch             MessageType = 5  // supervisor → runner
	TypeBatchAnswer       MessageType = 6  // runner → supervisor
	TypeCheckpointRequest MessageType = 7  // supervisor → runner
	TypeChunk             MessageType = 8  // both ways
	TypeHealthcheck       MessageType = 9  // supervisor → runner
	TypeHealthReport      MessageType = 10 // runner → supervisor
	TypeStop              MessageType = 11 // supervisor → runner: leave the loop and exit 0
)

// Boundary (M ↔ H, I, J/E).
const (
	TypeBoundaryHello   MessageType = 32 // M → I
	TypeWelcome         MessageType = 33 // I → M
	TypeRefused         MessageType = 34 // I → M
	TypeOffer           MessageType = 35 // M → I
	TypeQuery           MessageType = 36 // M → I
	TypeStatus          MessageType = 37 // I → M
	TypeTombstone       MessageType = 38 // M → I
	TypeLastStep        MessageType = 39 // I → M
	TypeEvent           MessageType = 40 // source → M
	TypeAck             MessageType = 41 // M → source, I → M for Sync
	TypeResume          MessageType = 42 // M → source
	TypeSnapshotRequest MessageType = 43 // M → I
	TypeApprovalRequest MessageType = 44 // M → J/E
	TypeApproval        MessageType = 45 // J/E → M
	TypeSync            MessageType = 46 // M → I: answer when all before it has been worked off
)

// Message is one of the message structs of this package, always held as a pointer.
type Message interface{ Type() MessageType }

// Versions that the handshake compares. They rise when a peer of the older version could misread the bytes.
const (
	ABIVersion            = 1
	EventContractVersion  = 1
	IntentContractVersion = 1
)

// Hello opens a runner session; it must be the first frame.
type Hello struct {
	Seq                uint64
	ABI                uint32
	SDK                string // "python", "rust"
	SDKVersion         string
	EventContract      uint32
	IntentContract     uint32
	PackageHash        string   // 64 hex characters, from the environment the supervisor gave
	Hooks              []string // optional callbacks that the strategy has: "on_recovered", "on_config", "on_healthcheck", "migrate"
	StateSchemaVersion uint32
}

// RunMode says what the events are.
type RunMode uint8

// The modes.
const (
	ModeLive     RunMode = 1
	ModeReplay   RunMode = 2
	ModeResearch RunMode = 3
	ModeShadow   RunMode = 4
	ModeSmoke    RunMode = 5
)

// Instrument says how an instrument is quantised (GT-1). A zero decimal means: no such limit.
type Instrument struct {
	ID          InstrumentID
	Tick        Decimal // price step
	Lot         Decimal // quantity step
	MinQuantity Decimal
	MaxQuantity Decimal
	MinNotional Decimal // quote currency
	Base, Quote string
	Venue       string
}

// Init is the first message to the runner; it asks for on_init. Where StateBytes is not nil, Chunk frames with the state follow.
type Init struct {
	Seq             uint64
	Step            Step
	ProcessedTS     Nanos
	TraceID         TraceID
	Address         Address
	StrategyVersion string
	Lineage         Lineage
	RunID           RunID
	Epoch           Epoch
	Lane            Lane
	Mode            RunMode
	RunSeed         uint64
	Config          Values
	Instruments     []Instrument
	RiskContext     *RiskContext // the descriptor's default; the SDK fills it in
	Restored        bool         // state and step come from a checkpoint; the answer's effects do not count again
	StateVersion    uint32       // state_schema_version of the bytes that follow
	StateBytes      *uint64      // length of the state that follows in chunks; nil = none (first start)
	MaxAnswerBytes  uint64
	MaxStateBytes   uint64
	MaxIntents      uint32 // per answer
}

// Deliver carries one event to the strategy. It is one step.
type Deliver struct {
	Seq         uint64
	Step        Step
	ProcessedTS Nanos
	TraceID     TraceID // "": the SDK makes run_id-step
	Event       Event
}

// BatchEvent is one event of a Batch.
type BatchEvent struct {
	ProcessedTS Nanos
	TraceID     TraceID
	Event       Event
}

// Batch carries events of steps FirstStep, FirstStep+1, …; research and replay only.
type Batch struct {
	Seq       uint64
	FirstStep Step
	Events    []BatchEvent
}

// Answer is what the strategy returned for one step, its parts kept apart (DM-3).
type Answer struct {
	Seq       uint64
	Step      Step
	Intents   []*Intent
	Updates   *StateUpdates
	Timers    []TimerRequest
	Compute   []ComputeRequest
	Telemetry []Telemetry
	Fault     *Fault
}

// Empty reports whether nothing but the step is in the answer.
func (a *Answer) Empty() bool {
	return len(a.Intents) == 0 && a.Updates == nil && len(a.Timers) == 0 && len(a.Compute) == 0 &&
		len(a.Telemetry) == 0 && a.Fault == nil
}

// BatchAnswer ends a batch at the first event with a non-empty answer, or at its last one.
type BatchAnswer struct {
	Consumed uint32 // how many events were taken, at least 1
	Answer   Answer // of the last one taken
}

// StateUpdates asks for a checkpoint and may carry a bounded delta of the supervisor's copy of the state; a nil value deletes.
type StateUpdates struct {
	Checkpoint bool
	Delta      map[string][]byte
}

// TimerOp says what to do with a timer.
type TimerOp uint8

// The timer operations.
const (
	TimerSet    TimerOp = 1
	TimerCancel TimerOp = 2
)

// TimerRequest sets (replacing one of the same id) or cancels a timer. DueTS is a processed time.
type TimerRequest struct {
	Op      TimerOp
	TimerID string
	DueTS   Nanos
}

// ComputeRequest asks the strategy's compute part for something (LN-2).
type ComputeRequest struct {
	Task    string
	Payload []byte
	TTL     Nanos
}

// Telemetry is a declared name with a number or a short tag; free text is forbidden (DM-3).
type Telemetry struct {
	Name  string
	Value float64
	Tag   string // used when IsTag
	IsTag bool
}

// Fault is a typed failure inside the strategy; only Kind is part of the answer's digest.
type Fault struct {
	Kind      string // "exception", "bad_return", "config", "state", "memory", "determinism"
	Message   string
	Traceback string
}

// CheckpointRequest asks for the state after Step; the runner answers with Chunk frames, or with an Answer that holds a fault.
type CheckpointRequest struct {
	Seq      uint64
	Step     Step
	MaxBytes uint64
}

// Chunk is a part of a strategy's state, at most MaxChunkBytes long.
type Chunk struct {
	Seq          uint64
	Offset       uint64
	Total        uint64
	StateVersion uint32
	Data         []byte
}

// Healthcheck asks for on_healthcheck. It is no step and must not change state.
type Healthcheck struct{ Seq uint64 }

// HealthReport answers it: 0 healthy, 1 degraded, 2 failing, with a short tag.
type HealthReport struct {
	Seq    uint64
	Health uint8
	Tag    string
}

// Stop ends the session: the runner exits with code 0.
type Stop struct{ Seq uint64 }

// BoundaryHello announces an instance and its epoch to I, durable there before Welcome (LS-3).
type BoundaryHello struct {
	Seq            uint64
	Address        Address
	Lineage        Lineage
	Epoch          Epoch
	Owner          Nonce
	OldestOpenStep Step
}

// Welcome tells the last step that I has seen and its cursor.
type Welcome struct {
	Seq      uint64
	Address  Address
	LastStep Step
	Cursor   Cursor
}

// Refused bars an instance: the epoch is lower than one that I knows, or equal with another owner.
type Refused struct {
	Seq     uint64
	Address Address
	Reason  ReasonCode
	Epoch   Epoch
}

// Offer hands an intent to I: at least once, with key, epoch and digest (GT-5).
type Offer struct {
	Seq        uint64
	Address    Address
	Epoch      Epoch
	Step       Step
	Ordinal    uint32
	Digest     Digest
	ValidUntil Nanos // wall time, ns UTC, after which I must not act on a first sight
	Intent     *Intent
}

// Query asks what I knows of a key.
type Query struct {
	Seq     uint64
	Address Address
	Epoch   Epoch
	Key     Key
}

// StatusReport is I's word on a key, in answer to Offer, Query and Tombstone, or unasked.
type StatusReport struct {
	Seq     uint64 // of the question; 0 unasked
	Address Address
	Key     Key
	Status  Status
	Digest  *Digest // nil when not seen
	Reason  ReasonCode
}

// Tombstone durably turns not_seen into expired; a known key keeps its status.
type Tombstone struct {
	Seq     uint64
	Address Address
	Epoch   Epoch
	Key     Key
}

// LastStep reports the last step that I has seen of an instance.
type LastStep struct {
	Seq     uint64
	Address Address
	Step    Step
}

// SourceEvent carries an event into M. Address is nil for market events.
type SourceEvent struct {
	Seq     uint64
	Address *Address
	Cursor  Cursor
	RecvTS  Nanos
	TraceID TraceID
	Event   Event
}

// Ack says that everything up to Cursor is durable; for Sync it carries the seq alone.
type Ack struct {
	Seq     uint64
	Address *Address
	Cursor  Cursor
}

// Resume asks a source to go on after Cursor.
type Resume struct {
	Seq     uint64
	Address *Address
	Cursor  Cursor
}

// SnapshotRequest asks I for an ExecutionSnapshot.
type SnapshotRequest struct {
	Seq     uint64
	Address Address
}

// ApprovalRequest asks J/E to approve a staged intent (GT-7).
type ApprovalRequest struct {
	Seq        uint64
	Address    Address
	Epoch      Epoch
	Step       Step
	Ordinal    uint32
	Digest     Digest
	ValidUntil Nanos
	Intent     *Intent
}

// Approval is the answer of J/E.
type Approval struct {
	Seq      uint64
	Address  Address
	Key      Key
	Approved bool
	Reason   ReasonCode
}

// Sync asks the simulated I to answer with Ack when everything sent before is worked off.
type Sync struct{ Seq uint64 }

// Type methods name the message on the wire.
func (*Hello) Type() MessageType             { return TypeHello }
func (*Init) Type() MessageType              { return TypeInit }
func (*Answer) Type() MessageType            { return TypeAnswer }
func (*Deliver) Type() MessageType           { return TypeDeliver }
func (*Batch) Type() MessageType             { return TypeBatch }
func (*BatchAnswer) Type() MessageType       { return TypeBatchAnswer }
func (*CheckpointRequest) Type() MessageType { return TypeCheckpointRequest }
func (*Chunk) Type() MessageType             { return TypeChunk }
func (*Healthcheck) Type() MessageType       { return TypeHealthcheck }
func (*HealthReport) Type() MessageType      { return TypeHealthReport }
func (*Stop) Type() MessageType              { return TypeStop }
func (*BoundaryHello) Type() MessageType     { return TypeBoundaryHello }
func (*Welcome) Type() MessageType           { return TypeWelcome }
func (*Refused) Type() MessageType           { return TypeRefused }
func (*Offer) Type() MessageType             { return TypeOffer }
func (*Query) Type() MessageType             { return TypeQuery }
func (*StatusReport) Type() MessageType      { return TypeStatus }
func (*Tombstone) Type() MessageType         { return TypeTombstone }
func (*LastStep) Type() MessageType          { return TypeLastStep }
func (*SourceEvent) Type() MessageType       { return TypeEvent }
func (*Ack) Type() MessageType               { return TypeAck }
func (*Resume) Type() MessageType            { return TypeResume }
func (*SnapshotRequest) Type() MessageType   { return TypeSnapshotRequest }
func (*ApprovalRequest) Type() MessageType   { return TypeApprovalRequest }
func (*Approval) Type() MessageType          { return TypeApproval }
func (*Sync) Type() MessageType              { return TypeSync }
