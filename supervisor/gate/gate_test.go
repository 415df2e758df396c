package gate

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/msup/msup/ipc"
)

const btc ipc.InstrumentID = "BTCUSDT.BINANCE"

var (
	here    = ipc.Address{Bot: "alpha", Strategy: "ema", Instance: "btc"}
	lineage = ipc.Lineage{1, 2, 3}
)

func dec(t testing.TB, text string) ipc.Decimal {
	t.Helper()
	d, err := ipc.ParseDecimalBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func ref(d ipc.Decimal) *ipc.Decimal { return &d }

// newGate permits everything on BTCUSDT: tick 0.5, lot 0.1, 0.2 to 100, notional at least 10.
func newGate(t testing.TB) *Gate {
	p := &Policy{
		Address: here, StrategyVersion: "1.0.0", Allowed: []string{"BTC*"}, Venues: []string{"BINANCE"},
		Instruments: map[ipc.InstrumentID]ipc.Instrument{
			btc: {ID: btc, Tick: dec(t, "0.5"), Lot: dec(t, "0.1"), MinQuantity: dec(t, "0.2"), MaxQuantity: dec(t, "100"),
				MinNotional: dec(t, "10"), Venue: "BINANCE"},
			"BTCEUR.KRAKEN": {ID: "BTCEUR.KRAKEN", Venue: "KRAKEN"},
		},
		Intents: map[ipc.IntentKind]bool{ipc.IntentOrder: true, ipc.IntentCancel: true, ipc.IntentAmend: true, ipc.IntentPosition: true,
			ipc.IntentAlert: true, ipc.IntentNoOp: true},
		OrderTypes: map[ipc.OrderType]bool{ipc.OrderMarket: true, ipc.OrderLimit: true, ipc.OrderStop: true, ipc.OrderStopLimit: true},
		Ceilings:   Ceilings{PerEvent: 8, PerSecond: 100, CancelsPerSecond: 3, PerRun: 1000, Open: 50, MaxDelay: 1e9},
	}
	return &Gate{Policy: p, Book: NewBook(), RunID: "run-1", Lineage: lineage}
}

func unrestricted() Mode { return Join(nil) }

// intent makes an intent with everything mandatory in it.
func intent(step ipc.Step, ordinal uint32, name string, body ipc.IntentBody) *ipc.Intent {
	return &ipc.Intent{Body: body, Meta: ipc.IntentMeta{
		Bot: here.Bot, Strategy: here.Strategy, StrategyVersion: "1.0.0", Instance: here.Instance, RunID: "run-1", TraceID: "trace-1",
		Key: ipc.Owner{Address: here, Lineage: lineage}.IntentKey(step, ordinal, name), Name: name,
		RiskContext: &ipc.RiskContext{MaxDelayNS: 5e8},
	}}
}

func limitOrder(t testing.TB, side ipc.Side, quantity, price string) *ipc.OrderIntent {
	return &ipc.OrderIntent{Instrument: btc, Side: side, Type: ipc.OrderLimit, Quantity: dec(t, quantity), LimitPrice: ref(dec(t, price)),
		TimeInForce: ipc.TIFGoodTillCancel}
}

func marketOrder(t testing.TB, side ipc.Side, quantity string) *ipc.OrderIntent {
	return &ipc.OrderIntent{Instrument: btc, Side: side, Type: ipc.OrderMarket, Quantity: dec(t, quantity), TimeInForce: ipc.TIFImmediateOrCancel}
}

func judge(t testing.TB, g *Gate, i *ipc.Intent, step ipc.Step, ordinal uint32, mode Mode) Verdict {
	t.Helper()
	v, err := g.Judge(Request{Intent: i, Step: step, Ordinal: ordinal, Mode: mode, CoreTS: 1e9, StepTS: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// accept judges an intent and follows it, approved, as the core does.
func accept(t testing.TB, g *Gate, step ipc.Step, body ipc.IntentBody, mode Mode) (*Tracked, Verdict) {
	t.Helper()
	v := judge(t, g, intent(step, 0, "", body), step, 0, mode)
	if !v.Permitted() {
		return nil, v
	}
	k := &Tracked{Key: v.Intent.Meta.Key, Step: step, Digest: v.Digest, ValidCore: v.ValidUntil, SizeFactor: mode.SizeFactor, Intent: v.Intent}
	g.Book.Track(k)
	for _, s := range []ipc.Status{ipc.StatusStaged, ipc.StatusApproved} {
		if !g.Book.SetStatus(k.Key, s, 1e9) {
			t.Fatalf("an intent cannot become %s", s)
		}
	}
	return k, v
}

func fill(t testing.TB, g *Gate, key ipc.Key, side ipc.Side, quantity string, final bool) {
	t.Helper()
	if err := g.Book.Execute(&ipc.Execution{Key: key, Report: ipc.ExecFilled, Instrument: btc, Side: side, Quantity: ref(dec(t, quantity)), Final: final}, 1e9); err != nil {
		t.Fatal(err)
	}
}

// Proves: GT-1, GT-2, GT-3, GT-4, GT-5, SB-5
func TestGateRefusesWithReason(t *testing.T) {
	buy := func() *ipc.OrderIntent { return limitOrder(t, ipc.SideBuy, "1", "100") }
	with := func(change func(*ipc.Intent)) func(*Gate) *ipc.Intent {
		return func(*Gate) *ipc.Intent {
			i := intent(1, 0, "", buy())
			change(i)
			return i
		}
	}
	body := func(b ipc.IntentBody) func(*Gate) *ipc.Intent {
		return func(*Gate) *ipc.Intent { return intent(1, 0, "", b) }
	}
	order := func(change func(*ipc.OrderIntent)) func(*Gate) *ipc.Intent {
		o := buy()
		change(o)
		return body(o)
	}
	noTrade := Join([]Held{{ID: "x", Restriction: NoTrade(), Reason: ipc.ReasonOperatorMode}})
	limitOnly := Join([]Held{{ID: "x", Restriction: ipc.Restriction{SizeFactor: One, LimitOnly: true}}})
	reduceOnly := Join([]Held{{ID: "x", Restriction: ReduceOnly()}})
	none := Join([]Held{{ID: "x", Restriction: ipc.Restriction{}}})
	for name, c := range map[string]struct {
		make func(*Gate) *ipc.Intent
		mode *Mode
		want ipc.ReasonCode
	}{
		"accepted":          {make: with(func(*ipc.Intent) {})},
		"no bot":            {make: with(func(i *ipc.Intent) { i.Meta.Bot = "" }), want: ipc.ReasonMetadataMissing},
		"no strategy":       {make: with(func(i *ipc.Intent) { i.Meta.Strategy = "" }), want: ipc.ReasonMetadataMissing},
		"no version":        {make: with(func(i *ipc.Intent) { i.Meta.StrategyVersion = "" }), want: ipc.ReasonMetadataMissing},
		"no instance":       {make: with(func(i *ipc.Intent) { i.Meta.Instance = "" }), want: ipc.ReasonMetadataMissing},
		"no run":            {make: with(func(i *ipc.Intent) { i.Meta.RunID = "" }), want: ipc.ReasonMetadataMissing},
		"no trace":          {make: with(func(i *ipc.Intent) { i.Meta.TraceID = "" }), want: ipc.ReasonMetadataMissing},
		"no key":            {make: with(func(i *ipc.Intent) { i.Meta.Key = "" }), want: ipc.ReasonMetadataMissing},
		"no risk context":   {make: with(func(i *ipc.Intent) { i.Meta.RiskContext = nil }), want: ipc.ReasonMetadataMissing},
		"another bot":       {make: with(func(i *ipc.Intent) { i.Meta.Bot = "beta" }), want: ipc.ReasonMetadataWrong},
		"another version":   {make: with(func(i *ipc.Intent) { i.Meta.StrategyVersion = "2.0.0" }), want: ipc.ReasonMetadataWrong},
		"another run":       {make: with(func(i *ipc.Intent) { i.Meta.RunID = "run-0" }), want: ipc.ReasonMetadataWrong},
		"no delay":          {make: with(func(i *ipc.Intent) { i.Meta.RiskContext.MaxDelayNS = 0 }), want: ipc.ReasonMetadataWrong},
		"too much delay":    {make: with(func(i *ipc.Intent) { i.Meta.RiskContext.MaxDelayNS = 1e9 + 1 }), want: ipc.ReasonMetadataWrong},
		"negative budget":   {make: with(func(i *ipc.Intent) { i.Meta.RiskContext.Budget = ipc.Decimal{M: -1} }), want: ipc.ReasonMetadataWrong},
		"kind not declared": {make: body(&ipc.RiskHint{Hint: "x"}), want: ipc.ReasonCapabilityMissing},
		"order type not declared": {make: func(g *Gate) *ipc.Intent {
			delete(g.Policy.OrderTypes, ipc.OrderLimit)
			return intent(1, 0, "", buy())
		}, want: ipc.ReasonCapabilityMissing},
		"instrument not covered": {make: order(func(o *ipc.OrderIntent) { o.Instrument = "ETHUSDT.BINANCE" }), want: ipc.ReasonCapabilityMissing},
		"venue not covered":      {make: order(func(o *ipc.OrderIntent) { o.Instrument = "BTCEUR.KRAKEN" }), want: ipc.ReasonCapabilityMissing},
		"key of another step": {make: func(*Gate) *ipc.Intent {
			i := intent(2, 0, "", buy())
			return i
		}, want: ipc.ReasonKeyWrong},
		"no trade":                    {make: with(func(*ipc.Intent) {}), mode: &noTrade, want: ipc.ReasonModeNoTrade},
		"cancel passes":               {make: body(&ipc.CancelIntent{Instrument: btc, TargetKey: "x"}), mode: &noTrade},
		"alert passes":                {make: body(&ipc.AlertIntent{Severity: ipc.SeverityInfo, Code: "x"}), mode: &noTrade},
		"market under limit_only":     {make: body(marketOrder(t, ipc.SideBuy, "1")), mode: &limitOnly, want: ipc.ReasonModeLimitOnly},
		"limit under limit_only":      {make: with(func(*ipc.Intent) {}), mode: &limitOnly},
		"target under limit_only":     {make: body(&ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "1")}), mode: &limitOnly, want: ipc.ReasonModeLimitOnly},
		"increase under reduce_only":  {make: with(func(*ipc.Intent) {}), mode: &reduceOnly, want: ipc.ReasonModeReduceOnly},
		"size factor zero":            {make: with(func(*ipc.Intent) {}), mode: &none, want: ipc.ReasonSizeReduced},
		"asks reduce_only while flat": {make: order(func(o *ipc.OrderIntent) { o.ReduceOnly = true }), want: ipc.ReasonModeReduceOnly},
		"positions unknown": {make: func(g *Gate) *ipc.Intent {
			g.Book.SetUnknown(ipc.ReasonExecutionGap)
			return intent(1, 0, "", buy())
		}, want: ipc.ReasonExecutionGap},
		"unknown instrument":  {make: order(func(o *ipc.OrderIntent) { o.Instrument = "BTCXXX" }), want: ipc.ReasonInstrumentUnknown},
		"limit without price": {make: order(func(o *ipc.OrderIntent) { o.LimitPrice = nil }), want: ipc.ReasonPriceMissing},
		"stop without price":  {make: order(func(o *ipc.OrderIntent) { o.Type = ipc.OrderStopLimit }), want: ipc.ReasonPriceMissing},
		"market with price":   {make: order(func(o *ipc.OrderIntent) { o.Type = ipc.OrderMarket }), want: ipc.ReasonPriceInvalid},
		"price below zero":    {make: order(func(o *ipc.OrderIntent) { o.LimitPrice = ref(dec(t, "-1")) }), want: ipc.ReasonPriceInvalid},
		"price below a tick":  {make: order(func(o *ipc.OrderIntent) { o.LimitPrice = ref(dec(t, "0.4")) }), want: ipc.ReasonPriceInvalid},
		"quantity zero":       {make: order(func(o *ipc.OrderIntent) { o.Quantity = ipc.Decimal{} }), want: ipc.ReasonQuantityTooSmall},
		"quantity below zero": {make: order(func(o *ipc.OrderIntent) { o.Quantity = dec(t, "-1") }), want: ipc.ReasonQuantityTooSmall},
		"quantity too small":  {make: order(func(o *ipc.OrderIntent) { o.Quantity = dec(t, "0.19") }), want: ipc.ReasonQuantityTooSmall},
		"notional too small":  {make: order(func(o *ipc.OrderIntent) { o.LimitPrice = ref(dec(t, "9.5")) }), want: ipc.ReasonNotionalTooSmall},
		"amend of nothing":    {make: body(&ipc.AmendIntent{Instrument: btc, TargetKey: "x", Quantity: ref(dec(t, "1"))}), want: ipc.ReasonTargetUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			g, mode := newGate(t), unrestricted()
			if c.mode != nil {
				mode = *c.mode
			}
			v := judge(t, g, c.make(g), 1, 0, mode)
			if v.Reason != c.want || v.Permitted() != (c.want == "") {
				t.Errorf("%s %s (%s), want %q", v.Outcome, v.Reason, v.Detail, c.want)
			}
			if v.Outcome == Refused && (v.Detail == "" || v.Intent != nil) {
				t.Errorf("a refusal must say what was found and hold no intent: %+v", v)
			}
		})
	}
}

// Each intent breaks the rule of one test and of all tests behind it: the first in the order must be the one that is named.
// Proves: GT-1, GT-4
func TestGateTestsInOrder(t *testing.T) {
	g := newGate(t)
	g.Policy.Ceilings.PerEvent = 0
	held := []Held{{ID: "x", Restriction: NoTrade()}}
	worst := intent(9, 0, "", &ipc.OrderIntent{Instrument: "ETHUSDT.BINANCE", Side: ipc.SideBuy, Type: ipc.OrderLimit, TimeInForce: ipc.TIFDay})
	worst.Meta.RiskContext = nil
	repair := []struct {
		want ipc.ReasonCode
		by   func()
	}{
		{ipc.ReasonMetadataMissing, func() { worst.Meta.RiskContext = &ipc.RiskContext{MaxDelayNS: 1} }},
		{ipc.ReasonCapabilityMissing, func() { worst.Body.(*ipc.OrderIntent).Instrument = btc }},
		{ipc.ReasonKeyWrong, func() { worst.Meta.Key = ipc.Owner{Address: here, Lineage: lineage}.StepKey(1, 0) }},
		{ipc.ReasonModeNoTrade, func() { held = nil }},
		{ipc.ReasonPriceMissing, func() { worst.Body = limitOrder(t, ipc.SideBuy, "1", "100") }},
		{ipc.ReasonIntentsPerEvent, func() { g.Policy.Ceilings.PerEvent = 1 }},
		{"", func() {}},
	}
	for _, r := range repair {
		if v := judge(t, g, worst, 1, 0, Join(held)); v.Reason != r.want {
			t.Fatalf("got %s (%s), want %s", v.Reason, v.Detail, r.want)
		}
		r.by()
	}
}

// Proves: GT-1
func TestGateNormalises_GT1(t *testing.T) {
	for _, c := range []struct{ side, quantity, price, wantQuantity, wantPrice, changed string }{
		{"buy", "1", "100", "1", "100", ""},
		{"buy", "1.09", "100.49", "1", "100", "limit_price quantity"},
		{"sell", "1.09", "100.01", "1", "100.5", "limit_price quantity"},
		{"buy", "250", "100", "100", "100", "quantity"},
		{"buy", "0.299999", "100", "0.2", "100", "quantity"},
	} {
		side := ipc.SideBuy
		if c.side == "sell" {
			side = ipc.SideSell
		}
		asked := limitOrder(t, side, c.quantity, c.price)
		v := judge(t, newGate(t), intent(1, 0, "", asked), 1, 0, unrestricted())
		if !v.Permitted() {
			t.Errorf("%+v: refused, %s", c, v.Detail)
			continue
		}
		got := v.Intent.Body.(*ipc.OrderIntent)
		if got.Quantity != dec(t, c.wantQuantity) || *got.LimitPrice != dec(t, c.wantPrice) {
			t.Errorf("%+v: %s at %s", c, got.Quantity, got.LimitPrice)
		}
		fields := ""
		for _, change := range v.Changes {
			if change.Before == change.After || change.Reason == "" {
				t.Errorf("%+v: change %+v says nothing", c, change)
			}
			if fields += change.Field; change != v.Changes[len(v.Changes)-1] {
				fields += " "
			}
		}
		if fields != c.changed || (v.Outcome == Changed) != (c.changed != "") || (v.Digest != v.RequestDigest) != (c.changed != "") {
			t.Errorf("%+v: outcome %s, changes %q", c, v.Outcome, fields)
		}
		if asked.Quantity != dec(t, c.quantity) || *asked.LimitPrice != dec(t, c.price) {
			t.Errorf("%+v: the intent that was asked for was altered", c)
		}
	}
	stop := &ipc.OrderIntent{Instrument: btc, Side: ipc.SideBuy, Type: ipc.OrderStop, Quantity: dec(t, "1"), StopPrice: ref(dec(t, "100.2")), TimeInForce: ipc.TIFDay}
	v := judge(t, newGate(t), intent(1, 0, "", stop), 1, 0, unrestricted())
	if got := v.Intent.Body.(*ipc.OrderIntent).StopPrice; *got != dec(t, "100.5") {
		t.Errorf("a buy stop at 100.2 became %s; a later trigger is the safe side", got)
	}
}

// Proves: GT-1, GT-3
func TestPositionTargets(t *testing.T) {
	half := Join([]Held{{ID: "x", Restriction: ipc.Restriction{SizeFactor: ipc.Decimal{M: 5, E: -1}}}})
	reduce := Join([]Held{{ID: "x", Restriction: ReduceOnly()}})
	for _, c := range []struct {
		now, target string
		mode        Mode
		want        string // "" = refused
	}{
		{"0", "10", unrestricted(), "10"},
		{"0", "-10.07", unrestricted(), "-10"},
		{"0", "150.05", unrestricted(), "100"},
		{"10", "20", half, "15"},
		{"10", "-10", half, "-5"},
		{"10", "4", half, "4"},
		{"10", "20", reduce, ""},
		{"10", "-10", reduce, "0"},
		{"10", "4.07", reduce, "4"},
		{"-10", "-4", reduce, "-4"},
		{"-10", "-11", reduce, ""},
	} {
		g := newGate(t)
		g.Book.set(btc, dec(t, c.now))
		v := judge(t, g, intent(1, 0, "", &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, c.target)}), 1, 0, c.mode)
		got := ""
		if v.Permitted() {
			got = v.Intent.Body.(*ipc.PositionIntent).TargetQuantity.String()
		}
		if got != c.want {
			t.Errorf("%s → %s: %q (%s), want %q", c.now, c.target, got, v.Detail, c.want)
		}
	}
	// A sell on the way down from 10 to 4 rounds its limit up.
	g := newGate(t)
	g.Book.set(btc, dec(t, "10"))
	v := judge(t, g, intent(1, 0, "", &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "4"), LimitPrice: ref(dec(t, "100.2"))}), 1, 0, unrestricted())
	if got := v.Intent.Body.(*ipc.PositionIntent).LimitPrice; *got != dec(t, "100.5") {
		t.Errorf("selling at 100.2 became %s", got)
	}
	// With 5 open to sell, towards zero on a coarse lot would sell 10 of 10.
	g = newGate(t)
	spec := g.Policy.Instruments[btc]
	spec.Lot = dec(t, "10")
	g.Policy.Instruments[btc] = spec
	g.Book.set(btc, dec(t, "10"))
	if k, v := accept(t, g, 1, limitOrder(t, ipc.SideSell, "10", "100"), unrestricted()); k == nil {
		t.Fatal(v.Detail)
	} else {
		k.Remaining = dec(t, "5")
	}
	v = judge(t, g, intent(2, 0, "", &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "5.5")}), 2, 0, reduce)
	if v.Reason != ipc.ReasonModeReduceOnly {
		t.Errorf("a target that could turn the position passed: %s", v.Outcome)
	}
}

// Proves: GT-3
func TestSizeFactorScalesTheIncreasingPartOnly(t *testing.T) {
	half := Join([]Held{{ID: "x", Restriction: ipc.Restriction{SizeFactor: ipc.Decimal{M: 5, E: -1}}}})
	g := newGate(t)
	g.Book.set(btc, dec(t, "10"))
	for quantity, want := range map[string]string{"4": "4", "10": "10", "20": "15", "11": "10.5"} {
		v := judge(t, g, intent(1, 0, "", limitOrder(t, ipc.SideSell, quantity, "100")), 1, 0, half)
		if got := v.Intent.Body.(*ipc.OrderIntent).Quantity; got != dec(t, want) {
			t.Errorf("selling %s of 10 became %s, want %s", quantity, got, want)
		}
	}
	v := judge(t, g, intent(1, 0, "", limitOrder(t, ipc.SideBuy, "4", "100")), 1, 0, half)
	if got := v.Intent.Body.(*ipc.OrderIntent).Quantity; got != dec(t, "2") || v.Reason != ipc.ReasonSizeReduced {
		t.Errorf("buying 4 more became %s", got)
	}
}

// Proves: GT-1, GT-3
func TestAmends(t *testing.T) {
	reduce := Join([]Held{{ID: "x", Restriction: ReduceOnly()}})
	amend := func(target *Tracked, quantity, price string) ipc.IntentBody {
		a := &ipc.AmendIntent{Instrument: btc, TargetKey: target.Key}
		if quantity != "" {
			a.Quantity = ref(dec(t, quantity))
		}
		if price != "" {
			a.LimitPrice = ref(dec(t, price))
		}
		return a
	}
	for name, c := range map[string]struct {
		reduceOnly      bool
		quantity, price string
		mode            Mode
		want            ipc.ReasonCode
	}{
		"free":                           {false, "8", "101", unrestricted(), ""},
		"nothing":                        {false, "", "", unrestricted(), ipc.ReasonPriceMissing},
		"notional":                       {false, "", "0.5", unrestricted(), ipc.ReasonNotionalTooSmall},
		"lower under restriction":        {false, "3", "", reduce, ""},
		"raise under restriction":        {false, "5", "", reduce, ipc.ReasonModeReduceOnly},
		"reprice under restriction":      {false, "", "101", reduce, ipc.ReasonModeReduceOnly},
		"reducing order, reprice":        {true, "", "101", reduce, ""},
		"reducing order, within":         {true, "10", "", unrestricted(), ""},
		"reducing order, beyond":         {true, "10.1", "", unrestricted(), ipc.ReasonModeReduceOnly},
		"reducing order, beyond, half":   {true, "11", "", reduce, ipc.ReasonModeReduceOnly},
		"reducing order, reprice + more": {true, "5", "101", reduce, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			g.Book.set(btc, dec(t, "10"))
			o := limitOrder(t, ipc.SideSell, "4", "100")
			o.ReduceOnly = c.reduceOnly
			target, _ := accept(t, g, 1, o, unrestricted())
			v := judge(t, g, intent(2, 0, "", amend(target, c.quantity, c.price)), 2, 0, c.mode)
			if v.Reason != c.want && !(c.want == "" && v.Permitted()) {
				t.Errorf("%s %s (%s), want %q", v.Outcome, v.Reason, v.Detail, c.want)
			}
		})
	}
	// From its verdict on, the amended quantity counts: 10 long, selling 4 → 9 leaves 1.
	g := newGate(t)
	g.Book.set(btc, dec(t, "10"))
	target, _ := accept(t, g, 1, limitOrder(t, ipc.SideSell, "4", "100"), unrestricted())
	a, _ := accept(t, g, 2, amend(target, "9", ""), unrestricted())
	if got := g.Book.Reducible(btc, ipc.SideSell); got != dec(t, "1") {
		t.Errorf("reducible beside an amend that is under way: %s, want 1", got)
	}
	for _, s := range []ipc.Status{ipc.StatusOffered, ipc.StatusCommitted} {
		g.Book.SetStatus(a.Key, s, 1e9)
	}
	if _, ok := g.Book.Lookup(a.Key); ok || target.Remaining != dec(t, "9") {
		t.Errorf("after the amend %s remain", target.Remaining)
	}
}

// Proves: GT-5
func TestNamedKeys(t *testing.T) {
	g := newGate(t)
	g.Policy.NamedRetention = 100
	ask := func(step ipc.Step, quantity string, now ipc.Nanos) Verdict {
		v, err := g.Judge(Request{Intent: intent(step, 0, "entry", limitOrder(t, ipc.SideBuy, quantity, "100")), Step: step, Mode: unrestricted(), CoreTS: now, StepTS: now})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := ask(1, "1", 0)
	key := first.Intent.Meta.Key
	g.Book.Track(&Tracked{Key: key, Step: 1, Intent: first.Intent})
	for _, s := range []ipc.Status{ipc.StatusStaged, ipc.StatusApproved} {
		g.Book.SetStatus(key, s, 0)
	}
	if v := ask(2, "1", 1000); v.Reason != ipc.ReasonKeyDuplicate || v.Conflict {
		t.Errorf("repeated while it lives, long after the retention: %s", v.Reason)
	}
	if v := ask(2, "2", 1000); v.Reason != ipc.ReasonKeyConflict || !v.Conflict {
		t.Errorf("other content: %s", v.Reason)
	}
	g.Book.SetStatus(key, ipc.StatusRejected, 1000)
	if v := ask(3, "2", 1100); v.Reason != ipc.ReasonKeyConflict {
		t.Errorf("within the retention after its end: %s %s", v.Outcome, v.Reason)
	}
	if v := ask(3, "2", 1101); !v.Permitted() {
		t.Errorf("after the retention: %s %s", v.Outcome, v.Reason)
	}
	// A refused intent does not use its name up.
	if v := ask(4, "0.01", 1102); v.Reason != ipc.ReasonKeyConflict {
		t.Errorf("got %s", v.Reason)
	}
	g = newGate(t)
	g.Policy.NamedRetention = 0
	if v := ask(1, "0.01", 0); v.Reason != ipc.ReasonQuantityTooSmall {
		t.Errorf("got %s", v.Reason)
	}
	if v := ask(2, "1", 1); !v.Permitted() {
		t.Errorf("the name of a refused intent is taken: %s", v.Reason)
	}
	if v := ask(3, "1", 1e18); v.Reason != ipc.ReasonKeyDuplicate {
		t.Errorf("retention 0 keeps names for ever: %s", v.Reason)
	}
}

// Proves: GT-2, SB-5
func TestCeilings(t *testing.T) {
	ask := func(g *Gate, step ipc.Step, ordinal uint32, b ipc.IntentBody, now ipc.Nanos) ipc.ReasonCode {
		v, err := g.Judge(Request{Intent: intent(step, ordinal, "", b), Step: step, Ordinal: ordinal, Mode: unrestricted(), CoreTS: now, StepTS: now})
		if err != nil {
			t.Fatal(err)
		}
		return v.Reason
	}
	buy := limitOrder(t, ipc.SideBuy, "1", "100")
	cancel := &ipc.CancelIntent{Instrument: btc, TargetKey: "x"}
	g := newGate(t)
	g.Policy.Ceilings = Ceilings{PerEvent: 2, PerSecond: 3, CancelsPerSecond: 1, PerRun: 4, Open: 50, MaxDelay: 1e9}
	for i, c := range []struct {
		step    ipc.Step
		ordinal uint32
		body    ipc.IntentBody
		now     ipc.Nanos
		want    ipc.ReasonCode
	}{
		{1, 0, buy, 0, ""}, {1, 1, buy, 0, ""}, {1, 2, buy, 0, ipc.ReasonIntentsPerEvent}, {1, 3, cancel, 0, ipc.ReasonIntentsPerEvent},
		{2, 0, buy, 5e8, ""}, {3, 0, buy, 1e9 - 1, ipc.ReasonIntentsPerSecond},
		{3, 0, cancel, 1e9 - 1, ""}, {4, 0, cancel, 1e9 + 1, ipc.ReasonCancelsPerSecond}, {5, 0, cancel, 2e9 - 1, ""},
		{6, 0, buy, 1e9, ""}, {7, 0, buy, 9e9, ipc.ReasonIntentsPerRun}, {7, 1, cancel, 9e9, ""},
	} {
		if got := ask(g, c.step, c.ordinal, c.body, c.now); got != c.want {
			t.Errorf("%d: got %q, want %q", i, got, c.want)
		}
	}
	g = newGate(t)
	g.Policy.Ceilings.Open = 2
	for step := ipc.Step(1); step <= 2; step++ {
		accept(t, g, step, buy, unrestricted())
	}
	if got := ask(g, 3, 0, buy, 5e9); got != ipc.ReasonIntentsPerInstance {
		t.Errorf("third open order: %q", got)
	}
	if got := ask(g, 3, 0, cancel, 5e9); got != "" {
		t.Errorf("a cancel counts no open order: %q", got)
	}
	g.Policy.Ceilings = Ceilings{}
	g.Policy.Ceilings.MaxDelay = 1e9
	if got := ask(g, 3, 0, cancel, 5e9); got != ipc.ReasonIntentsPerEvent {
		t.Errorf("zero forbids: %q", got)
	}
}

func TestWindowIsExact(t *testing.T) {
	var w Window
	for _, c := range []struct {
		now  ipc.Nanos
		want bool
	}{{0, true}, {999_999_999, true}, {999_999_999, false}, {1e9, true}, {1e9 + 1, false}, {1_999_999_998, false}, {1_999_999_999, true}, {1_999_999_999, false}, {2e9, true}} {
		if got := w.Take(c.now, 2); got != c.want {
			t.Errorf("at %d: %v", c.now, got)
		}
	}
	if w.Take(9e9, 0) {
		t.Error("a ceiling of zero lets nothing pass")
	}
}

func ExampleMode() {
	held := Impose(nil, Held{ID: "operator", Restriction: ReduceOnly(), Reason: ipc.ReasonOperatorMode})
	held = Impose(held, Held{ID: "breaker/X", Restriction: ipc.Restriction{SizeFactor: ipc.Decimal{M: 5, E: -1}}, Reason: ipc.ReasonBreakerRejects})
	m := Join(held)
	fmt.Println(m.ReduceOnly, m.ReduceReason, m.SizeFactor, m.SizeReason)
	held, _ = Lift(held, "operator")
	fmt.Println(Join(held).ReduceOnly)
	// Output:
	// true OPERATOR_MODE 0.5 BREAKER_REJECTS
	// false
}

// The names that a book remembers go with every checkpoint: there is room for so many, and what comes above them is refused, not forgotten.
//
// Proves: GT-2, GT-5, ST-1
func TestNamesHaveACeiling(t *testing.T) {
	g := newGate(t)
	for n := range MaxNames - 1 {
		g.Book.remember(ipc.Key(fmt.Sprintf("%032x", n)), Named{Digest: ipc.Digest{255, 254, 253, byte(n)}, SeenTS: 1_700_000_000_000_000_000})
	}
	ask := func(step ipc.Step, name string) Verdict {
		return judge(t, g, intent(step, 0, name, limitOrder(t, ipc.SideBuy, "1", "100")), step, 0, unrestricted())
	}
	if v := ask(1, "last"); !v.Permitted() {
		t.Errorf("name %d: %s %s", MaxNames, v.Outcome, v.Reason)
	}
	if v := ask(2, "one more"); v.Reason != ipc.ReasonNameCeiling {
		t.Errorf("name %d: %s %s", MaxNames+1, v.Outcome, v.Reason)
	}
	if v := ask(3, "last"); v.Reason != ipc.ReasonKeyDuplicate {
		t.Errorf("a name that is remembered: %s %s", v.Outcome, v.Reason)
	}
	if v := ask(4, ""); !v.Permitted() {
		t.Errorf("an intent without a name: %s %s", v.Outcome, v.Reason)
	}
	r, err := g.Book.Record()
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d names are %d bytes of a checkpoint", MaxNames, len(body))
	if len(body) > 12<<20 {
		t.Errorf("%d bytes leave no room for the rest of the core's 16 MiB", len(body))
	}
}
