package ipc

import "fmt"

// IntentKind is the first element of every encoded intent (DM-4). Values are fixed for ever.
type IntentKind uint8

// The seven kinds of intent.
const (
	IntentOrder    IntentKind = 1
	IntentCancel   IntentKind = 2
	IntentAmend    IntentKind = 3
	IntentPosition IntentKind = 4
	IntentAlert    IntentKind = 5
	IntentNoOp     IntentKind = 6
	IntentRiskHint IntentKind = 7
)

// String returns the name used in descriptors, metrics and logs.
func (k IntentKind) String() string {
	switch k {
	case IntentOrder:
		return "order"
	case IntentCancel:
		return "cancel"
	case IntentAmend:
		return "amend"
	case IntentPosition:
		return "position"
	case IntentAlert:
		return "alert"
	case IntentNoOp:
		return "no_op"
	case IntentRiskHint:
		return "risk_hint"
	}
	return fmt.Sprintf("intent(%d)", uint8(k))
}

// Intent is the only thing that leaves M (NN-5): metadata and one body.
type Intent struct {
	Meta IntentMeta
	Body IntentBody
}

// Kind names the body.
func (i *Intent) Kind() IntentKind { return i.Body.IntentKind() }

// IntentMeta is mandatory on every intent, or it is discarded (GT-4). Name and Proposal are optional.
type IntentMeta struct {
	Bot             BotID
	Strategy        StrategyID
	StrategyVersion string
	Instance        InstanceID
	RunID           RunID
	TraceID         TraceID
	Key             Key          // idempotency_key
	RiskContext     *RiskContext // nil on the wire = missing
	Name            string       // the name of a named key; "" = keyed by step and ordinal
	Proposal        string       // the proposal that a risk-increasing intent rests on; "" = none
}

// RiskContext is what J needs to judge an intent (BC-J).
type RiskContext struct {
	MaxSlippage   Decimal // largest tolerable slippage, as a fraction of the price (0.001 = 10 bp)
	MaxDelayNS    Nanos   // tolerable delay from the step to the offer; it sets valid_until
	HoldingTimeNS Nanos   // expected holding time
	Budget        Decimal // largest notional at stake, in the quote currency
}

// IntentBody is one of the body structs of this file, always held as a pointer.
type IntentBody interface{ IntentKind() IntentKind }

// OrderType says how an order is priced.
type OrderType uint8

// The order types.
const (
	OrderMarket    OrderType = 1
	OrderLimit     OrderType = 2
	OrderStop      OrderType = 3
	OrderStopLimit OrderType = 4
)

// TimeInForce says how long an order stays.
type TimeInForce uint8

// The times in force.
const (
	TIFGoodTillCancel    TimeInForce = 1
	TIFImmediateOrCancel TimeInForce = 2
	TIFFillOrKill        TimeInForce = 3
	TIFDay               TimeInForce = 4
)

// OrderIntent asks I for a new order.
type OrderIntent struct {
	Instrument  InstrumentID
	Side        Side
	Type        OrderType
	Quantity    Decimal
	LimitPrice  *Decimal
	StopPrice   *Decimal
	TimeInForce TimeInForce
	ReduceOnly  bool
	PostOnly    bool
}

// CancelIntent asks I to cancel the order of an earlier intent.
type CancelIntent struct {
	Instrument InstrumentID
	TargetKey  Key
}

// AmendIntent asks I to change the order of an earlier intent; nil leaves a value as it is.
type AmendIntent struct {
	Instrument InstrumentID
	TargetKey  Key
	Quantity   *Decimal
	LimitPrice *Decimal
}

// PositionIntent asks I to bring the position to a signed target.
type PositionIntent struct {
	Instrument     InstrumentID
	TargetQuantity Decimal
	LimitPrice     *Decimal
}

// Severity grades an alert.
type Severity uint8

// The severities.
const (
	SeverityInfo     Severity = 1
	SeverityWarning  Severity = 2
	SeverityCritical Severity = 3
)

// AlertIntent tells people something; Code is a short tag, never free text.
type AlertIntent struct {
	Severity   Severity
	Code       string
	Instrument InstrumentID // "" = none
}

// NoOpIntent records the decision to do nothing.
type NoOpIntent struct{ Reason string }

// RiskHint tells J and E something; they decide.
type RiskHint struct {
	Hint       string
	Instrument InstrumentID // "" = none
	Value      *Decimal
}

// IntentKind methods name the body on the wire.
func (*OrderIntent) IntentKind() IntentKind    { return IntentOrder }
func (*CancelIntent) IntentKind() IntentKind   { return IntentCancel }
func (*AmendIntent) IntentKind() IntentKind    { return IntentAmend }
func (*PositionIntent) IntentKind() IntentKind { return IntentPosition }
func (*AlertIntent) IntentKind() IntentKind    { return IntentAlert }
func (*NoOpIntent) IntentKind() IntentKind     { return IntentNoOp }
func (*RiskHint) IntentKind() IntentKind       { return IntentRiskHint }

// Status is the state of an intent in the ledger and at I; every change is an appended row (GT-7).
type Status uint8

// The statuses. NotSeen is I's answer to a query for a key that it does not know; it is never stored.
const (
	StatusNotSeen   Status = 0
	StatusStaged    Status = 1
	StatusApproved  Status = 2
	StatusOffered   Status = 3
	StatusCommitted Status = 4
	StatusRejected  Status = 5
	StatusExpired   Status = 6
	StatusWithdrawn Status = 7
)

// Terminal reports whether no other status may follow.
func (s Status) Terminal() bool { return s >= StatusCommitted && s <= StatusWithdrawn }

// String returns the name used in the ledger's exports.
func (s Status) String() string {
	switch s {
	case StatusNotSeen:
		return "not_seen"
	case StatusStaged:
		return "staged"
	case StatusApproved:
		return "approved"
	case StatusOffered:
		return "offered"
	case StatusCommitted:
		return "committed"
	case StatusRejected:
		return "rejected"
	case StatusExpired:
		return "expired"
	case StatusWithdrawn:
		return "withdrawn"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// CanBecome reports whether next may be appended after s: the table of formats.md, "Intent status".
func (s Status) CanBecome(next Status) bool {
	switch s {
	case StatusNotSeen:
		return next == StatusStaged
	case StatusStaged:
		return next == StatusApproved || next == StatusExpired || next == StatusWithdrawn
	case StatusApproved:
		return next >= StatusOffered && next <= StatusWithdrawn
	case StatusOffered:
		return next == StatusCommitted || next == StatusRejected || next == StatusExpired
	}
	return false
}

// Restriction is a reason to trade less; restrictions are joined, so that more of them only ever mean less trading.
type Restriction struct {
	SizeFactor Decimal // 0..1, scales only the part of an order that increases risk; 1 = no limit
	LimitOnly  bool
	ReduceOnly bool
	NoTrade    bool
}
