package gate

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// Gate judges the intents of one instance. It is part of the core's state: not safe for concurrent use.
type Gate struct {
	Policy  *Policy
	Book    *Book
	RunID   ipc.RunID
	Lineage ipc.Lineage
	Second  Window // intents, cancels not counted
	Cancels Window
	Run     int // intents since the start of the run, cancels not counted
	// Proposals are live, sorted by ID; used only where the policy needs them.
	Proposals []Proposal
}

// Request is one intent and where it comes from.
type Request struct {
	Intent  *ipc.Intent
	Step    ipc.Step
	Ordinal uint32
	Mode    Mode
	CoreTS  ipc.Nanos // of the answer: ceilings and retention look at it
	StepTS  ipc.Nanos // core_ts of the delivery: the tolerable delay counts from there
	Init    bool      // answered by on_init, which may not trade
}

// Judge gives the verdict on one intent (GT-1 … GT-5). An error means that the intent cannot be summed, which its decoding has ruled
// out. The request's intent is never altered: a changed intent is a copy.
func (g *Gate) Judge(r Request) (Verdict, error) {
	digest, err := ipc.IntentDigest(r.Intent)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{RequestDigest: digest}
	for _, test := range [...]func(*Gate, *Request, *Verdict){
		(*Gate).metadata, (*Gate).capability, (*Gate).key, (*Gate).mode, (*Gate).normalise, (*Gate).proposed, (*Gate).ceilings,
	} {
		if test(g, &r, &v); v.Outcome == Refused {
			v.Intent = nil
			return v, nil
		}
	}
	if v.Intent == nil {
		v.Intent, v.Digest = r.Intent, v.RequestDigest
	} else {
		if v.Digest, err = ipc.IntentDigest(v.Intent); err != nil {
			return Verdict{}, err
		}
	}
	if v.Outcome == 0 {
		v.Outcome = Accepted
	}
	v.ValidUntil = r.CoreTS + r.Intent.Meta.RiskContext.MaxDelayNS
	g.take(&v)
	if r.Intent.Meta.Name != "" {
		g.Book.remember(r.Intent.Meta.Key, Named{Digest: v.RequestDigest, SeenTS: r.CoreTS})
	}
	return v, nil
}

// Recheck tells whether an approved intent may still be offered: nothing but a withdrawal or an expiry can come of it. why is for people.
func (g *Gate) Recheck(t *Tracked, mode Mode, coreTS, wall ipc.Nanos) (next ipc.Status, reason ipc.ReasonCode, why string) {
	if t.Expired(coreTS, wall) {
		return ipc.StatusExpired, ipc.ReasonValidUntilPassed, "valid_until has passed"
	}
	if t.Obligation != 0 {
		return g.recheckOwn(t, mode)
	}
	if !tradesRisk(t.Intent.Body) {
		return ipc.StatusOffered, "", ""
	}
	if _, why := g.barred(t.Intent.Body, mode); why != "" {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, why
	}
	if why := g.outgrown(t); why != "" {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, why
	}
	if why := g.exceeds(t, mode); why != "" {
		return ipc.StatusWithdrawn, ipc.ReasonRestrictedBeforeOffer, why
	}
	return ipc.StatusOffered, "", ""
}

// tradesRisk reports whether the intent can change a position: cancels and messages pass every mode.
func tradesRisk(b ipc.IntentBody) bool {
	switch b.(type) {
	case *ipc.OrderIntent, *ipc.AmendIntent, *ipc.PositionIntent:
		return true
	}
	return false
}

func limited(b ipc.IntentBody) bool {
	switch body := b.(type) {
	case *ipc.OrderIntent:
		return body.Type == ipc.OrderLimit || body.Type == ipc.OrderStopLimit
	case *ipc.PositionIntent:
		return body.LimitPrice != nil
	}
	return true
}

func (v *Verdict) refuse(reason ipc.ReasonCode, detail string, args ...any) {
	v.Outcome, v.Reason, v.Detail = Refused, reason, fmt.Sprintf(detail, args...)
}

// change records an alteration and gives the caller the copy to alter.
func (v *Verdict) change(r *Request, field, before, after string, reason ipc.ReasonCode) ipc.IntentBody {
	if v.Intent == nil {
		v.Intent = &ipc.Intent{Meta: r.Intent.Meta, Body: cloneBody(r.Intent.Body)}
	}
	v.Outcome, v.Reason = Changed, reason
	v.Changes = append(v.Changes, Change{Field: field, Before: before, After: after, Reason: reason})
	return v.Intent.Body
}

// body is what the next test looks at: the intent as changed so far.
func (v *Verdict) body(r *Request) ipc.IntentBody {
	if v.Intent != nil {
		return v.Intent.Body
	}
	return r.Intent.Body
}

func cloneBody(b ipc.IntentBody) ipc.IntentBody {
	switch body := b.(type) {
	case *ipc.OrderIntent:
		c := *body
		return &c
	case *ipc.AmendIntent:
		c := *body
		return &c
	case *ipc.PositionIntent:
		c := *body
		return &c
	}
	return b // the gate alters nothing else
}

func (g *Gate) metadata(r *Request, v *Verdict) {
	m := &r.Intent.Meta
	for _, part := range [...]struct{ name, got string }{
		{"bot_id", string(m.Bot)}, {"strategy_id", string(m.Strategy)}, {"strategy_version", m.StrategyVersion},
		{"instance_id", string(m.Instance)}, {"run_id", string(m.RunID)}, {"trace_id", string(m.TraceID)},
		{"idempotency_key", string(m.Key)},
	} {
		if part.got == "" {
			v.refuse(ipc.ReasonMetadataMissing, "%s is missing", part.name)
			return
		}
	}
	if m.RiskContext == nil {
		v.refuse(ipc.ReasonMetadataMissing, "risk_context is missing")
		return
	}
	a := g.Policy.Address
	switch rc := m.RiskContext; {
	case m.Bot != a.Bot || m.Strategy != a.Strategy || m.Instance != a.Instance:
		v.refuse(ipc.ReasonMetadataWrong, "the intent names %s/%s/%s, it comes from %s", m.Bot, m.Strategy, m.Instance, a)
	case m.StrategyVersion != g.Policy.StrategyVersion:
		v.refuse(ipc.ReasonMetadataWrong, "strategy_version is %s, %s is running", m.StrategyVersion, g.Policy.StrategyVersion)
	case m.RunID != g.RunID:
		v.refuse(ipc.ReasonMetadataWrong, "run_id is %s, this is run %s", m.RunID, g.RunID)
	case rc.MaxDelayNS <= 0 || rc.MaxDelayNS > g.Policy.Ceilings.MaxDelay:
		v.refuse(ipc.ReasonMetadataWrong, "risk_context.max_delay is %d ns; 1 to %d are allowed", rc.MaxDelayNS, g.Policy.Ceilings.MaxDelay)
	case rc.MaxSlippage.Sign() < 0 || rc.Budget.Sign() < 0 || rc.HoldingTimeNS < 0:
		v.refuse(ipc.ReasonMetadataWrong, "risk_context holds a value below zero")
	}
}

func (g *Gate) capability(r *Request, v *Verdict) {
	kind := r.Intent.Kind()
	if r.Init {
		v.refuse(ipc.ReasonIntentDuringInit, "on_init may not answer intents")
		return
	}
	if !g.Policy.Intents[kind] {
		v.refuse(ipc.ReasonCapabilityMissing, "capabilities.intents does not list %s", kind)
		return
	}
	instrument, _ := instrumentOf(r.Intent.Body)
	if o, ok := r.Intent.Body.(*ipc.OrderIntent); ok && !g.Policy.OrderTypes[o.Type] {
		v.refuse(ipc.ReasonCapabilityMissing, "capabilities.order_types does not list order type %d", o.Type)
		return
	}
	if instrument != "" && !g.Policy.permitsInstrument(instrument) {
		v.refuse(ipc.ReasonCapabilityMissing, "capabilities.instruments and venues do not cover %s", instrument)
	}
}

// instrumentOf returns the instrument of an intent; messages may have none.
func instrumentOf(b ipc.IntentBody) (ipc.InstrumentID, bool) {
	switch body := b.(type) {
	case *ipc.OrderIntent:
		return body.Instrument, true
	case *ipc.CancelIntent:
		return body.Instrument, true
	case *ipc.AmendIntent:
		return body.Instrument, true
	case *ipc.PositionIntent:
		return body.Instrument, true
	case *ipc.AlertIntent:
		return body.Instrument, body.Instrument != ""
	case *ipc.RiskHint:
		return body.Instrument, body.Instrument != ""
	}
	return "", false
}

func (g *Gate) key(r *Request, v *Verdict) {
	m := &r.Intent.Meta
	a := g.Policy.Address
	want := ipc.Owner{Address: a, Lineage: g.Lineage}.IntentKey(r.Step, r.Ordinal, m.Name)
	if m.Key != want {
		v.refuse(ipc.ReasonKeyWrong, "key is %.40q, the rule gives %s", string(m.Key), want)
		return
	}
	if m.Name == "" {
		return // a step has one answer, and an answer one intent at each place
	}
	if g.Policy.NamedRetention > 0 {
		g.Book.forget(r.CoreTS - g.Policy.NamedRetention)
	}
	switch seen, known := g.Book.named[m.Key]; {
	case known && seen.Digest == v.RequestDigest:
		v.refuse(ipc.ReasonKeyDuplicate, "name %q was used before with the same content", m.Name)
	case known:
		v.refuse(ipc.ReasonKeyConflict, "name %q was used before with another content", m.Name)
		v.Conflict = true
	case len(g.Book.named) >= MaxNames:
		v.refuse(ipc.ReasonNameCeiling, "name %q would be number %d; %d are remembered", m.Name, len(g.Book.named)+1, MaxNames)
	}
}

func (g *Gate) ceilings(r *Request, v *Verdict) {
	c := &g.Policy.Ceilings
	if int(r.Ordinal) >= c.PerEvent {
		v.refuse(ipc.ReasonIntentsPerEvent, "intent %d of one answer; %d are allowed", r.Ordinal+1, c.PerEvent)
		return
	}
	if r.Intent.Kind() == ipc.IntentCancel {
		if !g.Cancels.Take(r.CoreTS, c.CancelsPerSecond) {
			v.refuse(ipc.ReasonCancelsPerSecond, "more than %d cancels within a second", c.CancelsPerSecond)
		}
		return
	}
	if tradesRisk(r.Intent.Body) && g.Book.OpenCount() >= c.Open {
		v.refuse(ipc.ReasonIntentsPerInstance, "%d intents and orders are open; %d are allowed", g.Book.OpenCount(), c.Open)
		return
	}
	if g.Run >= c.PerRun {
		v.refuse(ipc.ReasonIntentsPerRun, "more than %d intents in one run", c.PerRun)
		return
	}
	if !g.Second.Take(r.CoreTS, c.PerSecond) {
		v.refuse(ipc.ReasonIntentsPerSecond, "more than %d intents within a second", c.PerSecond)
		return
	}
	g.Run++
}
