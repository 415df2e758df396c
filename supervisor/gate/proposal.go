package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// The bounds of proposals.
const (
	MaxProposals       = 16  // of one response
	MaxLiveProposals   = 256 // of one instance; each checkpoint holds them
	MaxProposalBytes   = 64  // of an id
	MaxProposalTTLms   = 3_600_000
	maxProposalDecimal = 19
)

// Proposal is what a language model proposes: the most that intents which name it may do to increase risk (EX-3). It never makes one.
type Proposal struct {
	ID         string           `json:"id"`
	Service    string           `json:"service"`
	Instrument ipc.InstrumentID `json:"instrument"`
	Side       ipc.Side         `json:"side"`
	Left       ipc.Decimal      `json:"left"`  // of its largest quantity; what intents took is gone, whatever became of them
	Until      ipc.Nanos        `json:"until"` // core_ts
}

// proposalJSON is a proposal as a service writes it. Quantities are strings: money is never a float.
type proposalJSON struct {
	Proposal    *string `json:"proposal"`
	Instrument  *string `json:"instrument"`
	Side        *string `json:"side"`
	MaxQuantity *string `json:"max_quantity"`
	TTLms       *int64  `json:"ttl_ms"`
}

// ParseProposals reads the "proposals" of a service's response, which may hold other things beside them. Their Until is the ttl: the caller adds
// the time. One that is malformed refuses all: a response is true or it is not (EX-3).
func ParseProposals(response []byte) ([]Proposal, error) {
	if len(response) > ipc.MaxAnswerBytes {
		return nil, fmt.Errorf("a response of %d bytes; %d are allowed", len(response), ipc.MaxAnswerBytes)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(response, &doc); err != nil {
		return nil, errors.New("the response is no JSON object")
	}
	raw, ok := doc["proposals"]
	if !ok {
		return nil, errors.New(`the response has no "proposals"`)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var list []proposalJSON
	if err := d.Decode(&list); err != nil {
		return nil, errors.New("proposals: they are no list of {proposal, instrument, side, max_quantity, ttl_ms}")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil, errors.New("proposals: they are no list")
	}
	if len(list) > MaxProposals {
		return nil, fmt.Errorf("proposals: %d in one response; %d are allowed", len(list), MaxProposals)
	}
	out := make([]Proposal, len(list))
	for i := range list {
		p, err := list[i].checked()
		if err != nil {
			return nil, fmt.Errorf("proposals[%d]: %w", i, err)
		}
		if slices.ContainsFunc(out[:i], func(o Proposal) bool { return o.ID == p.ID }) {
			return nil, fmt.Errorf("proposals[%d]: its id stands twice", i)
		}
		out[i] = p
	}
	return out, nil
}

func (j *proposalJSON) checked() (Proposal, error) {
	var p Proposal
	switch {
	case j.Proposal == nil || j.Instrument == nil || j.Side == nil || j.MaxQuantity == nil || j.TTLms == nil:
		return p, errors.New("proposal, instrument, side, max_quantity and ttl_ms are all needed")
	case !plainID(*j.Proposal):
		return p, fmt.Errorf("its id must be 1 to %d letters, digits and . _ : -", MaxProposalBytes)
	case ipc.CheckID(*j.Instrument) != nil:
		return p, errors.New("its instrument is no id")
	case *j.TTLms < 1 || *j.TTLms > MaxProposalTTLms:
		return p, fmt.Errorf("its ttl_ms is outside 1 to %d", MaxProposalTTLms)
	}
	switch *j.Side {
	case "buy":
		p.Side = ipc.SideBuy
	case "sell":
		p.Side = ipc.SideSell
	default:
		return p, errors.New("its side is neither buy nor sell")
	}
	quantity, err := ipc.ParseDecimalBytes([]byte(*j.MaxQuantity))
	if err != nil || len(*j.MaxQuantity) > maxProposalDecimal || quantity.Sign() <= 0 {
		return p, errors.New("its max_quantity is no decimal above zero, written as a string")
	}
	p.ID, p.Instrument, p.Left, p.Until = *j.Proposal, ipc.InstrumentID(*j.Instrument), quantity, ipc.Nanos(*j.TTLms)*1_000_000
	return p, nil
}

func plainID(s string) bool {
	return s != "" && len(s) <= MaxProposalBytes && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") == ""
}

// Propose takes the proposals of a service at core time now, whose ttl begins. It returns those that were not taken, each with why: an id that is
// live stays what it was, or a service could renew what intents have taken of it.
func (g *Gate) Propose(service string, list []Proposal, now ipc.Nanos) (refused []string) {
	g.lapse(now)
	for _, p := range list {
		i, found := g.proposal(p.ID)
		spec, known := g.Policy.Instruments[p.Instrument]
		switch {
		case found:
			refused = append(refused, p.ID+": its id is in use")
			continue
		case !known || !g.Policy.permitsInstrument(spec.ID):
			refused = append(refused, p.ID+": the instance may not trade its instrument")
			continue
		case len(g.Proposals) >= MaxLiveProposals:
			refused = append(refused, fmt.Sprintf("%s: %d are live", p.ID, len(g.Proposals)))
			continue
		}
		p.Service, p.Until = service, now+p.Until
		g.Proposals = slices.Insert(g.Proposals, i, p)
	}
	return refused
}

// lapse forgets proposals whose time is over.
func (g *Gate) lapse(now ipc.Nanos) {
	g.Proposals = slices.DeleteFunc(g.Proposals, func(p Proposal) bool { return p.Until < now })
}

func (g *Gate) proposal(id string) (int, bool) {
	return slices.BinarySearchFunc(g.Proposals, id, func(p Proposal, id string) int { return strings.Compare(p.ID, id) })
}

// NeedsProposals reports whether what increases risk must rest on a proposal: a service that gives them is declared (EX-3).
func (p *Policy) NeedsProposals() bool { return len(p.ProposalsFrom) > 0 }

// risk is what an intent does to increase risk.
type risk struct {
	instrument ipc.InstrumentID
	side       ipc.Side
	quantity   ipc.Decimal // that a proposal must cover: the whole order, the whole way to a target, what an amend adds
}

// increases says what of an intent's body may increase risk in the worst case, or that nothing does. before limits the open intents that count.
func (g *Gate) increases(body ipc.IntentBody, before *Tracked) (risk, bool) {
	counts := func(t *Tracked) bool { return precedes(t, before) }
	switch b := body.(type) {
	case *ipc.OrderIntent:
		over := !b.ReduceOnly && b.Quantity.Cmp(g.Book.reducible(b.Instrument, b.Side, counts)) > 0
		return risk{b.Instrument, b.Side, b.Quantity}, over
	case *ipc.PositionIntent:
		side, distance, ok := g.Book.distance(b)
		if !ok {
			return risk{b.Instrument, side, distance}, true // what cannot be said exactly is refused
		}
		over := side != ipc.SideUnknown && distance.Cmp(g.Book.reducible(b.Instrument, side, counts)) > 0
		return risk{b.Instrument, side, distance}, over
	case *ipc.AmendIntent:
		return g.amendIncreases(b)
	}
	return risk{}, false
}

// amendIncreases: an order that only reduces stays one. Of another, a quantity above what is open adds, and a price brings a fill nearer.
func (g *Gate) amendIncreases(a *ipc.AmendIntent) (risk, bool) {
	target, order, ok := g.Book.orderOf(a.TargetKey)
	if !ok || order.ReduceOnly {
		return risk{}, false // what is not there, normalise has refused
	}
	r := risk{instrument: order.Instrument, side: order.Side}
	if a.Quantity != nil && a.Quantity.Cmp(target.Remaining) > 0 {
		added, ok := a.Quantity.Sub(target.Remaining)
		if !ok {
			added = *a.Quantity
		}
		r.quantity = added
		return r, true
	}
	return r, a.LimitPrice != nil
}

// proposed refuses an intent that increases risk without a live proposal, or beyond it (EX-3).
func (g *Gate) proposed(r *Request, v *Verdict) {
	if !g.Policy.NeedsProposals() || !tradesRisk(r.Intent.Body) {
		return
	}
	risk, over := g.increases(v.body(r), nil)
	if !over {
		return
	}
	id := r.Intent.Meta.Proposal
	g.lapse(r.CoreTS)
	i, live := g.proposal(id)
	switch {
	case id == "":
		v.refuse(ipc.ReasonProposalMissing, "it increases risk and names no proposal")
		return
	case !live:
		v.refuse(ipc.ReasonProposalMissing, "proposal %.64q is not live", id)
		return
	}
	switch p := &g.Proposals[i]; {
	case p.Instrument != risk.instrument || p.Side != risk.side:
		v.refuse(ipc.ReasonProposalExceeded, "proposal %s is for another instrument or side", id)
	case risk.quantity.Cmp(p.Left) > 0:
		v.refuse(ipc.ReasonProposalExceeded, "it takes %s, %s is left of proposal %s", risk.quantity, p.Left, id)
	default:
		v.Proposed, v.Taken = true, risk.quantity
	}
}

// take subtracts what an accepted intent takes of its proposal, which bounds its validity: nothing is offered on a proposal that is over.
func (g *Gate) take(v *Verdict) {
	if !v.Proposed {
		return
	}
	i, _ := g.proposal(v.Intent.Meta.Proposal) // proposed found it
	p := &g.Proposals[i]
	v.ValidUntil = min(v.ValidUntil, p.Until)
	left, ok := p.Left.Sub(v.Taken)
	if !ok {
		left = ipc.Decimal{} // not to be said exactly: nothing is left
	}
	p.Left = left
}

// outgrown says why an intent would need a proposal now, or more of one, than at its verdict; "" when it would not: fills have come since.
func (g *Gate) outgrown(t *Tracked) string {
	if !g.Policy.NeedsProposals() {
		return ""
	}
	body := t.Intent.Body
	if o, ok := body.(*ipc.OrderIntent); ok && t.Remaining.Cmp(o.Quantity) < 0 {
		rest := *o
		rest.Quantity = t.Remaining
		body = &rest
	}
	switch risk, over := g.increases(body, t); {
	case over && !t.Proposed:
		return "the position has moved: it would increase risk now, and rests on no proposal"
	case over && risk.quantity.Cmp(t.Taken) > 0:
		return fmt.Sprintf("the position has moved: it would trade %s now, and took %s of its proposal", risk.quantity, t.Taken)
	}
	return ""
}
