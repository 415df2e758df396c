package ipc

// EventKind is the first element of every encoded event (EV-1). Values are fixed for ever.
type EventKind uint8

// The kinds of event. 1–15 market (H), 16–23 execution (I), 24–31 risk and safety (J, E), from 32 on made by M.
const (
	KindQuote              EventKind = 1
	KindTrade              EventKind = 2
	KindTradeAggregate     EventKind = 3
	KindBookDelta          EventKind = 4
	KindBookSnapshot       EventKind = 5
	KindBar                EventKind = 6
	KindQuoteBar           EventKind = 7
	KindTradingStatus      EventKind = 8
	KindExecution          EventKind = 16
	KindExecutionSnapshot  EventKind = 17
	KindRisk               EventKind = 24
	KindSafety             EventKind = 25
	KindTimer              EventKind = 32
	KindManualSignal       EventKind = 33
	KindComputeResult      EventKind = 34
	KindComputeUnavailable EventKind = 35
	KindConfigUpdate       EventKind = 36
	KindRecovered          EventKind = 37
	KindEventSkipped       EventKind = 38
	KindIntentsDiscarded   EventKind = 39
	KindShutdown           EventKind = 40
)

// Event is one of the event structs of this file, always held as a pointer.
type Event interface{ Kind() EventKind }

// Quality holds the input-quality flags of a market event; flags of conflated events are OR-ed together (DQ-1).
type Quality uint8

// The quality flags.
const (
	QualityStale      Quality = 1 << 0 // older than the source promises
	QualityGap        Quality = 1 << 1 // something before this event is missing
	QualityDup        Quality = 1 << 2 // seen before
	QualityOutOfOrder Quality = 1 << 3 // older than an event already delivered
	QualityClockSkew  Quality = 1 << 4 // event_ts and recv_ts cannot both be right (DQ-3)
	QualityCrossed    Quality = 1 << 5 // bid above ask
	QualityWarmup     Quality = 1 << 6 // history, delivered before going live
)

// Market is the header that every market event starts with.
type Market struct {
	Instrument InstrumentID
	Source     SourceID
	EventTS    Nanos   // venue's time, ns UTC; 0 = the venue gives none
	RecvTS     Nanos   // H's time of reception, ns UTC
	Seq        uint64  // number within (source, source epoch)
	VenueSeq   uint64  // the venue's own number; 0 = none
	Quality    Quality // DQ-1
}

// Header gives the shared header of a market event.
func (m *Market) Header() *Market { return m }

// MarketEvent is an Event with a Market header (BP-1: latest first).
type MarketEvent interface {
	Event
	Header() *Market
}

// Quote is the best bid and ask. A missing side or size is nil.
type Quote struct {
	Market
	Bid, BidSize, Ask, AskSize *Decimal
}

// Side says who buys.
type Side uint8

// The sides; SideUnknown is legal on trades and execution reports, never on orders.
const (
	SideUnknown Side = 0
	SideBuy     Side = 1
	SideSell    Side = 2
)

// Trade is one public trade; Side is the aggressor's.
type Trade struct {
	Market
	Price, Quantity Decimal
	Side            Side
	TradeID         string // venue's id; "" = none
}

// TradeAggregate is what conflation makes of several trades.
type TradeAggregate struct {
	Market
	Count                        uint64
	BuyQuantity, SellQuantity    Decimal
	First, Last, High, Low, VWAP Decimal
	FirstSeq, LastSeq            uint64
}

// Level is one price level of a book; quantity zero removes it.
type Level struct{ Price, Quantity Decimal }

// BookDelta changes levels; First- and LastSeq span the venue's update numbers that it merges.
type BookDelta struct {
	Market
	FirstSeq, LastSeq uint64
	Bids, Asks        []Level
}

// BookSnapshot replaces the book.
type BookSnapshot struct {
	Market
	LastSeq    uint64
	Bids, Asks []Level // best first
}

// Bar is a finished trade bar; EventTS is the bar's start.
type Bar struct {
	Market
	PeriodNS                       Nanos
	Open, High, Low, Close, Volume Decimal
}

// QuoteBar is a finished bar of bid and ask; EventTS is the bar's start. A missing value is nil.
type QuoteBar struct {
	Market
	PeriodNS                                    Nanos
	BidOpen, BidHigh, BidLow, BidClose, BidSize *Decimal
	AskOpen, AskHigh, AskLow, AskClose, AskSize *Decimal
}

// Trading is the venue's state for one instrument.
type Trading uint8

// The trading states.
const (
	TradingUnknown Trading = 0
	TradingOpen    Trading = 1
	TradingHalted  Trading = 2
	TradingClosed  Trading = 3
	TradingAuction Trading = 4
)

// TradingStatus tells of a halt, a close, a reopening.
type TradingStatus struct {
	Market
	Status Trading
	Reason string
}

// ExecutionKind says what I reports of an order. Unknown is a state, never a failure.
type ExecutionKind uint8

// The execution reports.
const (
	ExecAccepted ExecutionKind = 1
	ExecRejected ExecutionKind = 2
	ExecFilled   ExecutionKind = 3 // partly or wholly: see Final and Remaining
	ExecCanceled ExecutionKind = 4
	ExecAmended  ExecutionKind = 5
	ExecUnknown  ExecutionKind = 6
)

// Execution is one report by I on the order of one intent (BP-2: never dropped, in order).
type Execution struct {
	Key          Key
	Report       ExecutionKind
	Instrument   InstrumentID
	EventTS      Nanos
	RecvTS       Nanos
	VenueOrderID string
	Side         Side
	Price        *Decimal // price of this fill
	Quantity     *Decimal // quantity of this fill
	Remaining    *Decimal // open quantity after this report; nil = not known
	Final        bool     // nothing more will happen to this order
	Reason       string   // of a rejection or cancel
	Throttled    bool     // a 429 or its like (CB-1)
	Fee          *Decimal
	FeeAsset     string
}

// PositionRow is a signed position: above zero long.
type PositionRow struct {
	Instrument InstrumentID
	Quantity   Decimal
}

// OpenOrder is an order that can still be filled.
type OpenOrder struct {
	Key       Key
	Remaining Decimal
}

// ExecutionSnapshot is the only way out of unknown positions (BC-I).
type ExecutionSnapshot struct {
	EventTS   Nanos
	RecvTS    Nanos
	Positions []PositionRow
	Open      []OpenOrder
	Cursor    Cursor // reports at or below it are contained
}

// RiskEvent imposes or releases a restriction on behalf of J (BP-3).
type RiskEvent struct {
	EventTS     Nanos
	RecvTS      Nanos
	RestrictID  string // names the restriction, so that it can be replaced and released
	Release     bool
	Restriction Restriction
	Reason      ReasonCode
}

// SafetyCommand is an order of E.
type SafetyCommand uint8

// The safety commands.
const (
	SafetyFreeze      SafetyCommand = 1 // stops everything, obligations too
	SafetyUnfreeze    SafetyCommand = 2
	SafetyCancelAll   SafetyCommand = 3
	SafetyHedgeToFlat SafetyCommand = 4
	SafetyHalt        SafetyCommand = 5
)

// SafetyEvent is a command of E (BP-3).
type SafetyEvent struct {
	EventTS Nanos
	RecvTS  Nanos
	Command SafetyCommand
	Reason  ReasonCode
}

// Timer tells that a timer set by the strategy is due.
type Timer struct {
	TimerID string
	DueTS   Nanos // processed time for which it was set
}

// ManualSignal is an operator's message to the strategy.
type ManualSignal struct {
	EventTS  Nanos
	RecvTS   Nanos
	Operator string
	Name     string
	Values   Values
}

// ComputeResult is the answer of the strategy's compute part (LN-2).
type ComputeResult struct {
	Task        string
	RequestStep Step
	Ordinal     uint32
	RequestedTS Nanos
	Payload     []byte
}

// ComputeUnavailable says that a compute request will not be answered (LN-5).
type ComputeUnavailable struct {
	Task        string
	RequestStep Step
	Ordinal     uint32
	Reason      ReasonCode
}

// ConfigUpdate carries the whole new configuration, already validated (HR-1), and who changed it (HR-3).
type ConfigUpdate struct {
	Config     Values
	ConfigHash Digest
	Who        string
	Why        string
	ChangedTS  Nanos
}

// OpenIntent describes an intent that is not terminal.
type OpenIntent struct {
	Key    Key
	Status Status
	Intent *Intent
}

// Recovered is delivered to strategies that cannot replay (recovery = "inform").
type Recovered struct {
	Positions              []PositionRow
	Open                   []OpenIntent
	IntentsSinceCheckpoint []OpenIntent
}

// EventSkipped tells that an earlier delivery killed the runner and was not delivered again.
type EventSkipped struct {
	SkippedStep Step
	SkippedKind EventKind
	Reason      ReasonCode
}

// IntentsDiscarded tells that the intents of an earlier answer were never sent.
type IntentsDiscarded struct {
	DiscardedStep Step
	Keys          []Key
	Reason        ReasonCode
}

// Shutdown is the last delivery before an orderly stop.
type Shutdown struct{ Reason ReasonCode }

// Kind methods name the event on the wire.
func (*Quote) Kind() EventKind              { return KindQuote }
func (*Trade) Kind() EventKind              { return KindTrade }
func (*TradeAggregate) Kind() EventKind     { return KindTradeAggregate }
func (*BookDelta) Kind() EventKind          { return KindBookDelta }
func (*BookSnapshot) Kind() EventKind       { return KindBookSnapshot }
func (*Bar) Kind() EventKind                { return KindBar }
func (*QuoteBar) Kind() EventKind           { return KindQuoteBar }
func (*TradingStatus) Kind() EventKind      { return KindTradingStatus }
func (*Execution) Kind() EventKind          { return KindExecution }
func (*ExecutionSnapshot) Kind() EventKind  { return KindExecutionSnapshot }
func (*RiskEvent) Kind() EventKind          { return KindRisk }
func (*SafetyEvent) Kind() EventKind        { return KindSafety }
func (*Timer) Kind() EventKind              { return KindTimer }
func (*ManualSignal) Kind() EventKind       { return KindManualSignal }
func (*ComputeResult) Kind() EventKind      { return KindComputeResult }
func (*ComputeUnavailable) Kind() EventKind { return KindComputeUnavailable }
func (*ConfigUpdate) Kind() EventKind       { return KindConfigUpdate }
func (*Recovered) Kind() EventKind          { return KindRecovered }
func (*EventSkipped) Kind() EventKind       { return KindEventSkipped }
func (*IntentsDiscarded) Kind() EventKind   { return KindIntentsDiscarded }
func (*Shutdown) Kind() EventKind           { return KindShutdown }
