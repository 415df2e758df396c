package sim

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

var instances = flag.Int("instances", 200, "how many worlds with the real shell to simulate")

// The shell itself: pump, mailbox, recovery, replay and checkpoints of supervisor.Instance, with a ledger, an I and a runner that have their
// accidents, in virtual time.
//
// Proves: NN-3, NN-6, NN-7, GT-6, LS-3, SB-1, SB-6, ST-1, ST-2, ST-4
func TestInstances(t *testing.T) {
	counts := map[string]int{}
	first, last := seeds(t, *instances)
	began := time.Now()
	for seed := first; seed < last && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) { newShell(t, seed, counts).play() })
		if t.Failed() {
			t.Logf("run it again: go test ./tests/sim -run TestInstances -seed %d -v", seed)
		}
	}
	text := ""
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf(", %d %s", counts[what], what)
	}
	t.Logf("%d worlds in %.1f s%s", last-first, time.Since(began).Seconds(), text)
	for _, what := range []string{"offers", "deliveries", "crashes", "stops", "voids", "restarts", "checkpoints", "committed", "rejected", "expired", "late", "faulted", "killed", "informs", "approvals asked", "withdrawn", "pruned", "reports lost", "snapshots lost"} {
		if *oneOf < 0 && counts[what] == 0 {
			t.Errorf("%d worlds without %s try too little", last-first, what)
		}
	}
}

// shell is a world with the real shell in it.
type shell struct {
	t        *testing.T
	seed     uint64
	rng      *rand.Rand
	disk     *disk
	venue    *venue
	life     int
	build    build // of the next runner
	migrates []uint32
	params   *core.Params
	lockStep bool // time is the feed's
	nobody   bool // to ask for approvals
	counts   map[string]int
	log      *slog.Logger
}

// shellParams have short ladders; every third world's strategy is informed instead of replayed.
func shellParams(seed uint64) *core.Params {
	r := guard.Rule{Window: ipc.Nanos(time.Second), Warn: 1, Degrade: 4, Halt: 8}
	return &core.Params{Cooldown: 100 * ms, MaxTimers: 4, Timeouts: r, Faults: r, Kills: r, Inform: seed%3 == 2, ExternalApproval: seed%5 == 4, Policy: &gate.Policy{
		Address: here, StrategyVersion: "1.0.0", Allowed: []string{"*"},
		Instruments: map[ipc.InstrumentID]ipc.Instrument{btc: {ID: btc, Tick: ipc.Decimal{M: 2, E: -1}, Lot: ipc.Decimal{M: 1}, MinQuantity: ipc.Decimal{M: 1}}},
		Intents:     map[ipc.IntentKind]bool{ipc.IntentOrder: true, ipc.IntentCancel: true, ipc.IntentAmend: true, ipc.IntentPosition: true},
		OrderTypes:  map[ipc.OrderType]bool{ipc.OrderMarket: true, ipc.OrderLimit: true},
		Ceilings:    gate.Ceilings{PerEvent: 3, PerSecond: 50, CancelsPerSecond: 20, PerRun: 10000, Open: 30, MaxDelay: 1000 * ms},
	}}
}

func newShell(t *testing.T, seed uint64, counts map[string]int) *shell {
	w := &shell{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 11)), counts: counts, log: slog.New(slog.DiscardHandler), build: present, params: shellParams(seed)}
	if *oneOf >= 0 {
		w.log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	complain := func(format string, args ...any) { t.Errorf("world %d: %s", seed, fmt.Sprintf(format, args...)) }
	w.disk = &disk{statuses: map[ipc.Key]ipc.Status{}, complain: complain, counts: counts}
	w.venue = &venue{wall: now, sink: &sink{rng: rand.New(rand.NewPCG(seed, 12)), keys: map[ipc.Key]known{}, places: map[place]ipc.Key{},
		applied: map[ipc.Key]int{}, offers: map[ipc.Key]int{}, complain: complain}}
	return w
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

var _ io.Writer = testWriter{}

func now() ipc.Nanos { return ipc.Nanos(time.Now().UnixNano()) }

// virtualClock never goes back.
type virtualClock struct{ last ipc.Nanos }

func (c *virtualClock) Now(recv ipc.Nanos) (processed, coreTS ipc.Nanos) {
	c.last = max(c.last, recv, now())
	return c.last, c.last
}

// process is one life of the instance.
type process struct {
	*supervisor.Instance
	ledger *memoryLedger
	link   *link
	cancel context.CancelFunc
}

func (w *shell) start(faults bool) *process {
	w.life++
	source := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, uint64(w.life)*10+n)) }
	p := &process{ledger: newLedger(w.disk, source(1), faults), link: newLink(w.venue, w.disk, source(2))}
	accidents := source(3)
	cfg := supervisor.InstanceConfig{
		Address: here, StrategyVersion: "1.0.0", PackageHash: w.build.hash, RunSeed: w.seed, RunID: ipc.RunID(fmt.Sprintf("run-%d", w.life)),
		Lane: ipc.LaneLL, Mode: ipc.ModeLive, Owner: ipc.Nonce{byte(w.life)}, Version: "sim", Params: w.params, StateVersion: w.build.schema, MigratesFrom: w.migrates,
		Risk:          ipc.RiskContext{MaxDelayNS: 100 * ms},
		Deadlines:     supervisor.Deadlines{Soft: 10 * time.Millisecond, Hard: 200 * time.Millisecond, Init: 5 * time.Second, Checkpoint: time.Second, Stop: time.Second},
		MaxStateBytes: 1 << 20, CheckpointSteps: 20, QueueEvents: 8,
		StartRunner: func(context.Context) (sandbox.Runner, error) {
			return startRunner(w.build, rand.New(rand.NewPCG(accidents.Uint64(), 0)), w.seed, faults), nil
		},
		Ledger: p.ledger, Sink: p.link, Approver: p.link, Clock: &virtualClock{}, Observer: w, Logger: w.log, LockStep: w.lockStep,
	}
	if w.lockStep {
		clock := &supervisor.FeedClock{}
		clock.Now(now()) // on_init sees the time of the feed's beginning
		cfg.Clock = clock
	}
	if w.nobody {
		cfg.Approver = nil
	}
	p.Instance = supervisor.NewInstance(cfg)
	p.link.to, p.link.lossy = p.Instance, faults
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go p.Run(ctx) //nolint:errcheck // Err has it
	return p
}

// crash is a kill -9: nothing more becomes durable, and nothing more is said.
func (w *shell) crash(p *process) {
	p.ledger.kill()
	p.link.close()
	p.cancel()
	<-p.Done()
	w.count("crashes")
}

func (w *shell) stop(p *process) {
	p.Stop()
	<-p.Done()
	if err := p.Err(); err != nil {
		w.t.Errorf("world %d: an orderly stop: %v", w.seed, err)
	}
	p.ledger.kill()
	p.link.close()
	p.cancel()
	w.count("stops")
}

func (w *shell) play() {
	for range 2 + w.rng.IntN(4) {
		p := w.start(true)
		for range 10 + w.rng.IntN(60) {
			w.act(p)
		}
		if w.rng.IntN(3) == 0 && !gone(p) && w.healthy(p) {
			w.stop(p)
		} else {
			w.crash(p)
		}
	}
	p := w.start(false)
	w.command(p, core.Command{Op: core.OpResume, Who: "operator"})
	w.command(p, core.Command{Op: core.OpMode, Who: "operator", Restriction: gate.Unrestricted()})
	if err := p.link.RequestSnapshot(here); err != nil {
		w.t.Error(err)
	}
	for range 5 {
		w.publish(p)
	}
	w.settle(p)
	time.Sleep(time.Second)
	w.settle(p)
	if w.seed%4 == 1 { // without a runner
		w.command(p, haltNow)
		w.command(p, core.Command{Op: core.OpHedgeToFlat, Who: "operator", Restriction: gate.Unrestricted()})
	}
	time.Sleep(5 * time.Minute) // no event comes: what is overdue goes on by the clock
	w.settle(p)
	w.stop(p)
	if o := p.State().Obligation; o != nil {
		w.t.Errorf("world %d: obligation %d (%s) is not done after attempt %d", w.seed, o.No, o.Kind, o.Attempt)
	}
	if w.seed%4 == 1 && !w.venue.sink.position.IsZero() {
		w.t.Errorf("world %d: the position is %s after hedge_to_flat", w.seed, w.venue.sink.position)
	}
	w.compare(p.State())
	time.Sleep(time.Second) // what is on the wire comes to its end
	synctest.Wait()
}

// healthy reports whether an orderly stop can be asked for: the disk takes writes.
func (w *shell) healthy(p *process) bool {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.ledger.faults = false
	return !p.ledger.voided
}

func gone(p *process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

func (w *shell) act(p *process) {
	time.Sleep(time.Duration(w.rng.IntN(10)) * time.Millisecond)
	switch n := w.rng.IntN(20); {
	case n < 11:
		w.publish(p)
	case n < 14:
		w.settle(p)
	case n < 17:
		if err := p.link.send(func() []any { w.venue.sink.trade(); return nil }); err != nil {
			w.t.Error(err)
		}
	case n < 18:
		time.Sleep(time.Duration(w.rng.IntN(300)) * time.Millisecond)
	default:
		modes := []ipc.Restriction{gate.Unrestricted(), gate.ReduceOnly(), gate.NoTrade(), gate.Unrestricted()}
		c := core.Command{Op: core.OpMode, Who: "operator", Restriction: modes[w.rng.IntN(len(modes))]}
		switch w.rng.IntN(6) {
		case 0:
			c = core.Command{Op: core.OpHalt, Who: "operator", Restriction: gate.Unrestricted()}
		case 3:
			c.Op = []core.CommandOp{core.OpCancelAll, core.OpHedgeToFlat}[w.rng.IntN(2)]
		case 1, 2:
			c = core.Command{Op: core.OpResume, Who: "operator", Restriction: gate.Unrestricted()}
		}
		w.command(p, c)
	}
}

func (w *shell) command(p *process, c core.Command) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// A command that is not recorded is told so: whoever gave it gives it again.
	if _, err := p.Command(ctx, c); err != nil {
		w.count("commands refused")
	}
}

func (w *shell) publish(p *process) {
	event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: btc, Source: "h", RecvTS: now(), Seq: 1}})
	if err != nil {
		w.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Publish(ctx, supervisor.Market{Recv: now(), Trace: "t", Event: event}); err != nil && !gone(p) {
		w.t.Errorf("world %d: the instance took no event for 20 s: %v", w.seed, err)
	}
}

func (w *shell) settle(p *process) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := p.Settle(ctx); err != nil && !gone(p) {
		w.t.Errorf("world %d: the instance did not come to rest for 60 s: %v", w.seed, err)
	}
}

func (w *shell) compare(s *core.State) {
	i, b := w.venue.sink, s.Book()
	if b.Unknown() != "" || b.Position(btc) != i.position {
		w.t.Errorf("world %d: M's position is %s (%s), I's %s", w.seed, b.Position(btc), b.Unknown(), i.position)
	}
	left := map[ipc.Key]bool{}
	for _, o := range i.open {
		left[o.key] = true
	}
	for _, t := range b.Open() {
		if !left[t.Key] {
			w.t.Errorf("world %d: key %s of step %d is %s (working %v, unsettled %v), and not open at I", w.seed, t.Key, t.Step, t.Status, t.Working, t.Unsettled)
		}
		delete(left, t.Key)
	}
	for k := range left {
		w.t.Errorf("world %d: key %s is open at I and not in the book", w.seed, k)
	}
	for _, k := range slices.Sorted(maps.Keys(i.applied)) {
		if w.disk.statuses[k] != ipc.StatusCommitted {
			w.t.Errorf("world %d: I applied key %s, which is %s in the ledger", w.seed, k, w.disk.statuses[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(w.disk.statuses)) {
		if own := w.disk.statuses[k]; own == ipc.StatusCommitted && i.applied[k] != 1 {
			w.t.Errorf("world %d: key %s is committed in the ledger and was applied %d times", w.seed, k, i.applied[k])
		}
	}
}

func (w *shell) count(what string) {
	w.disk.mu.Lock()
	w.counts[what]++
	w.disk.mu.Unlock()
}

func (w *shell) counted(what string) int {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	return w.counts[what]
}

// The shell's observer counts.
func (w *shell) Delivered(ipc.Address, ipc.EventKind)                { w.count("deliveries") }
func (w *shell) Answered(_ ipc.Address, o core.Outcome, _ ipc.Nanos) { w.count(o.String()) }
func (w *shell) Arrived(ipc.Address, ipc.Event)                      { w.count("arrivals") }
func (w *shell) Judged(_ ipc.Address, r *core.IntentRow) {
	w.count("verdict " + r.Verdict.Outcome.String())
}
func (w *shell) Offered(ipc.Address, *gate.Tracked) { w.count("offers") }
func (w *shell) Noted(_ ipc.Address, n core.Note) {
	if n.Reason == ipc.ReasonRecovering {
		w.count("informs")
	}
}
func (w *shell) Telemetry(ipc.Address, ipc.Telemetry)  {}
func (w *shell) Restarted(ipc.Address, ipc.ReasonCode) { w.count("restarts") }
func (w *shell) Health(_ ipc.Address, h core.Health, _ ipc.ReasonCode) {
	w.count("health " + string(h))
}
