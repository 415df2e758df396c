package load

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/mailbox"
	"github.com/msup/msup/tests/memory"
)

var (
	seconds = flag.Float64("load.seconds", 5, "how long the feed is")
	rate    = flag.Int("load.rate", 100_000, "market events a second")
)

const (
	instances   = 50
	perInstance = 4 // instruments
	// burst is how many events are put between two looks at the clock.
	burst = 100
	// maxGrowth is what the heap may grow between the first third and the end.
	maxGrowth = 24 << 20
)

// member is one instance with its runner, its I, and what was given to it.
type member struct {
	*supervisor.Instance
	runner *runner
	venue  *venue
	small  bool // its ceiling is met
	stats  *supervisor.Stats

	market, bars, trades uint64
	risks                digest
	riskSeq              uint64
	names                [perInstance]ipc.InstrumentID
}

func newMember(t *testing.T, n int, stats *supervisor.Stats) *member {
	m := &member{venue: newVenue(true), stats: stats}
	address := ipc.Address{Bot: "load", Strategy: "load", Instance: ipc.InstanceID(fmt.Sprintf("n%d", n))}
	policy := &gate.Policy{Address: address, StrategyVersion: "1.0.0", Allowed: []string{"*"}, Instruments: map[ipc.InstrumentID]ipc.Instrument{},
		Intents: map[ipc.IntentKind]bool{ipc.IntentOrder: true}, OrderTypes: map[ipc.OrderType]bool{ipc.OrderLimit: true},
		Ceilings: gate.Ceilings{PerEvent: 1, PerSecond: 1 << 40, PerRun: 1 << 40, CancelsPerSecond: 1, Open: 1024, MaxDelay: 60e9}}
	for i := range m.names {
		m.names[i] = ipc.InstrumentID(fmt.Sprintf("I%d-%d", n, i))
		one := ipc.MustDecimal("1")
		policy.Instruments[m.names[i]] = ipc.Instrument{ID: m.names[i], Tick: one, Lot: one, MinQuantity: one}
	}
	h, ceiling := habits{}, 4096
	switch n % 10 {
	case 0:
		h.pause = 2 * time.Millisecond
	case 1:
		h.hang = 300 * time.Millisecond
	case 2:
		h.pause, ceiling, m.small = time.Millisecond, 6, true
	}
	lineage := ipc.Lineage{9}
	m.runner = startRunner(h, ipc.Owner{Address: address, Lineage: lineage})
	m.Instance = supervisor.NewInstance(supervisor.InstanceConfig{
		Address: address, StrategyVersion: "1.0.0", PackageHash: packageHash, RunID: "load", Lane: ipc.LaneLL, Mode: ipc.ModeLive, Owner: ipc.Nonce{1}, Version: "load",
		Risk:          ipc.RiskContext{MaxDelayNS: 10e9},
		Params:        &core.Params{Policy: policy, MaxTimers: 1, Cooldown: 1},
		Deadlines:     supervisor.Deadlines{Soft: 5 * time.Second, Hard: 30 * time.Second, Init: 30 * time.Second, Checkpoint: 5 * time.Second, Stop: time.Second},
		StateVersion:  1,
		MaxStateBytes: 1 << 20, QueueEvents: ceiling,
		StartRunner: func(context.Context) (sandbox.Runner, error) { return m.runner, nil },
		Ledger:      &memory.Ledger{ID: lineage}, Sink: m.venue, Clock: &wallClock{}, Observer: stats, Logger: slog.New(slog.DiscardHandler),
	})
	m.venue.to = m.Instance
	return m
}

// feed makes the events of all instances, in turn.
type feed struct {
	n        uint64
	venueSeq [instances * perInstance]uint64
}

func (f *feed) next(members []*member) (*member, ipc.MarketEvent) {
	f.n++
	which := int(f.n % uint64(len(members)))
	m, i := members[which], int(f.n/uint64(len(members)))%perInstance
	h := ipc.Market{Instrument: m.names[i], Source: "h", RecvTS: ipc.Nanos(f.n), Seq: f.n}
	price, size := ipc.FromInt(int64(90+f.n*7%20)), ipc.FromInt(int64(1+f.n%5))
	turn := f.n / uint64(len(members)) / perInstance
	switch {
	case turn%500 == 3:
		return m, &ipc.Bar{Market: h, PeriodNS: 60e9, Open: price, High: price, Low: price, Close: price, Volume: size}
	case turn%5 == 1:
		return m, &ipc.Trade{Market: h, Price: price, Quantity: size, Side: ipc.Side(1 + f.n%2)}
	case turn%5 == 2:
		seq := &f.venueSeq[which*perInstance+i]
		*seq++
		if turn%200 == 2 {
			return m, &ipc.BookSnapshot{Market: h, LastSeq: *seq, Bids: []ipc.Level{{Price: price, Quantity: size}}}
		}
		return m, &ipc.BookDelta{Market: h, FirstSeq: *seq, LastSeq: *seq, Bids: []ipc.Level{{Price: price, Quantity: size}}, Asks: []ipc.Level{{Price: ipc.FromInt(120), Quantity: size}}}
	}
	return m, &ipc.Quote{Market: h, Bid: &price, BidSize: &size}
}

// give puts one event, as the supervisor does it of a paced feed.
func (m *member) give(t *testing.T, e ipc.MarketEvent) {
	b, err := ipc.AppendEvent(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	m.market++
	switch e.(type) {
	case *ipc.Bar:
		m.bars++
	case *ipc.Trade:
		m.trades++
	}
	m.Offer(supervisor.Market{Recv: e.Header().RecvTS, Trace: "t", Event: b, Decoded: e})
}

// warn has J say something that restricts nothing.
func (m *member) warn() {
	m.riskSeq++
	id := fmt.Sprintf("r%d", m.riskSeq%7)
	m.risks.add(id)
	m.Arrive(&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "j", Epoch: 1, Seq: m.riskSeq}, TraceID: "t",
		Event: &ipc.RiskEvent{RestrictID: id, Restriction: gate.Unrestricted(), Reason: ipc.ReasonRiskRestriction, Release: m.riskSeq%2 == 0}})
}

func (m *member) balanced(t *testing.T) {
	t.Helper()
	if c := m.Counts(); c.Put != c.Taken+c.Conflated+c.Dropped+uint64(c.Waiting) {
		t.Fatalf("%s: %+v does not add up", m.Address(), c)
	}
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Proves: BP-1, BP-2, BP-3, BP-4, LN-1, DQ-1
func TestLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stats := supervisor.NewStats()
	var members []*member
	for n := range instances {
		m := newMember(t, n, stats)
		members = append(members, m)
		go m.Run(ctx) //nolint:errcheck // Err has it
	}
	total := uint64(*seconds * float64(*rate))
	f := &feed{}
	begin := time.Now()
	early := int64(0)
	for f.n < total {
		for range burst {
			m, e := f.next(members)
			m.give(t, e)
		}
		if m := members[f.n/burst%instances]; f.n/burst%3 == 0 {
			m.warn()
		} else {
			m.balanced(t)
		}
		if early == 0 && f.n > total/3 {
			early = heap()
		}
		due := begin.Add(time.Duration(float64(f.n) / float64(*rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
	}
	took := time.Since(begin)
	grown := heap() - early
	for _, m := range members {
		settle, done := context.WithTimeout(ctx, time.Minute)
		if err := m.Settle(settle); err != nil {
			t.Errorf("%s does not come to rest: %v, %+v", m.Address(), err, m.Counts())
		}
		done()
		m.Stop()
	}
	var put, conflated, dropped uint64
	for _, m := range members {
		<-m.Done()
		if err := m.Err(); err != nil {
			t.Errorf("%s: %v", m.Address(), err)
		}
		m.venue.close()
		c := m.exact(t)
		put, conflated, dropped = put+c[0], conflated+c[1], dropped+c[2]
	}
	if put != f.n {
		t.Errorf("%d events were put, the instances received %d", f.n, put)
	}
	if grown > maxGrowth {
		t.Errorf("the heap grew by %d bytes between a third of the feed and its end", grown)
	}
	t.Logf("%d events in %s: %.0f/s; %.0f%% conflated, %.2f%% dropped; the heap grew by %d KiB", put, took.Round(time.Millisecond),
		float64(put)/took.Seconds(), 100*float64(conflated)/float64(put), 100*float64(dropped)/float64(put), grown>>10)
}

// exact compares both sides of an instance after its end, and returns received, conflated and dropped.
func (m *member) exact(t *testing.T) [3]uint64 {
	t.Helper()
	c, r := m.Counts(), m.runner
	var restricted bool
	var health core.Health
	var stats mailbox.Counts
	m.stats.Read(m.Address(), func(t *supervisor.Tally) {
		restricted, health, stats = t.Reasons[ipc.ReasonQueueCeiling] > 0, t.Health, t.Market
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c.Waiting != 0 || c.Put != m.market || c.Put != c.Taken+c.Conflated+c.Dropped:
		t.Errorf("%s: %d were put: %+v", m.Address(), m.market, c)
	case c.Taken != r.market.Load():
		t.Errorf("%s: %d deliveries are counted, the strategy had %d", m.Address(), c.Taken, r.market.Load())
	case r.executions != m.venue.said || r.executions.n == 0:
		t.Errorf("%s: I said %+v, the strategy heard %+v", m.Address(), m.venue.said, r.executions)
	case r.risks != m.risks || r.risks.n == 0:
		t.Errorf("%s: J said %+v, the strategy heard %+v", m.Address(), m.risks, r.risks)
	case m.small != restricted || health != core.Healthy:
		t.Errorf("%s: restricted with QUEUE_CEILING %v, %s in the end", m.Address(), restricted, health)
	case stats != c:
		t.Errorf("%s: the statistics say %+v of %+v", m.Address(), stats, c)
	case r.complaint != "":
		t.Errorf("%s: %s", m.Address(), r.complaint)
	case m.small != (c.Dropped > 0) || m.small != (r.gaps.Load() > 0):
		t.Errorf("%s: %+v, %d flagged", m.Address(), c, r.gaps.Load())
	case r.bars.Load() != m.bars:
		t.Errorf("%s: %d of %d bars", m.Address(), r.bars.Load(), m.bars)
	case !m.small && r.trades.Load() != m.trades:
		t.Errorf("%s: %d of %d trades", m.Address(), r.trades.Load(), m.trades)
	}
	return [3]uint64{c.Put, c.Conflated, c.Dropped}
}
