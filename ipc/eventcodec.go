package ipc

import "fmt"

// AppendEvent appends the msgpack form of e, as it stands inside a Deliver, a Batch or a SourceEvent.
func AppendEvent(b []byte, e Event) ([]byte, error) {
	w := writer{b: b}
	w.event(e)
	if w.err != nil {
		return b, fmt.Errorf("encoding an event: %w", w.err)
	}
	return w.b, nil
}

// DecodeEvent reads what AppendEvent wrote.
func DecodeEvent(b []byte) (Event, error) {
	var r Reader
	return r.Event(b)
}

// Event decodes one event that stands alone.
func (r *Reader) Event(b []byte) (Event, error) {
	r.reset(b)
	e := r.event()
	if err := r.finish(); err != nil {
		return nil, err
	}
	return e, nil
}

func (w *writer) event(e Event) {
	switch e := e.(type) {
	case *Quote:
		w.quote(e)
	case *Trade:
		w.trade(e)
	case *TradeAggregate:
		w.tradeAggregate(e)
	case *BookDelta:
		w.bookDelta(e)
	case *BookSnapshot:
		w.bookSnapshot(e)
	case *Bar:
		w.bar(e)
	case *QuoteBar:
		w.quoteBar(e)
	case *TradingStatus:
		w.tradingStatus(e)
	case *Execution:
		w.execution(e)
	case *ExecutionSnapshot:
		w.executionSnapshot(e)
	case *RiskEvent:
		w.risk(e)
	case *SafetyEvent:
		w.safety(e)
	default:
		w.internal(e)
	}
}

// internal writes the events that M makes itself.
func (w *writer) internal(e Event) {
	switch e := e.(type) {
	case *Timer:
		w.timer(e)
	case *ManualSignal:
		w.manualSignal(e)
	case *ComputeResult:
		w.computeResult(e)
	case *ComputeUnavailable:
		w.computeUnavailable(e)
	case *ConfigUpdate:
		w.configUpdate(e)
	case *Recovered:
		w.recovered(e)
	case *EventSkipped:
		w.eventSkipped(e)
	case *IntentsDiscarded:
		w.intentsDiscarded(e)
	case *Shutdown:
		w.head(KindShutdown, 1)
		w.code(e.Reason)
	default:
		w.fail("event", "%T is no event", e)
	}
}

// eventCodec says how many fields a kind has after it, and how they are read.
type eventCodec struct {
	fields int
	read   func(*Reader) Event
}

// eventCodecs is indexed by kind. It is filled by init, as recovered events hold intents, whose reading would otherwise
// be an initialisation cycle.
var eventCodecs [KindShutdown + 1]eventCodec

func init() {
	eventCodecs = [...]eventCodec{
		KindQuote:              {11, (*Reader).quote},
		KindTrade:              {11, (*Reader).trade},
		KindTradeAggregate:     {17, (*Reader).tradeAggregate},
		KindBookDelta:          {11, (*Reader).bookDelta},
		KindBookSnapshot:       {10, (*Reader).bookSnapshot},
		KindBar:                {13, (*Reader).bar},
		KindQuoteBar:           {18, (*Reader).quoteBar},
		KindTradingStatus:      {9, (*Reader).tradingStatus},
		KindExecution:          {15, (*Reader).execution},
		KindExecutionSnapshot:  {5, (*Reader).executionSnapshot},
		KindRisk:               {6, (*Reader).risk},
		KindSafety:             {4, (*Reader).safety},
		KindTimer:              {2, (*Reader).timer},
		KindManualSignal:       {5, (*Reader).manualSignal},
		KindComputeResult:      {5, (*Reader).computeResult},
		KindComputeUnavailable: {4, (*Reader).computeUnavailable},
		KindConfigUpdate:       {5, (*Reader).configUpdate},
		KindRecovered:          {3, (*Reader).recovered},
		KindEventSkipped:       {3, (*Reader).eventSkipped},
		KindIntentsDiscarded:   {3, (*Reader).intentsDiscarded},
		KindShutdown:           {1, (*Reader).shutdown},
	}
}

func (r *Reader) event() Event {
	n := r.array("event", 1)
	at := r.rest
	kind := r.uint("kind", 255)
	if r.err == nil && (kind >= uint64(len(eventCodecs)) || eventCodecs[kind].read == nil) {
		r.rest = at
		r.fail(ClassUnknownType, "kind", fmt.Sprintf("there is no event of kind %d", kind))
	}
	if r.err != nil {
		return nil
	}
	codec := &eventCodecs[kind]
	if n < 1+codec.fields {
		r.rest = at
		r.fail(ClassShortArray, EventKind(kind).String(), fmt.Sprintf("%d elements; %d are mandatory", n, 1+codec.fields))
		return nil
	}
	e := codec.read(r)
	r.end(n, 1+codec.fields)
	if r.err != nil {
		r.within(EventKind(kind).String(), -1)
		return nil
	}
	return e
}
