package sim

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// defaultWorlds is how many worlds of the core a change is tried on.
const defaultWorlds = 2000

var (
	worlds = flag.Int("worlds", defaultWorlds, "how many worlds to simulate")
	from   = flag.Uint64("from", 0, "the first world: where a soak goes on")
	oneOf  = flag.Int64("seed", -1, "simulate this world only")
)

// seeds are the worlds to simulate: so many, or the one that was asked for.
func seeds(t *testing.T, count int) (first, last uint64) {
	if *oneOf >= 0 {
		return uint64(*oneOf), uint64(*oneOf) + 1
	}
	first, last = *from, *from+uint64(count)
	t.Logf("seeds %d to %d; to go on: SEED=%d", first, last-1, last)
	return first, last
}

// Proves: NN-6, NN-7, GT-5, GT-6, GT-7, SB-6, SB-7, LN-7, CB-2, CB-3, ST-1, ST-4
func TestWorlds(t *testing.T) {
	began, total := time.Now(), map[string]int{}
	first, last := seeds(t, *worlds)
	for seed := first; seed < last; seed++ {
		w := newWorld(t, seed)
		for range 150 + w.rng.IntN(150) {
			w.act()
		}
		w.rest()
		for what, n := range w.counts {
			total[what] += n
		}
	}
	text := ""
	for _, what := range slices.Sorted(maps.Keys(total)) {
		text += fmt.Sprintf(", %d %s", total[what], what)
		if total[what] == 0 {
			t.Errorf("no %s in %d worlds", what, last-first)
		}
	}
	t.Logf("%d worlds in %.1f s%s", last-first, time.Since(began).Seconds(), text)
	for _, what := range []string{"offers", "deliveries", "recoveries", "voids", "crashes", "gaps", "halts", "committed", "rejected", "expired", "withdrawn", "informs", "obligations", "hedges", "own offers", "violations", "promises kept", "mutes"} {
		if *oneOf < 0 && total[what] == 0 {
			t.Errorf("%d worlds without %s try too little", last-first, what)
		}
	}
}

// act does one thing: time passes, and somebody does something.
func (w *world) act() {
	w.now += ipc.Nanos(w.rng.IntN(20)) * ms
	switch n := w.rng.IntN(100); {
	case n < 40:
		w.turn()
	case n < 52:
		w.submit()
		w.persist()
	case n < 60:
		w.arriveOffers(w.rng.IntN(len(w.outgoing) + 1))
	case n < 75:
		w.receive()
	case n < 82:
		w.sink.trade()
	case n < 86:
		w.submit()
	case n < 88:
		w.command()
	case n < 90:
		w.checkpoint()
	case n < 92:
		w.apply(&core.Tick{At: w.at(), WallTS: w.wall()})
	case n < 94:
		w.jump()
	case n < 96:
		w.crash()
	case n < 97:
		w.void()
	case n < 98:
		w.violate()
	default:
		w.persist()
	}
}

// turn is the pump's: deliver, or answer what was delivered.
func (w *world) turn() {
	s := w.s
	if s.Pending != nil {
		w.answer()
		return
	}
	if s.Halted != "" {
		return
	}
	d := &core.Delivery{At: w.at(), Step: s.StepNo + 1, ProcessedTS: max(s.ProcessedTS, w.wall()), TraceID: "t"}
	timer, due := s.NextTimer()
	switch {
	case s.StepNo == 0:
	case len(s.Queue) > 0:
		d.Queued, d.Event, d.TraceID = true, s.Queue[0].Event, s.Queue[0].TraceID
	case due && timer.DueTS <= d.ProcessedTS:
		event, err := core.TimerEvent(timer)
		if err != nil {
			w.fail("%v", err)
		}
		d.Event = event
	default:
		q := &ipc.Quote{Market: ipc.Market{Instrument: btc, Source: "h", RecvTS: w.wall(), Seq: uint64(d.Step)}}
		event, err := ipc.AppendEvent(nil, q)
		if err != nil {
			w.fail("%v", err)
		}
		d.Event = event
	}
	w.counts["deliveries"]++
	w.apply(d)
}

func (w *world) answer() {
	p := w.s.Pending
	in := &core.Answer{At: w.at(), Step: p.Step, Outcome: core.Applied}
	fate := w.rng.IntN(100)
	if w.quiet || p.Kind == core.EventInit {
		fate = 99
	}
	if fate < 2 { // the runner dies: what it remembers is made anew from the log
		in.Outcome, in.Reason = core.Killed, ipc.ReasonRunnerOOM
		w.apply(in)
		w.rebuildStrategy()
		return
	}
	a, err := w.strategy.answer(p.Step, p.Event, p.ProcessedTS, w.run)
	if err != nil {
		w.fail("%v", err)
	}
	switch {
	case fate < 4:
		in.Outcome, in.Reason = core.Faulted, ipc.ReasonStrategyFault
		a.Fault = &ipc.Fault{Kind: "exception"}
	case fate < 7:
		in.Outcome, in.Reason = core.Late, ipc.ReasonDeadlineSoft
	}
	in.Digest = w.digest(a)
	if !a.Empty() {
		if in.Body, err = ipc.AppendMessage(nil, a); err != nil {
			w.fail("%v", err)
		}
	}
	w.apply(in)
}

// rebuildStrategy replays every recorded delivery, durable or not, into a new runner.
func (w *world) rebuildStrategy() {
	if w.inform {
		w.strategy = w.atCheckpoint()
		w.informed()
		return
	}
	again := &strategy{seed: w.seed}
	var pending *core.Delivery
	for _, b := range append(append(slices.Clone(w.durable), w.flying...), w.open) {
		for rest := b.inputs; len(rest) > 0; {
			in, tail, err := core.ReadInput(rest)
			if err != nil {
				w.fail("%v", err)
			}
			pending, rest = w.replayStrategy(again, pending, in), tail
		}
	}
	w.strategy = again
}

// receive takes something from I: a status, or the next report; late, twice, out of order, or one too far.
func (w *world) receive() {
	if len(w.incoming) > 0 && w.rng.IntN(2) == 0 {
		i := w.rng.IntN(len(w.incoming))
		// Words on intents overtake each other, but no snapshot: it says what they have come to.
		if s := slices.IndexFunc(w.incoming, func(m any) bool { _, ok := m.(*ipc.SourceEvent); return ok }); s >= 0 && s < i {
			i = s
		}
		got := w.incoming[i]
		switch n := w.rng.IntN(10); {
		case n == 0 && !w.quiet: // it comes once more
		case n == 1 && !w.quiet:
			if r, ok := got.(*ipc.StatusReport); ok { // lost; the next start asks
				w.say("the status of %s is lost", r.Key)
			}
			fallthrough
		default:
			w.incoming = slices.Delete(w.incoming, i, i+1)
			if n == 1 && !w.quiet {
				return
			}
		}
		w.take(got)
		return
	}
	reports := w.sink.reports
	if w.sentUpTo >= uint64(len(reports)) {
		return
	}
	switch n := w.rng.IntN(30); {
	case n == 0 && !w.quiet:
		w.sentUpTo++ // lost on the way
		w.counts["gaps"]++
	case n == 1 && w.sentUpTo > 0:
		w.take(reports[w.sentUpTo-1]) // once more
	default:
		w.sentUpTo++
		w.take(reports[w.sentUpTo-1])
	}
}

func (w *world) take(got any) {
	switch m := got.(type) {
	case *ipc.StatusReport:
		w.apply(&core.Status{At: w.at(), Key: m.Key, Status: m.Status, Digest: m.Digest, Reason: m.Reason})
	case *ipc.Approval:
		w.apply(&core.Approval{At: w.at(), Key: m.Key, Approved: m.Approved})
	case *ipc.SourceEvent:
		if w.s.Admits(m.Cursor, m.Event.Kind()) != core.Admit {
			return
		}
		event, err := ipc.AppendEvent(nil, m.Event)
		if err != nil {
			w.fail("%v", err)
		}
		w.apply(&core.Arrival{At: w.at(), Cursor: m.Cursor, TraceID: m.TraceID, Event: event})
	}
}

func (w *world) command() {
	restrictions := []ipc.Restriction{gate.Unrestricted(), gate.NoTrade(), gate.ReduceOnly(), {SizeFactor: ipc.Decimal{M: 5, E: -1}}}
	c := &core.Command{At: w.at(), Op: core.OpMode, Who: "operator", Restriction: restrictions[w.rng.IntN(len(restrictions))]}
	switch n := w.rng.IntN(10); {
	case w.s.Halted != "" && n < 7:
		c.Op = core.OpResume
	case n == 0:
		c.Op, c.Reason = core.OpHalt, ipc.ReasonOperatorHalt
	case n == 1:
		w.safety([]ipc.SafetyCommand{ipc.SafetyFreeze, ipc.SafetyUnfreeze, ipc.SafetyUnfreeze, ipc.SafetyCancelAll, ipc.SafetyHedgeToFlat}[w.rng.IntN(5)])
		return
	case n == 2:
		c.Op = []core.CommandOp{core.OpCancelAll, core.OpHedgeToFlat, core.OpAbandon}[w.rng.IntN(3)]
	}
	w.apply(c)
}

// checkpoint saves the core at an input that is durable.
func (w *world) checkpoint() {
	w.submit()
	for len(w.flying) > 0 {
		w.persist()
	}
	if w.open.empty() {
		w.saved, w.savedAt, w.memory = w.marshal(w.s), w.s.InputNo, w.strategy.memory()
		return
	}
	// The releases were inputs; the next persist ends exactly here.
	w.flying = append(w.flying, w.open)
	w.saved, w.savedAt, w.memory = w.marshal(w.s), w.open.last, w.strategy.memory()
	w.open = batch{}
	w.durable, w.flying = append(w.durable, w.flying...), nil
}

func (w *world) jump() {
	switch w.rng.IntN(3) {
	case 0:
		w.now += ipc.Nanos(w.rng.IntN(2000)) * ms
	case 1:
		w.skew += ipc.Nanos(w.rng.IntN(2000)) * ms
	case 2:
		w.skew -= ipc.Nanos(w.rng.IntN(2000)) * ms
	}
}

// crash loses everything that is not durable; some of what was on the wire still arrives, before or after the next hello.
func (w *world) crash() {
	w.counts["crashes"]++
	w.arriveOffers(w.rng.IntN(len(w.outgoing) + 1))
	w.boot()
	if w.rng.IntN(10) == 0 {
		w.boot() // and once more, at once
	}
}

// rest ends the faults, lets everything arrive, and compares M with I.
func (w *world) rest() {
	w.quiet = true
	w.arriveOffers(len(w.outgoing))
	w.boot()
	if w.s.Halted != "" {
		w.apply(&core.Command{At: w.at(), Op: core.OpResume, Who: "operator"})
	}
	w.incoming = append(w.incoming, w.sink.snapshot())
	for w.s.Mode().Frozen || w.unheard() {
		w.safety(ipc.SafetyUnfreeze)
	}
	if w.seed%3 == 0 {
		w.apply(&core.Command{At: w.at(), Op: core.OpHedgeToFlat, Who: "operator"})
	}
	for range 10000 {
		w.submit()
		w.persist()
		w.arriveOffers(len(w.outgoing))
		if len(w.incoming) == 0 && w.sentUpTo >= uint64(len(w.sink.reports)) && w.open.empty() && len(w.flying) == 0 {
			if w.s.Obligation == nil {
				break
			}
			if w.s.Book().Unknown() != "" {
				w.incoming = append(w.incoming, w.sink.snapshot())
			}
			w.now += 1000 * ms
			w.apply(&core.Tick{At: w.at(), WallTS: w.wall()})
			continue
		}
		w.receive()
		if w.s.Obligation == nil && !w.s.Book().Undecided() && len(w.flying) == 0 && len(w.incoming) == 0 && w.sentUpTo >= uint64(len(w.sink.reports)) {
			break
		}
	}
	if o := w.s.Obligation; o != nil {
		w.fail("obligation %d (%s) is not done after attempt %d", o.No, o.Kind, o.Attempt)
	}
	w.compare(false)
	w.take(w.sink.snapshot())
	w.compare(true)
	w.checkStatuses()
}

// unheard reports whether E has said something that was not taken.
func (w *world) unheard() bool {
	for _, at := range w.s.Cursors {
		if at.Source == "e" {
			return at.Seq < uint64(len(w.ordered))
		}
	}
	return len(w.ordered) > 0
}

// compare wants what M believes to be what is so at I; before a snapshot M may believe that more is open.
func (w *world) compare(exact bool) {
	b, i := w.s.Book(), w.sink
	if b.Unknown() != "" || b.Position(btc) != i.position {
		w.fail("M's position is %s (%s), I's %s", b.Position(btc), b.Unknown(), i.position)
	}
	left := map[ipc.Key]*resting{}
	for _, o := range i.open {
		left[o.key] = o
	}
	for _, t := range b.Open() {
		o := left[t.Key]
		delete(left, t.Key)
		switch {
		case t.Status == ipc.StatusStaged:
		case o == nil:
			w.fail("key %s is %s (working %v, unsettled %v) and not open at I (%s there)", t.Key, t.Status, t.Working, t.Unsettled, i.keys[t.Key].status)
		case !exact && t.Remaining.Cmp(o.remaining) > 0: // what I has not said is assumed at its worst
		case t.Remaining.Cmp(o.remaining) != 0:
			w.fail("of key %s %s remain, %s at I", t.Key, t.Remaining, o.remaining)
		}
	}
	for k := range left {
		w.fail("key %s is open at I and not in the book", k)
	}
}

// checkStatuses looks at every durable row: it follows the table, and its end is I's.
func (w *world) checkStatuses() {
	w.submit()
	for len(w.flying) > 0 {
		w.persist()
		w.submit()
	}
	status := map[ipc.Key]ipc.Status{}
	for _, b := range w.durable {
		for _, r := range b.statuses {
			if !status[r.Key].CanBecome(r.Status) {
				w.fail("key %s becomes %s after %s", r.Key, r.Status, status[r.Key])
			}
			status[r.Key] = r.Status
			w.counts[r.Status.String()]++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(status)) {
		at, seen := w.sink.keys[k]
		switch own := status[k]; {
		case own == ipc.StatusCommitted, own == ipc.StatusRejected:
			if at.status != own {
				w.fail("key %s is %s in the ledger and %s at I", k, own, at.status)
			}
		case (own == ipc.StatusExpired || own == ipc.StatusWithdrawn) && seen && at.status == ipc.StatusCommitted:
			w.fail("key %s is %s in the ledger and was applied by I", k, own)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(w.sink.applied)) {
		if status[k] != ipc.StatusCommitted {
			w.fail("I applied key %s, which is %s in the ledger", k, status[k])
		}
	}
}
