package supervisor

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// scripted is a runner in a goroutine: what it answers, and what its sandbox counts of it, is the test's.
type scripted struct {
	inside, outside net.Conn
	reply           func(*ipc.Deliver) *ipc.Answer // nil answer: none ever comes
	once            sync.Once
	done            chan struct{}

	mu      sync.Mutex
	usage   func() sandbox.Usage
	logs    func() sandbox.LogStats
	lowered []bool
}

func (r *scripted) Conn(context.Context) (net.Conn, error) { return r.outside, nil }
func (r *scripted) PID() int                               { return 1 }
func (r *scripted) Done() <-chan struct{}                  { return r.done }
func (r *scripted) Exit() sandbox.Exit {
	u, _ := r.Usage()
	return sandbox.Exit{Cause: sandbox.CauseKilled, Reason: sandbox.ReasonKilled, Usage: u}
}

func (r *scripted) Usage() (sandbox.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.usage == nil {
		return sandbox.UnknownUsage(), nil
	}
	return r.usage(), nil
}

func (r *scripted) Logs() sandbox.LogStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logs == nil {
		return sandbox.LogStats{}
	}
	return r.logs()
}

func (r *scripted) SetLowered(lowered bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lowered = append(r.lowered, lowered)
	return nil
}

func (r *scripted) priorities() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lowered)
}

func (r *scripted) Kill() error {
	r.once.Do(func() {
		_ = r.inside.Close()
		_ = r.outside.Close()
		close(r.done)
	})
	return nil
}

func (r *scripted) serve() {
	defer r.Kill() //nolint:errcheck // it returns nil
	c := ipc.NewConn(r.inside, ipc.FromAnyone)
	err := c.Send(&ipc.Hello{ABI: ipc.ABIVersion, SDK: "test", SDKVersion: "1", EventContract: ipc.EventContractVersion,
		IntentContract: ipc.IntentContractVersion, PackageHash: ipc.Digest{}.String(), Hooks: []string{"on_healthcheck"}, StateSchemaVersion: 1})
	for err == nil {
		var m ipc.Message
		if m, err = c.Receive(); err != nil {
			return
		}
		switch m := m.(type) {
		case *ipc.Init:
			err = c.Send(&ipc.Answer{Seq: m.Seq, Step: m.Step})
		case *ipc.Deliver:
			if a := r.reply(m); a != nil {
				a.Seq, a.Step = m.Seq, m.Step
				err = c.Send(a)
			}
		case *ipc.Batch:
			got := &ipc.BatchAnswer{}
			for ; int(got.Consumed) < len(m.Events) && (got.Consumed == 0 || got.Answer.Empty()); got.Consumed++ {
				e, step := m.Events[got.Consumed], m.FirstStep+ipc.Step(got.Consumed)
				got.Answer = *r.reply(&ipc.Deliver{Step: step, ProcessedTS: e.ProcessedTS, TraceID: e.TraceID, Event: e.Event})
				got.Answer.Seq, got.Answer.Step = m.Seq, step
			}
			err = c.Send(got)
		case *ipc.CheckpointRequest:
			err = c.Send(&ipc.Chunk{Seq: m.Seq, StateVersion: 1})
		case *ipc.Healthcheck:
			err = c.Send(&ipc.HealthReport{Seq: m.Seq})
		case *ipc.Stop:
			return
		}
	}
}

// runningLedger is a keptLedger for an instance that runs.
type runningLedger struct {
	*keptLedger
	epoch ipc.Epoch
}

func (l *runningLedger) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	l.epoch = max(l.epoch, above) + 1
	return l.epoch, nil
}
func (l *runningLedger) SaveCheckpoint(Checkpoint) error { return nil }
func (l *runningLedger) Prune() (int, error)             { return 0, nil }

// played is an instance that runs on a scripted runner.
type played struct {
	*Instance
	t      *testing.T
	ledger *keptLedger
	stats  *Stats
	runner *scripted // the first
	seq    uint64
}

func play(t *testing.T, reply func(*ipc.Deliver) *ipc.Answer, change func(*InstanceConfig, *scripted)) *played {
	t.Helper()
	newRunner := func() *scripted {
		r := &scripted{reply: reply, done: make(chan struct{})}
		r.outside, r.inside = net.Pipe()
		return r
	}
	w := &played{t: t, ledger: &keptLedger{}, stats: NewStats(), runner: newRunner()}
	cfg := InstanceConfig{Address: desk, StrategyVersion: "1.0.0", RunID: "run", Lane: ipc.LaneLL, Mode: ipc.ModeLive, Ledger: &runningLedger{keptLedger: w.ledger},
		Clock: &WallClock{}, QueueEvents: 64, Observer: w.stats, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), StateVersion: 1, MaxStateBytes: 1 << 20,
		Deadlines: Deadlines{Soft: time.Minute, Hard: time.Minute, Init: time.Minute, Checkpoint: time.Minute, Stop: time.Second},
		Params:    &core.Params{Cooldown: ipc.Nanos(time.Hour), Policy: &gate.Policy{Address: desk, StrategyVersion: "1.0.0"}}}
	change(&cfg, w.runner)
	next := w.runner
	cfg.StartRunner = func(context.Context) (sandbox.Runner, error) {
		r := next
		next = newRunner()
		go r.serve()
		return r, nil
	}
	w.Instance = NewInstance(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go w.Run(ctx) //nolint:errcheck // Err has it
	t.Cleanup(func() {
		cancel()
		<-w.Done()
	})
	return w
}

// quote offers one more market event.
func (w *played) quote() {
	w.t.Helper()
	w.seq++
	at := ipc.Nanos(time.Now().UnixNano())
	event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: bitcoin, Source: "h", RecvTS: at, Seq: w.seq}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Offer(Market{Recv: at, Event: event})
}

// until waits for what must come, however busy the machine is.
func (w *played) until(what string, holds func(*Tally) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var ok bool
		var tally Tally
		w.stats.Read(desk, func(t *Tally) { ok, tally = holds(t), *t })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("it never came: %s; %s %s, reasons %v", what, tally.Health, tally.Reason, tally.Reasons)
		}
	}
}

// finish stops the instance in order and proves that its log alone gives its state (NN-7).
func (w *played) finish() {
	w.t.Helper()
	w.Stop()
	<-w.Done()
	if err := w.Err(); err != nil {
		w.t.Fatal(err)
	}
	again := core.New(desk, w.ledger.Lineage())
	for _, b := range w.ledger.batches {
		for rest := b.Inputs; len(rest) > 0; {
			in, tail, err := core.ReadInput(rest)
			if err != nil {
				w.t.Fatal(err)
			}
			if _, err := again.Step(in); err != nil {
				w.t.Fatal(err)
			}
			rest = tail
		}
	}
	live, err := w.State().Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	replayed, err := again.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(live, replayed) {
		w.t.Errorf("the log gives another state:\nlive   %s\nreplay %s", live, replayed)
	}
}

func empty(*ipc.Deliver) *ipc.Answer { return &ipc.Answer{} }
