package load

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// habits say how a strategy keeps up.
type habits struct {
	pause time.Duration // over every event
	hang  time.Duration // over every hundredth
}

// runner is a strategy behind the session's protocol, in a goroutine: what is tested is the supervisor under load, not Python.
type runner struct {
	habits
	owner           ipc.Owner
	outside, inside net.Conn
	once            sync.Once
	done            chan struct{}
	run             ipc.RunID
	orders          uint64

	market            atomic.Uint64 // deliveries
	bars, trades      atomic.Uint64
	gaps              atomic.Uint64
	mu                sync.Mutex
	executions, risks digest
	complaint         string
	last              map[ipc.InstrumentID]*[8]ipc.Nanos
}

func startRunner(h habits, owner ipc.Owner) *runner {
	r := &runner{habits: h, owner: owner, done: make(chan struct{}), last: map[ipc.InstrumentID]*[8]ipc.Nanos{}}
	r.outside, r.inside = net.Pipe()
	go func() {
		defer r.Kill() //nolint:errcheck // it returns nil
		r.serve()
	}()
	return r
}

func (r *runner) Conn(context.Context) (net.Conn, error) { return r.outside, nil }
func (r *runner) PID() int                               { return 1 }
func (r *runner) Done() <-chan struct{}                  { return r.done }
func (r *runner) Exit() sandbox.Exit                     { return sandbox.Exit{Cause: sandbox.CauseExited} }
func (r *runner) Usage() (sandbox.Usage, error)          { return sandbox.UnknownUsage(), nil }
func (r *runner) Logs() sandbox.LogStats                 { return sandbox.LogStats{} }

func (r *runner) Kill() error {
	r.once.Do(func() {
		_ = r.inside.Close() // pipes
		_ = r.outside.Close()
		close(r.done)
	})
	return nil
}

var packageHash = ipc.Digest{7}

func (r *runner) serve() {
	c := ipc.NewConn(r.inside, ipc.FromAnyone)
	if c.Send(&ipc.Hello{ABI: ipc.ABIVersion, SDK: "load", SDKVersion: "1", EventContract: ipc.EventContractVersion,
		IntentContract: ipc.IntentContractVersion, PackageHash: packageHash.String(), StateSchemaVersion: 1}) != nil {
		return
	}
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *ipc.Init:
			r.run = m.RunID
			err = c.Send(&ipc.Answer{Seq: m.Seq, Step: m.Step})
		case *ipc.Deliver:
			a := &ipc.Answer{Seq: m.Seq, Step: m.Step}
			r.think(a, m)
			err = c.Send(a)
		case *ipc.CheckpointRequest:
			err = c.Send(&ipc.Chunk{Seq: m.Seq, StateVersion: 1})
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func (r *runner) think(a *ipc.Answer, m *ipc.Deliver) {
	switch e := m.Event.(type) {
	case *ipc.Execution:
		r.mu.Lock()
		r.executions.add(string(e.Key), string(rune('0'+e.Report)))
		r.mu.Unlock()
		return
	case *ipc.RiskEvent:
		r.mu.Lock()
		r.risks.add(e.RestrictID)
		r.mu.Unlock()
		return
	case ipc.MarketEvent:
		n := r.market.Add(1)
		r.watch(e)
		if _, quote := e.(*ipc.Quote); quote && n%20 == 0 {
			r.order(a, e.Header().Instrument)
		}
		time.Sleep(r.pause)
		if n%100 == 0 {
			time.Sleep(r.hang)
		}
	}
}

// watch looks at what must hold of market events one by one.
func (r *runner) watch(e ipc.MarketEvent) {
	h := e.Header()
	last := r.last[h.Instrument]
	if last == nil {
		last = new([8]ipc.Nanos)
		r.last[h.Instrument] = last
	}
	switch e := e.(type) {
	case *ipc.Bar:
		r.bars.Add(1)
	case *ipc.Trade:
		r.trades.Add(1)
	case *ipc.TradeAggregate:
		r.trades.Add(e.Count)
	}
	if h.Quality&ipc.QualityGap != 0 {
		r.gaps.Add(1)
	}
	if kind := e.Kind(); h.RecvTS < last[kind%8] {
		r.mu.Lock()
		r.complaint = kind.String() + " goes back in time"
		r.mu.Unlock()
	} else {
		last[kind%8] = h.RecvTS
	}
}

func (r *runner) order(a *ipc.Answer, instrument ipc.InstrumentID) {
	r.orders++
	price := ipc.MustDecimal("100")
	a.Intents = append(a.Intents, &ipc.Intent{
		Body: &ipc.OrderIntent{Instrument: instrument, Side: ipc.Side(1 + r.orders%2), Type: ipc.OrderLimit, LimitPrice: &price, Quantity: ipc.MustDecimal("1"),
			TimeInForce: ipc.TIFGoodTillCancel},
		Meta: ipc.IntentMeta{Bot: r.owner.Address.Bot, Strategy: r.owner.Address.Strategy, StrategyVersion: "1.0.0", Instance: r.owner.Address.Instance, RunID: r.run,
			TraceID: "t", Key: r.owner.IntentKey(a.Step, 0, ""), RiskContext: &ipc.RiskContext{MaxDelayNS: 10e9}}})
}
