package supervisor

import (
	"context"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/mailbox"
)

// Market is one event as all its subscribers get it: encoded once. Without Decoded it is never conflated.
type Market = mailbox.Market

// Publish gives a market event of a feed in lock step to the instance, waiting while its queue is full. It is delivered as it is.
func (p *Instance) Publish(ctx context.Context, m Market) error { return p.box.PutMarketWait(ctx, m) }

// Offer gives a market event of a live or paced feed to the instance, conflated with what waits (BP-1). Above the queue's ceiling the oldest
// give way and the instance is restricted (BP-4). It reports false when the event itself was dropped; what is dropped is counted.
func (p *Instance) Offer(m Market) bool { return p.box.PutMarket(m) }

// Counts returns the accounts of market events, at any time. After Done nothing waits: received = delivered + conflated + dropped (BP-1).
func (p *Instance) Counts() mailbox.Counts { return p.box.Counts() }

// Accountant is an Observer that wants the accounts of market events; it may ask for them at any time, from any goroutine (OB-2).
type Accountant interface {
	Account(a ipc.Address, counts func() mailbox.Counts)
}

// heldByQueue names the restriction of a queue above its ceiling.
const heldByQueue = "queue"

// queueCeiling is no_trade from the queue's ceiling until it is half empty: until then the strategy decides on an old market (BP-4).
func queueCeiling(over bool) urgent {
	return urgent{input: &core.Guard{Lift: !over, Held: gate.Held{ID: heldByQueue, Origin: gate.OriginQueue, Restriction: gate.NoTrade(),
		Reason: ipc.ReasonQueueCeiling, Release: gate.ReleaseCondition}}}
}

// agreeOnQueue brings the restriction of the log in line with the queue: an earlier run, or inputs that were voided, had another queue.
func (p *Instance) agreeOnQueue() error {
	held := slices.ContainsFunc(p.state.Held, func(h gate.Held) bool { return h.ID == heldByQueue })
	if over := p.box.Counts().Congested; over != held {
		return p.apply(p.stamp(queueCeiling(over).input))
	}
	return nil
}

// missedMarket says that market events are gone which the strategy should have seen: those after them are flagged (DQ-1).
func (p *Instance) missedMarket() { p.box.Interrupted() }

// takenMarket is a market event and the input that its delivery becomes.
type takenMarket struct {
	no     ipc.InputNo
	market Market
}

// peekMarket reports when the next market event was received, and whether there is one.
func (p *Instance) peekMarket() (recv ipc.Nanos, waiting bool) {
	if len(p.again) > 0 {
		return p.again[0].Recv, true
	}
	return p.box.PeekMarket()
}

// takeMarket takes the next market event. A feed in lock step is delivered whole: until a delivery is durable its event is kept, for a failed
// persist voids it, and no source sends it again (found by failing every write of a run: strategies missed what 5 ms hold).
func (p *Instance) takeMarket() (m Market, ok bool, err error) {
	if len(p.again) > 0 {
		m, ok = p.again[0], true
		p.again = p.again[1:]
	} else if m, ok, err = p.box.TakeMarket(); !ok || err != nil {
		return Market{}, ok, err
	}
	if p.cfg.LockStep {
		if len(p.taken) >= takenAtLeast {
			durable := p.cfg.Ledger.LastInput()
			p.taken = slices.DeleteFunc(p.taken, func(t takenMarket) bool { return t.no <= durable })
		}
		p.taken = append(p.taken, takenMarket{p.state.InputNo + 1, m})
	}
	return m, true, nil
}

// takenAtLeast is how many events are kept before it is looked which of them are durable.
const takenAtLeast = 64

// deliverAgain puts market events whose deliveries were voided before all that waits. Call it when the core is back at the last durable input.
func (p *Instance) deliverAgain() {
	var voided []Market
	for _, t := range p.taken {
		if t.no > p.state.InputNo {
			voided = append(voided, t.market)
		}
	}
	p.taken, p.again = nil, append(voided, p.again...)
}
