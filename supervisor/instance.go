package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/mailbox"
)

// Deadlines are real times, in feed runs too: they guard the supervisor, not the strategy's idea of time (SB-1).
type Deadlines struct {
	Soft       time.Duration // an answer after it is late: its intents are discarded
	Hard       time.Duration // the runner is killed
	Init       time.Duration // from the start of the runner to the answer of on_init, restoring included
	Checkpoint time.Duration
	Stop       time.Duration // on_shutdown, and leaving
}

// InstanceConfig is everything that one instance needs; it does not change while the instance lives.
type InstanceConfig struct {
	Address         ipc.Address
	StrategyVersion string
	PackageHash     ipc.Digest
	Config          ipc.Values
	ConfigHash      ipc.Digest
	Instruments     []ipc.Instrument
	Risk            ipc.RiskContext
	Lane            ipc.Lane
	Mode            ipc.RunMode
	RunSeed         uint64
	RunID           ipc.RunID
	Owner           ipc.Nonce
	Version         string // of msup, for the log
	Params          *core.Params
	Deadlines       Deadlines
	StateVersion    uint32
	MigratesFrom    []uint32 // older state schema versions that the package's migrate accepts (ST-5)
	MaxAnswerBytes  uint64
	MaxStateBytes   uint64
	CheckpointSteps uint64        // 0 = never by count
	CheckpointEvery time.Duration // 0 = never by time
	KeepLog         bool          // prune nothing: the whole log can be replayed, and grows
	ReplayBatch     int           // deliveries a frame while replaying; 0 = 256. The results are the same at every size
	QueueEvents     int
	LockStep        bool            // deliver nothing while I has not judged what may leave
	Objective       guard.Objective // what the instance promises for every window (LN-6)
	Stall           time.Duration   // how long events may wait without one being finished; 0 = DefaultStall
	Patience        time.Duration   // with an I that is away or silent, before the instance goes on restricted, or stops; 0 = DefaultPatience

	StartRunner func(ctx context.Context) (sandbox.Runner, error)
	Ledger      Ledger
	Lease       Lease     // nil: nobody else can run this instance, as in research
	Sink        Sink      // nil: nothing leaves; intents stay approved
	Approver    Approver  // nil: policy approves
	Authority   Authority // nil: no J or E is connected
	Compute     Computer  // nil: no request to a compute part is carried out
	Clock       Clock
	Observer    Observer
	Logger      *slog.Logger
	EvidenceDir string // where a divergence leaves what it found; "" = nowhere
}

// urgent is what acts on the core without the runner; exactly one field besides Reply is set.
type urgent struct {
	input     core.Input
	arrival   *ipc.SourceEvent
	persisted *persisted
	computed  *core.Computed // the compute lane's word on a request
	advance   ipc.Nanos      // the feed has come to this time
	stop      ipc.ReasonCode // not empty: stop in order, for this reason
	then      func() error   // what the pump does with an answer that it did not wait for
	reply     chan<- error   // told when the input is durable
	change    chan<- *Change // told what the input did, before it is durable
}

// persisted is the persister's word on one batch.
type persisted struct {
	last    ipc.InputNo
	err     error
	release bool // intents or approvals wait for it
	tasks   []core.Task
	asked   time.Time // when the first of the tasks was asked for
	acks    []ipc.Cursor
	replies []chan<- error
}

// Instance runs one shard of a strategy: the pump that owns its core, its runner and its batch.
type Instance struct {
	cfg     InstanceConfig
	log     *slog.Logger
	box     *mailbox.Mailbox[urgent]
	state   *core.State
	session *Session
	runner  atomic.Pointer[sandbox.Runner]
	batch   batch
	watch   *time.Timer // kills the runner at the hard deadline
	late    atomic.Bool // the hard deadline passed
	health  core.Health

	restart      ipc.ReasonCode // not empty: the runner must be restored before the next delivery
	checkpoint   bool           // the strategy asked for one
	spared       ipc.Step       // last delivery that was repeated after its runner was lost
	bringUp      bringUp
	lastSave     time.Time
	lastHealth   time.Time
	lastSaveStep ipc.Step
	saving       chan error     // not nil while a checkpoint is being written
	barrier      int            // slots to be written before the next delivery
	barrierNext  time.Time      // not tried again before
	takenOver    bool           // the runner did not replay what another package had answered
	snapshotNext time.Time      // while positions are unknown, I is asked again then
	snapshotWait time.Duration  // until the next time after that
	prunes       sync.WaitGroup // checkpoints and prunings in the background
	pruning      atomic.Bool
	stopping     bool
	stopSince    time.Time
	sink         sink
	asking       atomic.Bool    // a single question to I is under way
	talks        sync.WaitGroup // conversations with I beside the pump
	inLedger     []ipc.Cursor   // of each source: how far it is in the ledger
	taken        []takenMarket  // in lock step: what is not known to be durable, oldest first
	again        []Market       // in lock step: deliveries of it were voided
	voided       bool           // a persist failed: the core must go back to the last durable input
	inputs       inputs
	counters     counters
	objective    objective
	progress     progress
	own          time.Duration // what the pump did for itself while the open delivery was at work
	results      results
	done         chan struct{}
	err          error
	working      atomic.Int64 // intents and orders that are not final, for the lock step
	nextDue      atomic.Int64 // when the next timer is due, 0 = none, for the lock step
	advanced     ipc.Nanos    // what the feed has come to, beside its events
	ahead        ahead        // I's reports of a time that the feed has not come to
}

// NewInstance prepares an instance; Run runs it.
func NewInstance(cfg InstanceConfig) *Instance {
	p := &Instance{
		cfg: cfg, box: mailbox.New[urgent](cfg.QueueEvents), done: make(chan struct{}),
		log: cfg.Logger.With("bot", cfg.Address.Bot, "strategy", cfg.Address.Strategy, "instance", cfg.Address.Instance),
	}
	p.watch = time.AfterFunc(time.Hour, p.overdue)
	p.watch.Stop()
	p.box.OnCeiling(queueCeiling)
	if a, ok := cfg.Observer.(Accountant); ok {
		a.Account(cfg.Address, p.box.Counts)
	}
	if f, ok := cfg.Observer.(Follower); ok {
		f.Follow(cfg.Address, p.Progress)
	}
	return p
}

// Address returns the instance's address.
func (p *Instance) Address() ipc.Address { return p.cfg.Address }

// Settle waits until everything published so far has been answered, made durable where it must be, and judged by I.
func (p *Instance) Settle(ctx context.Context) error { return p.box.WaitIdle(ctx) }

// Advance tells that the feed has come to a time, so that timers due by then fire.
func (p *Instance) Advance(to ipc.Nanos) { p.box.PutUrgent(mailbox.Internal, urgent{advance: to}) }

// Arrive gives an event of I, J or E to the instance. It never blocks and is never dropped (BP-2).
func (p *Instance) Arrive(e *ipc.SourceEvent) {
	class := mailbox.Execution
	switch e.Event.Kind() {
	case ipc.KindRisk, ipc.KindSafety:
		class = mailbox.Safety
	}
	p.box.PutUrgent(class, urgent{arrival: e})
}

// Report gives I's word on an intent to the instance.
func (p *Instance) Report(r *ipc.StatusReport) {
	p.box.PutUrgent(mailbox.Execution, urgent{input: &core.Status{Key: r.Key, Status: r.Status, Digest: r.Digest, Reason: r.Reason}})
}

// Approve gives the word of J or E on a staged intent to the instance.
func (p *Instance) Approve(a *ipc.Approval) {
	p.box.PutUrgent(mailbox.Execution, urgent{input: &core.Approval{Key: a.Key, Approved: a.Approved, Reason: a.Reason}})
}

// Command carries out an operator's command and returns when it is durable. The change is the command's own: what follows from it, like I's word
// on a cancel, may have come since.
func (p *Instance) Command(ctx context.Context, c core.Command) (*Change, error) {
	return p.durable(ctx, mailbox.Safety, &c)
}

// Guard applies a guard's transition; it acts at once.
func (p *Instance) Guard(g core.Guard) { p.box.PutUrgent(mailbox.Safety, urgent{input: &g}) }

func (p *Instance) durable(ctx context.Context, c mailbox.Class, in core.Input) (*Change, error) {
	reply, change := make(chan error, 1), make(chan *Change, 1)
	if !p.box.PutUrgent(c, urgent{input: in, reply: reply, change: change}) {
		return nil, mailbox.ErrClosed
	}
	select {
	case err := <-reply:
		if err != nil {
			return nil, err
		}
		return <-change, nil // what is durable was applied
	case <-p.done:
		return nil, mailbox.ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: waiting for the command to become durable: %w", p.cfg.Address, ctx.Err())
	}
}

// Stop asks for an orderly stop: on_shutdown, a checkpoint, everything durable. Done tells when it is over.
func (p *Instance) Stop() { p.stopFor(ipc.ReasonShutdownRequested) }

// stopFor is Stop with the reason that on_shutdown is told.
func (p *Instance) stopFor(reason ipc.ReasonCode) {
	p.box.PutUrgent(mailbox.Internal, urgent{stop: reason})
}

// Done is closed when Run has returned.
func (p *Instance) Done() <-chan struct{} { return p.done }

// Err tells why Run ended, after Done; nil after an orderly stop.
func (p *Instance) Err() error { return p.err }

// Recover reads the ledger, so that [Instance.Delivered] can be asked before Run. Run calls it by itself where nobody has.
func (p *Instance) Recover() error {
	if err := p.recoverCore(); err != nil {
		return fmt.Errorf("%s: recovering: %w", p.cfg.Address, err)
	}
	return nil
}

// resumes reports whether an earlier run delivered market events.
func (p *Instance) resumes() bool { return len(p.state.Market) > 0 }

// Delivered reports whether an earlier run delivered a market event. Ask it between Recover and Run only.
func (p *Instance) Delivered(place ipc.MarketPlace) bool { return p.state.Delivered(place) }

// State returns the core. Read it after Done only: the pump owns it before.
func (p *Instance) State() *core.State { return p.state }

// Run recovers the instance, runs it until Stop or ctx ends, and stops it in order. It owns the core: no other goroutine touches it.
func (p *Instance) Run(ctx context.Context) (err error) {
	defer func() {
		p.prunes.Wait() // the ledger may be closed when Run has returned
		p.talks.Wait()
		p.tellUnheard()
		p.err = err
		p.box.Close()
		close(p.done)
	}()
	p.lastSave, p.lastHealth = time.Now(), time.Now()
	defer p.killRunner()
	ctx, owned := p.watchLease(ctx)
	defer owned()
	ctx, silence := context.WithCancel(ctx) // conversations with I end with the instance
	defer silence()
	p.talks.Go(func() { p.watchRunner(ctx) })
	p.openCompute()
	defer p.closeCompute()
	if err := p.open(ctx); err != nil {
		return fmt.Errorf("%s: starting: %w", p.cfg.Address, err)
	}
	for {
		if err := p.turn(ctx); err != nil {
			if errors.Is(err, errStopped) {
				return p.close(ctx)
			}
			return fmt.Errorf("%s: %w", p.cfg.Address, err)
		}
	}
}

type trackedIntent = gate.Tracked

var unrestricted = gate.Unrestricted()

// forever is longer than anybody waits.
const forever = time.Duration(math.MaxInt64)

// errStopped ends the pump's loop in order.
var errStopped = errors.New("stopped")

// turn does the next thing: what is urgent, then repairs, then one delivery, then it waits.
func (p *Instance) turn(ctx context.Context) error {
	if err := p.leaseLost(); err != nil {
		return err
	}
	if u, ok := p.box.TakeUrgent(); ok {
		return p.takeUrgent(u)
	}
	switch {
	case p.voided:
		return p.unvoid(ctx)
	case p.greetingDue():
		p.greet(ctx)
		return nil
	}
	if acted, err := p.watchSink(ctx); acted || err != nil {
		return err
	}
	switch {
	case p.positionsUnknown() && !time.Now().Before(p.snapshotNext):
		p.requestSnapshot()
		return nil
	case p.tickDue():
		return p.tick()
	case p.windowDue():
		return p.closeWindow()
	case p.state.Halted != "":
		return p.idleHalted(ctx)
	case p.session == nil || p.restart != "":
		return p.restoreRunner(ctx)
	case p.barrier > 0:
		return p.passBarrier(ctx)
	case p.checkpointDue():
		return p.saveCheckpoint()
	case p.healthcheckDue():
		return p.checkHealth()
	}
	if p.holdsBack() && !(p.stopping && !p.awaitsI()) {
		return p.wait(ctx)
	}
	if p.computing() && p.state.Pending == nil && len(p.state.Queue) == 0 {
		if taken, err := p.takeResults(); taken || err != nil {
			return err
		}
		return p.wait(ctx)
	}
	d, ok, err := p.next()
	if err != nil {
		return err
	}
	if ok {
		return p.deliver(d)
	}
	if p.stopping && p.settled() && p.agrees() {
		return errStopped
	}
	return p.wait(ctx)
}

// idleHalted takes market events off the queue, counted, so that a halted instance holds nobody up.
func (p *Instance) idleHalted(ctx context.Context) error {
	p.killRunner()
	p.box.DropMarket()
	if p.stopping && p.agrees() {
		return errStopped
	}
	return p.wait(ctx)
}

// settled reports whether nothing is under way: no delivery, and every intent that may leave has had I's final word.
func (p *Instance) settled() bool {
	if p.state.Halted == "" && (p.state.Pending != nil || len(p.state.Queue) > 0) {
		return false
	}
	return !p.awaitsI() && !p.computing()
}

// undecided reports whether an intent that may leave has not had I's final word. In lock step nothing is delivered before it: what the
// strategy sees next must not depend on how fast I is.
func (p *Instance) undecided() bool {
	return p.cfg.Sink != nil && p.state.Book().Undecided()
}

// wait sleeps until something is put, the batch must go, or a timer is due.
func (p *Instance) wait(ctx context.Context) error {
	if p.settled() {
		p.working.Store(int64(p.state.Book().OpenCount()))
		p.nextDue.Store(int64(p.due()))
		p.box.Idle()
	}
	return p.waitAtMost(ctx, forever)
}

// waitAtMost sleeps until something is put, the batch must go, or the time is over.
func (p *Instance) waitAtMost(ctx context.Context, most time.Duration) error {
	var due <-chan time.Time
	sleep, ok := p.sleep()
	if sleep = min(sleep, most); ok || most < forever {
		t := time.NewTimer(sleep)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-p.box.Wake():
	case <-due:
		return p.flushIfDue()
	case <-ctx.Done():
		if err := p.leaseLost(); err != nil {
			return err
		}
		if p.stopping {
			return ctx.Err()
		}
		p.stopping, p.stopSince = true, time.Now()
		return errStopped
	}
	return nil
}

func (p *Instance) takeUrgent(u urgent) error {
	switch {
	case u.stop != "":
		return p.beginStop(u.stop)
	case u.then != nil:
		return u.then()
	case u.advance != 0:
		p.advanced = max(p.advanced, u.advance)
		return nil
	case u.persisted != nil:
		return p.onPersisted(u.persisted)
	case u.arrival != nil:
		return p.onArrival(u.arrival)
	case u.computed != nil:
		return p.onComputed(u.computed)
	}
	if v, ok := u.input.(*core.Violation); ok {
		p.counters.heard(v)
	}
	if u.reply == nil {
		return p.apply(p.stamp(u.input))
	}
	p.batch.replies = append(p.batch.replies, u.reply)
	before := p.inspection()
	err := p.apply(p.stamp(u.input))
	u.change <- &Change{Before: before, After: p.inspection()}
	return err
}
