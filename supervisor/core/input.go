package core

import (
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
)

// InputKind is stored in the log and fixed for ever.
type InputKind uint8

// The kinds of input: everything that can change an instance's state.
const (
	KindStart     InputKind = 1  // a supervisor process took the instance
	KindDelivery  InputKind = 2  // an event was handed to the strategy
	KindAnswer    InputKind = 3  // what became of the delivery
	KindArrival   InputKind = 4  // an event of I, J or E reached the instance, whether a runner is there or not
	KindStatus    InputKind = 5  // I's word on an intent
	KindApproval  InputKind = 6  // the word of J/E on a staged intent
	KindRelease   InputKind = 7  // everything up to an input is durable: what rests on it may leave
	KindGuard     InputKind = 8  // a guard's transition
	KindCommand   InputKind = 9  // an operator's command
	KindConfig    InputKind = 10 // a validated configuration change
	KindTick      InputKind = 11 // nothing but the time
	KindInform    InputKind = 12 // a runner was brought up on a checkpoint without a replay
	KindComputed  InputKind = 13 // what became of a request to the compute lane
	KindViolation InputKind = 14 // a limit was reached, or a promise broken, that no other input shows
)

// Input is one of the input structs of this file, always held as a pointer.
type Input interface {
	InputKind() InputKind
	coreTS() ipc.Nanos
}

// At carries the time of an input: elapsed core time, continued across restarts. Windows, cooldowns and expiries use it alone.
type At struct{ CoreTS ipc.Nanos }

func (a *At) coreTS() ipc.Nanos { return a.CoreTS }

// Start opens an epoch: a supervisor process took over the instance (LS-3).
type Start struct {
	At
	Epoch           ipc.Epoch
	RunID           ipc.RunID
	StrategyVersion string
	PackageHash     ipc.Digest
	ConfigHash      ipc.Digest
	WallTS          ipc.Nanos
	MSUPVersion     string
	Params          []byte // Params as JSON: with them the log alone says what the core may do
	Init            []byte // ipc.Init as a message: configuration, instruments, limits and seed, as the strategy gets them
}

// Delivery is one step: the event as it is handed to the strategy, byte for byte.
type Delivery struct {
	At
	Step        ipc.Step
	ProcessedTS ipc.Nanos
	TraceID     ipc.TraceID
	Queued      bool   // the event is the head of the core's queue of arrivals and notices
	Event       []byte // encoded event
}

// Outcome says what became of a delivery.
type Outcome uint8

// The outcomes of a delivery.
const (
	Applied Outcome = 1
	Late    Outcome = 2 // answered after the soft deadline: its intents are discarded
	Faulted Outcome = 3 // the strategy failed in a typed way
	Killed  Outcome = 4 // the runner died or was killed over it
)

// String returns the name used in logs and metrics.
func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case Late:
		return "late"
	case Faulted:
		return "faulted"
	case Killed:
		return "killed"
	}
	return "unknown"
}

// Answer closes a step.
type Answer struct {
	At
	Step       ipc.Step
	Outcome    Outcome
	Digest     ipc.Digest // of the whole answer; zero when killed
	DurationNS ipc.Nanos  // from the delivery to the answer
	Reason     ipc.ReasonCode
	Body       []byte // the answer's message, canonical; empty for an empty answer or a killed delivery

	// Decoded is Body, decoded; nil = Step decodes it. The log holds only Body: the pump, which has just decoded the answer, saves 1 µs an
	// event, and fills in Digest and Body when Step has judged.
	Decoded *ipc.Answer
}

// Arrival is an event of I, J or E. It acts on the core at once; the strategy sees it later, in a Delivery (BP-2, BP-3).
type Arrival struct {
	At
	Cursor  ipc.Cursor
	TraceID ipc.TraceID
	Event   []byte
}

// Status is I's word on one intent.
type Status struct {
	At
	Key    ipc.Key
	Status ipc.Status
	Digest *ipc.Digest // what I holds under the key; nil when it says nothing of it
	Reason ipc.ReasonCode
}

// Approval is the word of J/E on a staged intent (GT-7).
type Approval struct {
	At
	Key      ipc.Key
	Approved bool
	Reason   ipc.ReasonCode
}

// Release says that every input up to Upto is durable: intents that rest on them may be offered.
type Release struct {
	At
	Upto   ipc.InputNo
	WallTS ipc.Nanos
}

// Guard is a guard's transition: impose or lift one restriction.
type Guard struct {
	At
	Lift bool
	Held gate.Held // with Lift only ID and Reason count
}

// CommandOp is what an operator asks for.
type CommandOp uint8

// The operator's commands.
const (
	OpHalt   CommandOp = 1
	OpResume CommandOp = 2
	OpMode   CommandOp = 3 // replaces the operator's restriction
	// OpShutdown tells the strategy that the runner is going to stop in order.
	OpShutdown CommandOp = 4
	// OpCancelAll and OpHedgeToFlat are obligations: M does them itself, with or without a runner. OpAbandon ends one that cannot be met.
	OpCancelAll   CommandOp = 5
	OpHedgeToFlat CommandOp = 6
	OpAbandon     CommandOp = 7
	// OpReask says that the connection to I ended, or that I refused to take offers: what was offered must be asked about before anything else.
	OpReask CommandOp = 8
	// OpBehind says that I has made reports which are not here and do not come: only a snapshot says what the positions are.
	OpBehind CommandOp = 9
)

// Command is an operator's command.
type Command struct {
	At
	Op          CommandOp
	Who         string
	Reason      ipc.ReasonCode
	Restriction ipc.Restriction // of OpMode
}

// Config is a validated change of configuration; the strategy sees it as a ConfigUpdate (HR-1, HR-3).
type Config struct {
	At
	Event []byte // encoded ConfigUpdate
	Init  []byte // ipc.Init as a message, with the new configuration: what a runner that is restored later gets
}

// Tick advances the core's time when nothing else does, so that cooldowns and expiries happen.
type Tick struct {
	At
	WallTS ipc.Nanos
}

// InputKind methods name the input in the log.
func (*Start) InputKind() InputKind    { return KindStart }
func (*Delivery) InputKind() InputKind { return KindDelivery }
func (*Answer) InputKind() InputKind   { return KindAnswer }
func (*Arrival) InputKind() InputKind  { return KindArrival }
func (*Status) InputKind() InputKind   { return KindStatus }
func (*Approval) InputKind() InputKind { return KindApproval }
func (*Release) InputKind() InputKind  { return KindRelease }
func (*Guard) InputKind() InputKind    { return KindGuard }
func (*Command) InputKind() InputKind  { return KindCommand }
func (*Config) InputKind() InputKind   { return KindConfig }
func (*Tick) InputKind() InputKind     { return KindTick }
