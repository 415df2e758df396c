package gate

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

// proposing is newGate for a strategy with an llm service.
func proposing(t testing.TB) *Gate {
	g := newGate(t)
	g.Policy.ProposalsFrom = []string{"advisor"}
	return g
}

func propose(t testing.TB, g *Gate, id string, side ipc.Side, quantity string, ttl, now ipc.Nanos) {
	t.Helper()
	if refused := g.Propose("advisor", []Proposal{{ID: id, Instrument: btc, Side: side, Left: dec(t, quantity), Until: ttl}}, now); len(refused) > 0 {
		t.Fatal(refused)
	}
}

func named(step ipc.Step, proposal string, body ipc.IntentBody) *ipc.Intent {
	i := intent(step, 0, "", body)
	i.Meta.Proposal = proposal
	return i
}

// Proves: EX-3, GT-3
func TestWhatIncreasesRiskNeedsAProposal(t *testing.T) {
	buy := func(quantity string) *ipc.OrderIntent { return limitOrder(t, ipc.SideBuy, quantity, "100") }
	position := func(target string) *ipc.PositionIntent {
		return &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, target)}
	}
	reduce := func(o *ipc.OrderIntent) *ipc.OrderIntent { o.ReduceOnly = true; return o }
	for name, c := range map[string]struct {
		have     string // position
		proposal string
		body     ipc.IntentBody
		want     ipc.ReasonCode
	}{
		"within":                    {"0", "p", buy("5"), ""},
		"none named":                {"0", "", buy("5"), ipc.ReasonProposalMissing},
		"unknown":                   {"0", "q", buy("5"), ipc.ReasonProposalMissing},
		"too much":                  {"0", "p", buy("5.1"), ipc.ReasonProposalExceeded},
		"other side":                {"0", "p", limitOrder(t, ipc.SideSell, "1", "100"), ipc.ReasonProposalExceeded},
		"over":                      {"0", "old", buy("1"), ipc.ReasonProposalMissing},
		"reduces":                   {"-5", "", buy("5"), ""},
		"reduces and then some":     {"-5", "", buy("5.5"), ipc.ReasonProposalMissing},
		"reduces by its own word":   {"-5", "", reduce(buy("3")), ""},
		"reduces, unknown proposal": {"-5", "q", buy("3"), ""},
		"target":                    {"0", "p", position("5"), ""},
		"target without":            {"0", "", position("5"), ipc.ReasonProposalMissing},
		"target beyond":             {"0", "p", position("6"), ipc.ReasonProposalExceeded},
		"target through zero":       {"-3", "", position("3"), ipc.ReasonProposalMissing},
		"target to flat":            {"7", "", position("0"), ""},
		"cancel":                    {"0", "", &ipc.CancelIntent{Instrument: btc, TargetKey: "0123"}, ""},
		"alert":                     {"0", "", &ipc.AlertIntent{Severity: 1, Code: "x"}, ""},
	} {
		g := proposing(t)
		g.Book.set(btc, dec(t, c.have))
		propose(t, g, "old", ipc.SideBuy, "100", 1, 0)
		propose(t, g, "p", ipc.SideBuy, "5", 1e9, 1e9)
		v := judge(t, g, named(1, c.proposal, c.body), 1, 0, unrestricted())
		if v.Reason != c.want && !(c.want == "" && v.Permitted()) {
			t.Errorf("%s: %v %s %s, want %q", name, v.Outcome, v.Reason, v.Detail, c.want)
		}
		if v.Permitted() != (c.want == "") || c.want != "" && v.Proposed {
			t.Errorf("%s: permitted %t", name, v.Permitted())
		}
		g.Policy.ProposalsFrom = nil // no llm is declared: the same intent passes
		if v := judge(t, g, named(2, c.proposal, c.body), 2, 0, unrestricted()); !v.Permitted() {
			t.Errorf("%s without an llm: %s %s", name, v.Reason, v.Detail)
		}
	}
}

// Intents share a proposal; what one took is gone, and a refused one takes nothing.
// Proves: EX-3
func TestProposalIsUsedUp(t *testing.T) {
	g := proposing(t)
	propose(t, g, "p", ipc.SideBuy, "5", 2e8, 1e9)
	g.Policy.Ceilings.PerSecond = 2
	for i, c := range []struct {
		quantity string
		want     ipc.ReasonCode
		left     string
	}{{"3", "", "2"}, {"2.5", ipc.ReasonProposalExceeded, "2"}, {"1.9", "", "0.1"}, {"0.2", ipc.ReasonProposalExceeded, "0.1"}} {
		step := ipc.Step(i + 1)
		v := judge(t, g, named(step, "p", limitOrder(t, ipc.SideBuy, c.quantity, "100")), step, 0, unrestricted())
		if v.Reason != c.want || g.Proposals[0].Left.Cmp(dec(t, c.left)) != 0 {
			t.Errorf("%s: %q %s, %s left", c.quantity, v.Reason, v.Detail, g.Proposals[0].Left)
		}
		if v.Permitted() && v.ValidUntil != 1e9+2e8 { // not the 5e8 of its risk context
			t.Errorf("%s: valid until %d, its proposal until 1.2e9", c.quantity, v.ValidUntil)
		}
	}
	propose(t, g, "q", ipc.SideBuy, "5", 2e8, 1e9)
	if v := judge(t, g, named(9, "q", limitOrder(t, ipc.SideBuy, "1", "100")), 9, 0, unrestricted()); v.Reason != ipc.ReasonIntentsPerSecond || g.Proposals[1].Left.Cmp(dec(t, "5")) != 0 {
		t.Errorf("refused by a ceiling: %s, %s left", v.Reason, g.Proposals[1].Left)
	}
	if refused := g.Propose("advisor", []Proposal{{ID: "p", Instrument: btc, Side: ipc.SideBuy, Left: dec(t, "100"), Until: 1e9}}, 1.1e9); len(refused) != 1 || g.Proposals[0].Left.Cmp(dec(t, "0.1")) != 0 {
		t.Errorf("a live proposal was renewed: %v, %s left", refused, g.Proposals[0].Left)
	}
	if refused := g.Propose("advisor", []Proposal{{ID: "e", Instrument: "BTCEUR.KRAKEN", Side: ipc.SideBuy, Left: dec(t, "1"), Until: 1}, {ID: "x", Instrument: "X", Side: ipc.SideBuy, Left: dec(t, "1"), Until: 1}}, 1.1e9); len(refused) != 2 {
		t.Errorf("instruments that it may not trade: %v", refused)
	}
	for i := range MaxLiveProposals + 10 {
		g.Propose("advisor", []Proposal{{ID: fmt.Sprintf("n%d", i), Instrument: btc, Side: ipc.SideBuy, Left: dec(t, "1"), Until: 1e9}}, 1.1e9)
	}
	if len(g.Proposals) != MaxLiveProposals {
		t.Errorf("%d are live", len(g.Proposals))
	}
	if g.Propose("advisor", nil, 9e9); len(g.Proposals) != 0 {
		t.Errorf("%d outlived their time", len(g.Proposals))
	}
}

// Between verdict and offer fills come: what reduced then may increase now.
// Proves: EX-3
func TestOutgrownIntentIsWithdrawn(t *testing.T) {
	recheck := func(g *Gate, k *Tracked) ipc.Status {
		next, _, _ := g.Recheck(k, unrestricted(), 1e9, 0)
		return next
	}
	g := proposing(t)
	g.Book.set(btc, dec(t, "-5"))
	k, v := accept(t, g, 1, limitOrder(t, ipc.SideBuy, "5", "100"), unrestricted())
	if k == nil {
		t.Fatal(v.Reason, v.Detail)
	}
	if got := recheck(g, k); got != ipc.StatusOffered {
		t.Errorf("unchanged: %s", got)
	}
	g.Book.set(btc, dec(t, "-4"))
	if got := recheck(g, k); got != ipc.StatusWithdrawn {
		t.Errorf("it would increase now: %s", got)
	}
	g = proposing(t)
	g.Book.set(btc, dec(t, "2"))
	propose(t, g, "p", ipc.SideBuy, "5", 1e9, 1e9)
	i := named(1, "p", &ipc.PositionIntent{Instrument: btc, TargetQuantity: dec(t, "6")})
	v = judge(t, g, i, 1, 0, unrestricted())
	k = &Tracked{Key: i.Meta.Key, Step: 1, ValidCore: v.ValidUntil, SizeFactor: One, Proposed: v.Proposed, Taken: v.Taken, Intent: i}
	g.Book.Track(k)
	if got := recheck(g, k); got != ipc.StatusOffered || v.Taken.Cmp(dec(t, "4")) != 0 {
		t.Errorf("unchanged: %s, took %s", got, v.Taken)
	}
	g.Book.set(btc, dec(t, "0"))
	if got := recheck(g, k); got != ipc.StatusWithdrawn {
		t.Errorf("the target is further away than its proposal allows: %s", got)
	}
}

// Proves: EX-3
func TestAmendNeedsAProposal(t *testing.T) {
	for name, c := range map[string]struct {
		proposal        string
		quantity, price string
		want            ipc.ReasonCode
	}{
		"less":            {"", "1", "", ""},
		"more":            {"", "4", "", ipc.ReasonProposalMissing},
		"more, proposed":  {"p", "4", "", ""},
		"more than that":  {"p", "9", "", ipc.ReasonProposalExceeded},
		"price":           {"", "", "101", ipc.ReasonProposalMissing},
		"price, proposed": {"p", "", "101", ""},
	} {
		g := proposing(t)
		propose(t, g, "first", ipc.SideBuy, "3", 1e9, 1e9)
		propose(t, g, "p", ipc.SideBuy, "5", 1e9, 1e9)
		first := named(1, "first", limitOrder(t, ipc.SideBuy, "3", "100"))
		v := judge(t, g, first, 1, 0, unrestricted())
		if !v.Permitted() {
			t.Fatal(v.Detail)
		}
		g.Book.Track(&Tracked{Key: first.Meta.Key, Step: 1, Intent: first, Proposed: true, Taken: v.Taken})
		a := &ipc.AmendIntent{Instrument: btc, TargetKey: first.Meta.Key}
		if c.quantity != "" {
			a.Quantity = ref(dec(t, c.quantity))
		}
		if c.price != "" {
			a.LimitPrice = ref(dec(t, c.price))
		}
		if v := judge(t, g, named(2, c.proposal, a), 2, 0, unrestricted()); v.Reason != c.want {
			t.Errorf("%s: %q %s", name, v.Reason, v.Detail)
		}
	}
}

// Whatever is asked for and whatever was open before: a permitted intent without a proposal cannot increase risk in the worst case, one with a
// proposal stays on its instrument and side, and all of them together stay within its largest quantity. Under a policy with proposals nothing is
// permitted that would not be without.
// Proves: EX-3, GT-3
func TestProposalsOnlyEverRestrict(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g, free := proposing(t), newGate(t)
		start := drawDecimal(rt, -1e6, 1e6, "position")
		g.Book.set(btc, start)
		free.Book.set(btc, start)
		most := drawDecimal(rt, 1, 1e6, "largest quantity")
		side := rapid.SampledFrom([]ipc.Side{ipc.SideBuy, ipc.SideSell}).Draw(rt, "proposed side")
		g.Propose("advisor", []Proposal{{ID: "p", Instrument: btc, Side: side, Left: most, Until: 1e9}}, 1e9)
		taken := ipc.Decimal{}
		for n := range rapid.IntRange(1, 6).Draw(rt, "intents") {
			step := ipc.Step(n + 1)
			body := drawBody(rt, g)
			i := named(step, rapid.SampledFrom([]string{"", "p", "q"}).Draw(rt, "proposal"), body)
			mode := Join(drawHeld(rt, 2))
			v, err := g.Judge(Request{Intent: i, Step: step, Mode: mode, CoreTS: 1e9, StepTS: 1e9})
			if err != nil {
				rt.Fatal(err)
			}
			w, err := free.Judge(Request{Intent: i, Step: step, Mode: mode, CoreTS: 1e9, StepTS: 1e9})
			if err != nil {
				rt.Fatal(err)
			}
			if v.Permitted() && !w.Permitted() {
				rt.Fatalf("permitted with proposals, refused without: %s %s", w.Reason, w.Detail)
			}
			if !v.Permitted() {
				continue
			}
			if risk, over := g.increases(v.Intent.Body, nil); over {
				if !v.Proposed || i.Meta.Proposal != "p" || risk.side != side {
					rt.Fatalf("%+v increases risk and rests on %q", v.Intent.Body, i.Meta.Proposal)
				}
				var ok bool
				if taken, ok = taken.Add(v.Taken); !ok || v.Taken.Cmp(risk.quantity) != 0 || taken.Cmp(most) > 0 {
					rt.Fatalf("%s taken of %s", taken, most)
				}
			}
			for _, to := range []*Gate{g, free} {
				to.Book.Track(&Tracked{Key: i.Meta.Key, Step: step, ValidCore: v.ValidUntil, SizeFactor: mode.SizeFactor, Proposed: v.Proposed, Taken: v.Taken, Intent: v.Intent})
			}
		}
	})
}

// Proves: EX-3
func FuzzProposals(f *testing.F) {
	f.Add([]byte(`{"proposals":[{"proposal":"p","instrument":"BTCUSDT.SIM","side":"buy","max_quantity":"0.5","ttl_ms":1000}]}`))
	f.Add([]byte(`{"proposals":null}`))
	f.Add([]byte(`{"proposals":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseProposals(b)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range list {
			if seen[p.ID] || !plainID(p.ID) || p.Left.Sign() <= 0 || p.Until < 1e6 || p.Until > MaxProposalTTLms*1e6 || p.Side != ipc.SideBuy && p.Side != ipc.SideSell ||
				ipc.CheckID(string(p.Instrument)) != nil || strings.ContainsAny(p.ID, " \n") {
				t.Fatalf("%+v", p)
			}
			seen[p.ID] = true
		}
		if len(list) > MaxProposals {
			t.Fatal(len(list))
		}
	})
}
