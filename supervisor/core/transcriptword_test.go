package core

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// run carries out one command of a transcript. "after=10ms" in any command lets time pass before it.
func (w *world) run(d *datadriven.TestData) string {
	if pass := value(d, "after"); pass != "" {
		length, err := time.ParseDuration(pass)
		if err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		w.now += ipc.Nanos(length)
	}
	switch d.Cmd {
	case "params":
		w.params.ExternalApproval, w.params.Inform = d.HasArg("external"), d.HasArg("inform")
		w.breaker(d)
		return ""
	case "start":
		return w.step(w.startInput(w.s.Epoch+1, ipc.RunID(fmt.Sprintf("run-%d", w.s.Epoch+1))))
	case "void": // the shell went back to the last durable input and goes on
		return w.step(w.startInput(w.s.Epoch, w.run_))
	case "restore": // a checkpoint was taken and a new process reads it
		before := marshal(w.t, w.s)
		s, err := Restore(before, here, lineage)
		if err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		if after := marshal(w.t, s); string(after) != string(before) {
			d.Fatalf(w.t, "the restored state differs:\n%s\n%s", before, after)
		}
		w.s = s
		return ""
	case "deliver":
		return w.step(w.delivery(d))
	case "answer":
		return w.step(w.answer(d))
	case "arrive":
		return w.arrive(d)
	case "status":
		in := &Status{At: w.at(), Key: w.key(d.CmdArgs[0].Key), Reason: ipc.ReasonCode(value(d, "reason"))}
		for s := ipc.StatusNotSeen; s <= ipc.StatusWithdrawn; s++ {
			if d.HasArg(s.String()) {
				in.Status = s
			}
		}
		if d.HasArg("digest") {
			in.Digest = &ipc.Digest{1}
		}
		return w.step(in)
	case "approval":
		return w.step(&Approval{At: w.at(), Key: w.key(d.CmdArgs[0].Key), Approved: d.HasArg("yes")})
	case "release":
		upto := w.s.InputNo
		if n := value(d, "upto"); n != "" {
			no, err := strconv.Atoi(n)
			if err != nil {
				d.Fatalf(w.t, "%v", err)
			}
			upto = ipc.InputNo(no)
		}
		return w.step(&Release{At: w.at(), Upto: upto, WallTS: wall0 + w.now})
	case "guard":
		return w.step(&Guard{At: w.at(), Lift: d.HasArg("lift"), Held: gate.Held{ID: "queue", Origin: gate.OriginQueue, Restriction: gate.NoTrade(),
			Reason: ipc.ReasonQueueCeiling, Release: gate.ReleaseCondition, Since: w.now}})
	case "kept": // a window kept the promise
		kind := guard.Kind(d.CmdArgs[0].Key)
		return w.step(&Guard{At: w.at(), Lift: true, Held: gate.Held{ID: SLOHeld(kind), Origin: gate.OriginSLO, Restriction: gate.Unrestricted(),
			Reason: ipc.ReasonConditionMet, Release: gate.ReleaseCondition}})
	case "violation":
		out := w.step(&Violation{At: w.at(), Reason: ipc.ReasonCode(d.CmdArgs[0].Key), Limit: 10, Observed: 11, Unit: "things"})
		if w.s.Lowered() {
			out += "its neighbours go first\n"
		}
		return out
	case "command":
		return w.step(w.command(d))
	case "config":
		event := w.encode(&ipc.ConfigUpdate{ConfigHash: ipc.Digest{5}, Who: "operator", Why: "test"})
		return w.step(&Config{At: w.at(), Event: event})
	case "inform": // a new runner stands on the checkpoint of a step
		return w.step(w.inform(d))
	case "proposals": // the answers of this service are proposals
		w.params.Policy.ProposalsFrom = []string{d.CmdArgs[0].Key}
		return ""
	case "compute": // what the descriptor says about the compute lane
		w.params.Compute = Compute{Congestion: Congestion(value(d, "congestion")), Handled: d.HasArg("handled")}
		if _, err := fmt.Sscan(value(d, "waiting"), &w.params.Compute.Waiting); err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		return ""
	case "computed": // the lane's word on request ordinal of a step: a payload, or reason=
		in := &Computed{At: w.at(), Reason: ipc.ReasonCode(value(d, "reason"))}
		if _, err := fmt.Sscanf(d.CmdArgs[0].Key, "%d.%d", &in.Step, &in.Ordinal); err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		if in.Reason == "" {
			in.Payload = []byte(cmp.Or(strings.TrimSpace(d.Input), "result"))
		}
		return w.step(in)
	case "tick":
		return w.step(&Tick{At: w.at(), WallTS: wall0 + w.now})
	case "book":
		return w.book()
	}
	d.Fatalf(w.t, "command %q is unknown", d.Cmd)
	return ""
}

// breaker reads "ladders" (each of them warns at once, degrades at the second, halts at the fourth within a minute; a promise is broken until it
// is kept), "breaker=MODE", "recovery=WAY" and "clean=STEPS".
func (w *world) breaker(d *datadriven.TestData) {
	w.params.Breaker = Breaker{Mode: BreakerMode(value(d, "breaker")), Recovery: BreakerRecovery(value(d, "recovery"))}
	if n := value(d, "clean"); n != "" {
		steps, err := strconv.Atoi(n)
		if err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		w.params.Breaker.CleanSteps = steps
	}
	w.params.Ladders = nil
	if d.HasArg("ladders") {
		w.params.Ladders = map[guard.Kind]guard.Rule{}
		for _, kind := range guard.Violations {
			w.params.Ladders[kind] = guard.Rule{Window: ipc.Nanos(time.Minute), Warn: 1, Degrade: 2, Halt: 4}
		}
		for _, kind := range guard.Objectives {
			w.params.Ladders[kind] = guard.Rule{Window: math.MaxInt64, Warn: 1, Degrade: 2, Halt: 4}
		}
	}
}

func value(d *datadriven.TestData, name string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) == 1 {
			return a.Vals[0]
		}
	}
	return ""
}

func (w *world) encode(e ipc.Event) []byte {
	b, err := ipc.AppendEvent(nil, e)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) delivery(d *datadriven.TestData) *Delivery {
	in := &Delivery{At: w.at(), Step: w.s.StepNo + 1, ProcessedTS: wall0 + w.now, TraceID: "t"}
	switch {
	case d.HasArg("queued"):
		in.Queued = true
		if len(w.s.Queue) > 0 {
			in.Event = w.s.Queue[0].Event
		}
	case d.HasArg("quote"):
		in.Event = w.encode(&ipc.Quote{Market: ipc.Market{Instrument: btc, Source: "h", RecvTS: wall0 + w.now, Seq: uint64(in.Step),
			Quality: flags(d)}})
	case d.HasArg("timer"):
		t, ok := w.s.NextTimer()
		if !ok {
			t.ID = "none"
		}
		event, err := TimerEvent(t)
		if err != nil {
			w.t.Fatal(err)
		}
		in.Event = event
	}
	if n := value(d, "step"); n != "" {
		no, err := strconv.Atoi(n)
		if err != nil {
			w.t.Fatal(err)
		}
		in.Step = ipc.Step(no)
	}
	return in
}

// flags reads "gap", "stale" and so on.
func flags(d *datadriven.TestData) (q ipc.Quality) {
	for i, name := range []string{"stale", "gap", "dup", "out_of_order", "clock_skew", "crossed", "warmup"} {
		if d.HasArg(name) {
			q |= 1 << i
		}
	}
	return q
}

func (w *world) inform(d *datadriven.TestData) *Inform {
	event, err := w.s.RecoveredEvent(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if d.HasArg("wrong") {
		event = w.encode(&ipc.Shutdown{})
	}
	return &Inform{At: w.at(), Step: 1, Event: event}
}

func (w *world) command(d *datadriven.TestData) *Command {
	in := &Command{At: w.at(), Who: "operator", Reason: ipc.ReasonOperatorHalt, Restriction: gate.Unrestricted()}
	switch d.CmdArgs[0].Key {
	case "halt":
		in.Op = OpHalt
	case "resume":
		in.Op = OpResume
	case "shutdown":
		in.Op = OpShutdown
	case "cancel_all":
		in.Op = OpCancelAll
	case "hedge_to_flat":
		in.Op = OpHedgeToFlat
	case "abandon":
		in.Op = OpAbandon
	case "mode":
		in.Op, in.Restriction = OpMode, restriction(value(d, "mode"))
	}
	return in
}

func restriction(name string) ipc.Restriction {
	r := gate.Unrestricted()
	switch name {
	case "no_trade":
		r.NoTrade = true
	case "reduce_only":
		r.ReduceOnly = true
	case "limit_only":
		r.LimitOnly = true
	case "half":
		r.SizeFactor = ipc.Decimal{M: 5, E: -1}
	}
	return r
}

// answer makes the strategy's answer: one line of the body for each thing in it.
func (w *world) answer(d *datadriven.TestData) *Answer {
	in := &Answer{At: w.at(), Step: w.s.StepNo, Outcome: Applied, Digest: ipc.EmptyAnswerDigest}
	a := &ipc.Answer{Step: in.Step}
	for _, o := range []Outcome{Late, Faulted, Killed} {
		if d.HasArg(o.String()) {
			in.Outcome = o
		}
	}
	if in.Outcome == Faulted {
		a.Fault = &ipc.Fault{Kind: "exception", Message: "ValueError"}
		if text := value(d, "faulted"); text != "" {
			a.Fault.Message = text
		}
	}
	if n := value(d, "step"); n != "" {
		no, err := strconv.Atoi(n)
		if err != nil {
			w.t.Fatal(err)
		}
		in.Step = ipc.Step(no)
	}
	in.Reason = ipc.ReasonCode(value(d, "killed"))
	for line := range strings.Lines(d.Input) {
		w.body(a, strings.Fields(line))
	}
	if in.Outcome == Killed || a.Empty() {
		return in
	}
	var err error
	if in.Digest, err = ipc.AnswerDigest(a); err == nil {
		in.Body, err = ipc.AppendMessage(nil, a)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return in
}

// body reads one line of an answer: "buy 2 @100.5 proposal=p", "sell 2 reduce name=exit", "target -3", "cancel 2.0", "amend 2.0 5", "no_op", "alert",
// "timer ID +5s", "timer ID cancel", "telemetry NAME", "compute NAME TTL", "checkpoint"; with "key=…" or "no_context" an intent breaks a rule.
func (w *world) body(a *ipc.Answer, words []string) {
	option := func(name string) (string, bool) {
		for _, word := range words {
			if v, ok := strings.CutPrefix(word, name); ok {
				return v, true
			}
		}
		return "", false
	}
	number := func(text string) ipc.Decimal {
		v, err := ipc.ParseDecimalBytes([]byte(text))
		if err != nil {
			w.t.Fatal(err)
		}
		return v
	}
	var body ipc.IntentBody
	switch words[0] {
	case "timer":
		r := ipc.TimerRequest{Op: ipc.TimerCancel, TimerID: words[1]}
		if due, set := strings.CutPrefix(words[2], "+"); set {
			length, err := time.ParseDuration(due)
			if err != nil {
				w.t.Fatal(err)
			}
			r.Op, r.DueTS = ipc.TimerSet, wall0+w.now+ipc.Nanos(length)
		}
		a.Timers = append(a.Timers, r)
		return
	case "telemetry":
		a.Telemetry = append(a.Telemetry, ipc.Telemetry{Name: words[1], Value: 1})
		return
	case "compute": // NAME TTL
		ttl, err := time.ParseDuration(words[2])
		if err != nil {
			w.t.Fatal(err)
		}
		a.Compute = append(a.Compute, ipc.ComputeRequest{Task: words[1], Payload: []byte("question"), TTL: ipc.Nanos(ttl)})
		return
	case "checkpoint":
		a.Updates = &ipc.StateUpdates{Checkpoint: true}
		return
	case "buy", "sell":
		o := &ipc.OrderIntent{Instrument: btc, Side: ipc.SideBuy, Type: ipc.OrderMarket, Quantity: number(words[1]), TimeInForce: ipc.TIFGoodTillCancel}
		if words[0] == "sell" {
			o.Side = ipc.SideSell
		}
		if price, ok := option("@"); ok {
			p := number(price)
			o.Type, o.LimitPrice = ipc.OrderLimit, &p
		}
		_, o.ReduceOnly = option("reduce")
		body = o
	case "target":
		body = &ipc.PositionIntent{Instrument: btc, TargetQuantity: number(words[1])}
	case "cancel":
		body = &ipc.CancelIntent{Instrument: btc, TargetKey: w.key(words[1])}
	case "amend":
		q := number(words[2])
		body = &ipc.AmendIntent{Instrument: btc, TargetKey: w.key(words[1]), Quantity: &q}
	case "no_op":
		body = &ipc.NoOpIntent{Reason: "nothing"}
	case "alert":
		body = &ipc.AlertIntent{Severity: ipc.SeverityInfo, Code: "hello"}
	default:
		w.t.Fatalf("%q is no part of an answer", words[0])
	}
	name, _ := option("name=")
	proposal, _ := option("proposal=")
	label := fmt.Sprintf("%d.%d", w.s.StepNo, len(a.Intents))
	w.key(label) // refused ones are filed under it
	if name != "" {
		label = "n:" + name
	}
	i := &ipc.Intent{Body: body, Meta: ipc.IntentMeta{Bot: here.Bot, Strategy: here.Strategy, StrategyVersion: "1.0.0", Instance: here.Instance, RunID: w.run_,
		TraceID: "t", Key: w.key(label), RiskContext: &ipc.RiskContext{MaxDelayNS: 500 * ms}, Name: name, Proposal: proposal}}
	if other, ok := option("key="); ok {
		i.Meta.Key = ipc.Key(other)
	}
	if _, ok := option("no_context"); ok {
		i.Meta.RiskContext = nil
	}
	a.Intents = append(a.Intents, i)
}

// arrive makes an event of I, J or E: "arrive fill 2.0 buy=2 final", "accepted", "canceled", "rejected", "unknown", "snapshot pos=3
// open=2.0:1", "risk id=x mode=no_trade | release", "safety freeze". seq is the next one of the source unless it is given.
func (w *world) arrive(d *datadriven.TestData) string {
	c := ipc.Cursor{Source: "i", Epoch: 1}
	var event ipc.Event
	x := &ipc.Execution{Instrument: btc, Final: d.HasArg("final"), Throttled: d.HasArg("throttled")}
	if len(d.CmdArgs) > 1 {
		x.Key = w.key(d.CmdArgs[1].Key)
	}
	for i, side := range []string{"buy", "sell"} {
		if q := value(d, side); q != "" {
			v, err := ipc.ParseDecimalBytes([]byte(q))
			if err != nil {
				w.t.Fatal(err)
			}
			x.Side, x.Quantity = ipc.Side(i+1), &v
		}
	}
	switch kind := d.CmdArgs[0].Key; kind {
	case "accepted", "rejected", "fill", "canceled", "unknown":
		x.Report = map[string]ipc.ExecutionKind{"accepted": ipc.ExecAccepted, "rejected": ipc.ExecRejected, "fill": ipc.ExecFilled,
			"canceled": ipc.ExecCanceled, "unknown": ipc.ExecUnknown}[kind]
		event = x
	case "snapshot":
		s := &ipc.ExecutionSnapshot{}
		if p := value(d, "pos"); p != "" {
			v, err := ipc.ParseDecimalBytes([]byte(p))
			if err != nil {
				w.t.Fatal(err)
			}
			s.Positions = []ipc.PositionRow{{Instrument: btc, Quantity: v}}
		}
		if open := value(d, "open"); open != "" {
			key, remaining, _ := strings.Cut(open, ":")
			v, err := ipc.ParseDecimalBytes([]byte(remaining))
			if err != nil {
				w.t.Fatal(err)
			}
			s.Open = []ipc.OpenOrder{{Key: w.key(key), Remaining: v}}
		}
		event = s
	case "risk":
		c.Source = "j"
		event = &ipc.RiskEvent{RestrictID: "r1", Release: d.HasArg("release"), Restriction: restriction(value(d, "mode"))}
	case "safety":
		c.Source = "e"
		event = &ipc.SafetyEvent{Command: map[string]ipc.SafetyCommand{"freeze": ipc.SafetyFreeze, "unfreeze": ipc.SafetyUnfreeze, "halt": ipc.SafetyHalt,
			"cancel_all": ipc.SafetyCancelAll, "hedge_to_flat": ipc.SafetyHedgeToFlat}[d.CmdArgs[1].Key]}
	}
	c.Seq = w.seq[c.Source] + 1
	if n := value(d, "seq"); n != "" {
		no, err := strconv.Atoi(n)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Seq = uint64(no)
	}
	if s, ok := event.(*ipc.ExecutionSnapshot); ok {
		if value(d, "seq") == "" {
			c.Seq = w.seq[c.Source] // a snapshot has no number of its own
		}
		s.Cursor = c
	}
	w.seq[c.Source] = max(w.seq[c.Source], c.Seq)
	switch w.s.Admits(c, event.Kind()) {
	case Duplicate:
		return "duplicate: acknowledged again, no input\n"
	case Refuse:
		return "refused, no input\n"
	}
	return w.step(&Arrival{At: w.at(), Cursor: c, TraceID: "t", Event: w.encode(event)})
}

// book prints what the core believes.
func (w *world) book() string {
	b := w.s.Book()
	text := fmt.Sprintf("position %s", b.Position(btc))
	if u := b.Unknown(); u != "" {
		text += ", unknown: " + string(u)
	}
	text += "\n"
	for _, t := range b.Open() {
		text += fmt.Sprintf("%s %s %s remain", w.label(t.Key), t.Status, t.Remaining)
		for _, c := range []struct {
			on   bool
			word string
		}{{t.Working, "working"}, {t.Unsettled, "unsettled"}, {t.EarlyFinal, "early final"}, {t.Obligation != 0, "own"}} {
			if c.on {
				text += ", " + c.word
			}
		}
		text += "\n"
	}
	return text
}
