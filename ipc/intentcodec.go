package ipc

import "fmt"

// blanks says which parts of an intent's metadata are written as "": digests leave out what differs between runs.
type blanks uint8

const (
	withAll    blanks = iota
	withoutRun        // run_id and trace_id, in an answer's digest
	withoutKey        // run_id, trace_id and key, in an intent's digest
)

// AppendIntent appends the msgpack form of i, as it stands inside an Answer or an Offer.
func AppendIntent(b []byte, i *Intent) ([]byte, error) {
	w := writer{b: b}
	w.intent(i, withAll)
	if w.err != nil {
		return b, fmt.Errorf("encoding an intent: %w", w.err)
	}
	return w.b, nil
}

// DecodeIntent reads what AppendIntent wrote.
func DecodeIntent(b []byte) (*Intent, error) {
	var r Reader
	return r.Intent(b)
}

// Intent decodes one intent that stands alone. Metadata that is there but empty is no error: the gate judges it (GT-4).
func (r *Reader) Intent(b []byte) (*Intent, error) {
	r.reset(b)
	i := r.intent()
	if err := r.finish(); err != nil {
		return nil, err
	}
	return i, nil
}

func (w *writer) intent(i *Intent, without blanks) {
	if i == nil || i.Body == nil {
		w.fail("intent", "nil, or without a body")
		return
	}
	w.array(3)
	w.uint(uint64(i.Kind()))
	w.meta(&i.Meta, without)
	w.body(i.Body)
}

func (w *writer) meta(m *IntentMeta, without blanks) {
	run, trace, key := string(m.RunID), string(m.TraceID), string(m.Key)
	if without >= withoutRun {
		run, trace = "", ""
	}
	if without >= withoutKey {
		key = ""
	}
	w.array(10)
	w.id("meta.bot", string(m.Bot))
	w.id("meta.strategy", string(m.Strategy))
	w.id("meta.strategy_version", m.StrategyVersion)
	w.id("meta.instance", string(m.Instance))
	w.id("meta.run_id", run)
	w.id("meta.trace_id", trace)
	w.id("meta.key", key)
	w.riskContext(m.RiskContext)
	w.id("meta.name", m.Name)
	w.id("meta.proposal", m.Proposal)
}

func (r *Reader) meta(m *IntentMeta) {
	n := r.array("meta", 10)
	m.Bot = BotID(r.id("meta.bot"))
	m.Strategy = StrategyID(r.id("meta.strategy"))
	m.StrategyVersion = r.id("meta.strategy_version")
	m.Instance = InstanceID(r.id("meta.instance"))
	m.RunID = RunID(r.id("meta.run_id"))
	m.TraceID = TraceID(r.id("meta.trace_id"))
	m.Key = Key(r.id("meta.key"))
	m.RiskContext = r.riskContext()
	m.Name = r.id("meta.name")
	m.Proposal = r.id("meta.proposal")
	r.end(n, 10)
}

func (w *writer) riskContext(c *RiskContext) {
	if c == nil {
		w.null()
		return
	}
	w.array(4)
	w.dec("risk_context.max_slippage", c.MaxSlippage)
	w.nanos(c.MaxDelayNS)
	w.nanos(c.HoldingTimeNS)
	w.dec("risk_context.budget", c.Budget)
}

func (r *Reader) riskContext() *RiskContext {
	if r.null() {
		return nil
	}
	n := r.array("risk_context", 4)
	c := &RiskContext{
		MaxSlippage: r.dec("risk_context.max_slippage"), MaxDelayNS: r.nanos("risk_context.max_delay"),
		HoldingTimeNS: r.nanos("risk_context.holding_time"), Budget: r.dec("risk_context.budget"),
	}
	r.end(n, 4)
	return c
}

func (w *writer) body(body IntentBody) {
	switch b := body.(type) {
	case *OrderIntent:
		w.order(b)
	case *CancelIntent:
		w.array(2)
		w.id("instrument", string(b.Instrument))
		w.id("target_key", string(b.TargetKey))
	case *AmendIntent:
		w.array(4)
		w.id("instrument", string(b.Instrument))
		w.id("target_key", string(b.TargetKey))
		w.optDec("quantity", b.Quantity)
		w.optDec("limit_price", b.LimitPrice)
	case *PositionIntent:
		w.array(3)
		w.id("instrument", string(b.Instrument))
		w.dec("target_quantity", b.TargetQuantity)
		w.optDec("limit_price", b.LimitPrice)
	case *AlertIntent:
		w.array(3)
		w.enum("severity", uint8(b.Severity), uint8(SeverityInfo), uint8(SeverityCritical))
		w.tag("code", b.Code)
		w.id("instrument", string(b.Instrument))
	case *NoOpIntent:
		w.array(1)
		w.tag("reason", b.Reason)
	case *RiskHint:
		w.array(3)
		w.tag("hint", b.Hint)
		w.id("instrument", string(b.Instrument))
		w.optDec("value", b.Value)
	default:
		w.fail("body", "%T is no intent", body)
	}
}

func (w *writer) order(b *OrderIntent) {
	w.array(9)
	w.id("instrument", string(b.Instrument))
	w.enum("side", uint8(b.Side), uint8(SideBuy), uint8(SideSell))
	w.enum("type", uint8(b.Type), uint8(OrderMarket), uint8(OrderStopLimit))
	w.dec("quantity", b.Quantity)
	w.optDec("limit_price", b.LimitPrice)
	w.optDec("stop_price", b.StopPrice)
	w.enum("time_in_force", uint8(b.TimeInForce), uint8(TIFGoodTillCancel), uint8(TIFDay))
	w.bool(b.ReduceOnly)
	w.bool(b.PostOnly)
}

func (r *Reader) order() IntentBody {
	n := r.array("body", 9)
	b := &OrderIntent{
		Instrument:  InstrumentID(r.id("instrument")),
		Side:        Side(r.enum("side", uint8(SideBuy), uint8(SideSell))),
		Type:        OrderType(r.enum("type", uint8(OrderMarket), uint8(OrderStopLimit))),
		Quantity:    r.dec("quantity"),
		LimitPrice:  r.newOptDec("limit_price"),
		StopPrice:   r.newOptDec("stop_price"),
		TimeInForce: TimeInForce(r.enum("time_in_force", uint8(TIFGoodTillCancel), uint8(TIFDay))),
		ReduceOnly:  r.bool("reduce_only"),
		PostOnly:    r.bool("post_only"),
	}
	r.end(n, 9)
	return b
}

func (r *Reader) intent() *Intent {
	n := r.array("intent", 3)
	at := r.rest
	kind := IntentKind(r.enum("kind", 0, 255))
	if r.err == nil && (kind < IntentOrder || kind > IntentRiskHint) {
		r.rest = at
		r.fail(ClassUnknownType, "kind", fmt.Sprintf("there is no intent of kind %d", uint8(kind)))
	}
	if r.err != nil {
		return nil
	}
	i := new(Intent)
	r.meta(&i.Meta)
	if r.err == nil {
		i.Body = r.body(kind)
	}
	r.end(n, 3)
	return i
}

func (r *Reader) body(kind IntentKind) IntentBody {
	switch kind {
	case IntentOrder:
		return r.order()
	case IntentCancel:
		n := r.array("body", 2)
		b := &CancelIntent{Instrument: InstrumentID(r.id("instrument")), TargetKey: Key(r.id("target_key"))}
		r.end(n, 2)
		return b
	case IntentAmend:
		n := r.array("body", 4)
		b := &AmendIntent{
			Instrument: InstrumentID(r.id("instrument")), TargetKey: Key(r.id("target_key")),
			Quantity: r.newOptDec("quantity"), LimitPrice: r.newOptDec("limit_price"),
		}
		r.end(n, 4)
		return b
	case IntentPosition:
		n := r.array("body", 3)
		b := &PositionIntent{
			Instrument: InstrumentID(r.id("instrument")), TargetQuantity: r.dec("target_quantity"),
			LimitPrice: r.newOptDec("limit_price"),
		}
		r.end(n, 3)
		return b
	case IntentAlert:
		n := r.array("body", 3)
		b := &AlertIntent{
			Severity: Severity(r.enum("severity", uint8(SeverityInfo), uint8(SeverityCritical))), Code: r.tag("code"),
			Instrument: InstrumentID(r.id("instrument")),
		}
		r.end(n, 3)
		return b
	case IntentNoOp:
		n := r.array("body", 1)
		b := &NoOpIntent{Reason: r.tag("reason")}
		r.end(n, 1)
		return b
	}
	n := r.array("body", 3)
	b := &RiskHint{Hint: r.tag("hint"), Instrument: InstrumentID(r.id("instrument")), Value: r.newOptDec("value")}
	r.end(n, 3)
	return b
}
