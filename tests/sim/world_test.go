package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

const (
	btc   ipc.InstrumentID = "BTCUSDT.BINANCE"
	ms                     = ipc.Nanos(time.Millisecond)
	wall0                  = ipc.Nanos(1_700_000_000_000_000_000)
)

var (
	here    = ipc.Address{Bot: "alpha", Strategy: "random", Instance: "btc"}
	lineage = ipc.Lineage{3, 1, 4}
	owner   = ipc.Owner{Address: here, Lineage: lineage}
)

// batch is what one persist makes durable.
type batch struct {
	last     ipc.InputNo
	inputs   []byte
	statuses []core.StatusRow
	acks     []ipc.Cursor
	release  bool // intents or approvals wait for it
}

func (b *batch) empty() bool { return b.last == 0 }

// world is one instance and everything around it.
type world struct {
	t     testing.TB
	seed  uint64
	rng   *rand.Rand
	now   ipc.Nanos // core time
	skew  ipc.Nanos // wall time runs ahead by so much
	start []byte    // the parameters

	durable []batch
	flying  []batch // given to the persister
	open    batch
	epoch   ipc.Epoch
	run     ipc.RunID
	starts  int
	saved   []byte      // a checkpoint of the core
	memory  memory      // and of the strategy
	inform  bool        // a new runner gets the checkpoint and is told the rest
	savedAt ipc.InputNo // its input, durable

	s        *core.State
	strategy *strategy
	sink     *sink
	outgoing []*ipc.Offer
	incoming []any // *ipc.StatusReport, *ipc.SourceEvent
	sentUpTo uint64
	quiet    bool                // no more faults
	ordered  []ipc.SafetyCommand // what E has said; number n is at n-1
	history  []string
	counts   map[string]int
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), s: core.New(here, lineage), strategy: &strategy{seed: seed}, counts: map[string]int{}}
	w.sink = &sink{rng: rand.New(rand.NewPCG(seed, 2)), keys: map[ipc.Key]known{}, places: map[place]ipc.Key{}, applied: map[ipc.Key]int{},
		offers: map[ipc.Key]int{}, complain: w.fail}
	w.inform = seed%7 == 3
	p := core.Params{Inform: w.inform, Cooldown: 100 * ms, MaxTimers: 4, ExternalApproval: seed%5 == 4, Policy: &gate.Policy{
		Address: here, StrategyVersion: "1.0.0", Allowed: []string{"*"},
		Instruments: map[ipc.InstrumentID]ipc.Instrument{btc: {ID: btc, Tick: ipc.Decimal{M: 2, E: -1}, Lot: ipc.Decimal{M: 1}, MinQuantity: ipc.Decimal{M: 1}}},
		Intents:     map[ipc.IntentKind]bool{ipc.IntentOrder: true, ipc.IntentCancel: true, ipc.IntentAmend: true, ipc.IntentPosition: true},
		OrderTypes:  map[ipc.OrderType]bool{ipc.OrderMarket: true, ipc.OrderLimit: true},
		Ceilings:    gate.Ceilings{PerEvent: 3, PerSecond: 50, CancelsPerSecond: 20, PerRun: 10000, Open: 12, MaxDelay: 1000 * ms},
	}}
	if seed%2 == 0 { // every other world has ladders
		r := guard.Rule{Window: 1000 * ms, Warn: 1, Degrade: 3, Halt: 6}
		p.Timeouts, p.Faults, p.Kills, p.Rejects, p.Refusals = r, r, r, r, guard.Rule{Window: 100 * ms, Degrade: 4, Halt: 12}
	}
	breaks(&p, seed)
	var err error
	if w.start, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	w.boot()
	return w
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.history)-60)
	for _, line := range w.history[from:] {
		w.t.Log(line)
	}
	w.t.Log(w.sink)
	w.t.Fatalf("world %d: %s\nrun it again: go test ./tests/sim -run %s -seed %d -v", w.seed, fmt.Sprintf(format, args...), w.t.Name(), w.seed)
}

func (w *world) say(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%6d ms ", w.now/ms)+fmt.Sprintf(format, args...))
}

func (w *world) at() core.At     { return core.At{CoreTS: w.now} }
func (w *world) wall() ipc.Nanos { return wall0 + w.now + w.skew }

// apply gives an input to the core and does what it says, as the shell does.
func (w *world) apply(in core.Input) {
	w.t.Helper()
	before := w.s.Obligation
	defer func() { w.checkObligation(before, in) }()
	e, err := w.s.Step(in)
	if err != nil {
		w.fail("%v", err)
	}
	for _, n := range e.Notes {
		if n.Reason == ipc.ReasonMute {
			w.counts["mutes"]++
		}
	}
	b := &w.open
	b.last, b.inputs = e.InputNo, core.AppendInput(b.inputs, in)
	b.statuses = append(b.statuses, e.Statuses...)
	for _, r := range e.Statuses {
		b.release = b.release || r.Status == ipc.StatusStaged || r.Status == ipc.StatusApproved
	}
	if e.Ack != nil {
		b.acks = append(b.acks, *e.Ack)
	}
	for _, t := range e.Offers {
		w.checkOffer(t)
		w.outgoing = append(w.outgoing, &ipc.Offer{Address: here, Epoch: w.s.Epoch, Step: t.Step, Ordinal: t.Ordinal, Digest: t.Digest,
			ValidUntil: t.ValidWall, Intent: t.Intent})
		w.say("offer %s of step %d", t.Key, t.Step)
	}
	for _, t := range e.Staged {
		w.incoming = append(w.incoming, &ipc.Approval{Key: t.Key, Approved: w.rng.IntN(4) > 0})
	}
	if e.Snapshot {
		w.incoming = append(w.incoming, w.sink.snapshot())
	}
	if e.Halt != "" {
		w.say("halted: %s", e.Halt)
		w.counts["halts"]++
	}
}

// checkOffer is law 3, and the second look before the first offer.
func (w *world) checkOffer(t *gate.Tracked) {
	w.counts["offers"]++
	if t.InputNo > w.durableInput() {
		w.fail("key %s is offered on input %d, input %d is durable", t.Key, t.InputNo, w.durableInput())
	}
	if w.now > t.ValidCore || w.wall() > t.ValidWall {
		w.fail("key %s is offered after its valid_until", t.Key)
	}
	if t.Obligation != 0 {
		if w.counts["own offers"]++; w.s.Mode().Frozen {
			w.fail("M's own key %s is offered although E has frozen the instance", t.Key)
		}
	}
	if _, cancel := t.Intent.Body.(*ipc.CancelIntent); !cancel && t.Obligation == 0 && (w.s.Mode().NoTrade || w.s.Halted != "" || w.s.Book().Unknown() != "") {
		w.fail("key %s is offered under no_trade", t.Key)
	}
	if w.sink.offers[t.Key]++; w.sink.offers[t.Key] > 1 {
		w.sink.offers[t.Key]--
		w.fail("key %s is sent again although I was not asked", t.Key)
	}
}

// checkObligation looks at an obligation that has just come to its end.
func (w *world) checkObligation(before *gate.Obligation, in core.Input) {
	if before == nil || w.s.Obligation != nil {
		return
	}
	if c, ok := in.(*core.Command); ok && c.Op == core.OpAbandon {
		return
	}
	w.counts["obligations"]++
	for _, t := range w.s.Book().Open() {
		if t.Obligation != 0 || t.Cancellation() != gate.NothingToCancel {
			w.fail("obligation %d (%s) is done, key %s is %s", before.No, before.Kind, t.Key, t.Status)
		}
	}
	if before.Kind == gate.HedgeToFlat {
		if w.counts["hedges"]++; !w.s.Book().Position(btc).IsZero() || w.s.Book().Unknown() != "" {
			w.fail("obligation %d is done, the position is %s (%s)", before.No, w.s.Book().Position(btc), w.s.Book().Unknown())
		}
	}
}

// safety lets E say something, or again what has not been taken.
func (w *world) safety(c ipc.SafetyCommand) {
	cursor := ipc.Cursor{Source: "e", Epoch: 1}
	for _, at := range w.s.Cursors {
		if at.Source == "e" {
			cursor.Seq = at.Seq
		}
	}
	if cursor.Seq++; cursor.Seq > uint64(len(w.ordered)) {
		w.ordered = append(w.ordered, c)
	}
	w.say("E: %d", w.ordered[cursor.Seq-1])
	w.take(&ipc.SourceEvent{Cursor: cursor, TraceID: "t", Event: &ipc.SafetyEvent{Command: w.ordered[cursor.Seq-1]}})
}

func (w *world) durableInput() ipc.InputNo {
	if len(w.durable) == 0 {
		return 0
	}
	return w.durable[len(w.durable)-1].last
}

// submit gives what has happened to the persister.
func (w *world) submit() {
	if !w.open.empty() {
		w.flying = append(w.flying, w.open)
		w.open = batch{}
	}
}

// persist makes the oldest batch durable and lets go what waited for it.
func (w *world) persist() {
	if len(w.flying) == 0 {
		return
	}
	b := w.flying[0]
	w.flying = w.flying[1:]
	w.durable = append(w.durable, b)
	for _, c := range b.acks {
		if c.Source == "i" {
			w.sink.acked = max(w.sink.acked, c.Seq)
		}
	}
	if b.release {
		w.apply(&core.Release{At: w.at(), Upto: b.last, WallTS: w.wall()})
	}
}

// recover makes the core from the ledger, twice: from the checkpoint and from the beginning.
func (w *world) recover() {
	w.t.Helper()
	w.flying, w.open = nil, batch{}
	fromStart := core.New(here, lineage)
	fromCheckpoint := core.New(here, lineage)
	if w.saved != nil {
		var err error
		if fromCheckpoint, err = core.Restore(w.saved, here, lineage); err != nil {
			w.fail("%v", err)
		}
	}
	again := &strategy{seed: w.seed}
	var pending *core.Delivery
	for _, b := range w.durable {
		for rest := b.inputs; len(rest) > 0; {
			in, tail, err := core.ReadInput(rest)
			if err != nil {
				w.fail("%v", err)
			}
			rest = tail
			if _, err := fromStart.Step(in); err != nil {
				w.fail("replay: %v", err)
			}
			if fromStart.InputNo > w.savedAt {
				if _, err := fromCheckpoint.Step(in); err != nil {
					w.fail("replay from input %d: %v", w.savedAt, err)
				}
			}
			pending = w.replayStrategy(again, pending, in)
		}
	}
	a, b := w.marshal(fromStart), w.marshal(fromCheckpoint)
	if !bytes.Equal(a, b) {
		w.fail("from the beginning and from input %d the states differ:\n%s\n%s", w.savedAt, a, b)
	}
	w.s, w.strategy = fromStart, again
	if w.inform {
		w.strategy = w.atCheckpoint()
	}
	w.counts["recoveries"]++
}

// replayStrategy answers a recorded delivery again: law 4.
func (w *world) replayStrategy(s *strategy, pending *core.Delivery, in core.Input) *core.Delivery {
	if w.inform {
		return nil
	}
	switch in := in.(type) {
	case *core.Delivery:
		return in
	case *core.Answer:
		if in.Outcome == core.Killed {
			return nil
		}
		a, err := s.answer(pending.Step, pending.Event, pending.ProcessedTS, w.run)
		if err != nil {
			w.fail("%v", err)
		}
		if in.Outcome == core.Faulted {
			a.Fault = &ipc.Fault{Kind: "exception"}
		}
		if digest := w.digest(a); digest != in.Digest {
			w.fail("step %d is answered differently", in.Step)
		}
		return nil
	}
	return pending
}

// atCheckpoint is a runner that was brought up on the newest checkpoint.
func (w *world) atCheckpoint() *strategy {
	return &strategy{seed: w.seed, sent: slices.Clone(w.memory.Sent), named: w.memory.Named}
}

// informed tells a new runner what happened since its checkpoint.
func (w *world) informed() {
	if !w.inform || !w.s.Began() {
		return
	}
	event, err := w.s.RecoveredEvent(nil)
	if err != nil {
		w.fail("%v", err)
	}
	w.counts["informs"]++
	w.apply(&core.Inform{At: w.at(), Event: event})
}

func (w *world) digest(a *ipc.Answer) ipc.Digest {
	d, err := ipc.AnswerDigest(a)
	if err != nil {
		w.fail("%v", err)
	}
	return d
}

func (w *world) marshal(s *core.State) []byte {
	b, err := s.Marshal()
	if err != nil {
		w.fail("%v", err)
	}
	return b
}

// boot is a process start: the state of the ledger, a new epoch, then I is asked about everything that is open.
func (w *world) boot() {
	w.recover()
	w.starts++
	w.epoch++
	w.run = ipc.RunID(fmt.Sprintf("run-%d", w.starts))
	w.say("start, epoch %d, input %d", w.epoch, w.s.InputNo)
	w.takeOver()
}

// void is a failed persist: back to the last durable input, in the same epoch and the same connection.
func (w *world) void() {
	w.recover()
	w.say("a persist failed; back to input %d", w.s.InputNo)
	w.counts["voids"]++
	w.arriveOffers(len(w.outgoing)) // what was sent is on the wire before the questions
	w.takeOver()
}

func (w *world) takeOver() {
	w.apply(&core.Start{At: w.at(), Epoch: w.epoch, RunID: w.run, StrategyVersion: "1.0.0", WallTS: w.wall(), Params: w.start})
	w.submit()
	for len(w.flying) > 0 {
		w.persist()
	}
	w.sink.hello(w.epoch)
	w.sentUpTo = w.sink.acked
	w.incoming = nil // the old connection is gone
	if w.sink.lastStep > w.s.StepNo {
		w.fail("I has seen step %d, the ledger ends at %d", w.sink.lastStep, w.s.StepNo)
	}
	for _, t := range w.s.Book().Open() {
		if t.Status == ipc.StatusApproved || t.Status == ipc.StatusOffered {
			w.settle(t)
		}
	}
	w.informed()
}

func (w *world) settle(t *gate.Tracked) {
	report := w.sink.query(t.Key)
	if report.Status == ipc.StatusNotSeen {
		if w.s.Recheck(t, w.now, w.wall()) == ipc.StatusOffered {
			w.sink.offers[t.Key] = 0
			w.apply(&core.Status{At: w.at(), Key: t.Key, Status: ipc.StatusNotSeen})
			w.apply(&core.Release{At: w.at(), Upto: t.InputNo, WallTS: w.wall()})
			return
		}
		report = w.sink.tombstone(t.Key)
	}
	w.apply(&core.Status{At: w.at(), Key: t.Key, Status: report.Status, Digest: report.Digest, Reason: report.Reason})
}

// arriveOffers lets I have the first n offers that are on the wire.
func (w *world) arriveOffers(n int) {
	for _, o := range w.outgoing[:n] {
		if r := w.sink.offer(o, w.wall()); r != nil {
			w.incoming = append(w.incoming, r)
		}
	}
	w.outgoing = w.outgoing[n:]
}
