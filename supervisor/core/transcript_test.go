package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// A transcript is a story: inputs, and below each the effects that the core returned. The language is that of world.run and of
// world.body (transcriptword_test.go); the first line of each file says what the story is about.
//
// Every transcript ends with the same proof: its log, written and read back, gives a State of the same bytes (NN-7).
//
// Proves: NN-7, DM-3, SB-6, SB-7, SB-8, RS-6, CB-1, CB-3, CB-4, DQ-2, DOD-9, GT-3, GT-5, GT-6, GT-7, BP-2, BP-3, BP-4, BC-I, LN-2, LN-3, LN-5, EX-3
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if filepath.Ext(path) != ".txt" {
			return
		}
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			return w.run(d)
		})
		w.t = t
		w.checkReplay()
	})
}

const (
	btc   ipc.InstrumentID = "BTCUSDT.BINANCE"
	wall0                  = ipc.Nanos(1_700_000_000_000_000_000)
	ms                     = ipc.Nanos(time.Millisecond)
)

var (
	here    = ipc.Address{Bot: "alpha", Strategy: "ema", Instance: "btc"}
	lineage = ipc.Lineage{7}
)

// testParams permit one instrument and have short ladders.
func testParams() *Params {
	return &Params{
		Policy: &gate.Policy{
			Address: here, StrategyVersion: "1.0.0", Allowed: []string{"*"},
			Instruments: map[ipc.InstrumentID]ipc.Instrument{btc: {ID: btc, Tick: ipc.Decimal{M: 1, E: -1}, Lot: ipc.Decimal{M: 1}, MinQuantity: ipc.Decimal{M: 1}}},
			Intents: map[ipc.IntentKind]bool{ipc.IntentOrder: true, ipc.IntentCancel: true, ipc.IntentAmend: true, ipc.IntentPosition: true, ipc.IntentAlert: true,
				ipc.IntentNoOp: true},
			OrderTypes: map[ipc.OrderType]bool{ipc.OrderMarket: true, ipc.OrderLimit: true},
			Ceilings:   gate.Ceilings{PerEvent: 8, PerSecond: 20, CancelsPerSecond: 20, PerRun: 1000, Open: 20, MaxDelay: ipc.Nanos(time.Minute)},
		},
		Timeouts: guard.Rule{Window: ipc.Nanos(time.Minute), Degrade: 2, Halt: 3}, Faults: guard.Rule{Window: ipc.Nanos(time.Minute), Degrade: 2, Halt: 3},
		Kills: guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 2, Halt: 3}, Rejects: guard.Rule{Window: ipc.Nanos(time.Minute), Degrade: 2},
		Refusals: guard.Rule{Window: ipc.Nanos(time.Second), Degrade: 3, Halt: 5}, Cooldown: ipc.Nanos(10 * time.Second), MaxTimers: 2,
		TelemetryNames: []string{"spread"},
	}
}

// world is an instance's core with the tester in the place of shell, strategy, I, J and E.
type world struct {
	t      *testing.T
	s      *State
	params *Params
	now    ipc.Nanos // since the beginning, of both clocks
	run_   ipc.RunID
	log    []byte
	labels map[ipc.Key]string
	keys   map[string]ipc.Key
	seq    map[ipc.SourceID]uint64
	health string
	queue  string
}

func newWorld(t *testing.T) *world {
	return &world{t: t, s: New(here, lineage), params: testParams(), labels: map[ipc.Key]string{}, keys: map[string]ipc.Key{},
		seq: map[ipc.SourceID]uint64{}, health: "healthy "}
}

func (w *world) at() At { return At{CoreTS: w.now} }

// step gives one input to the core, through its record, and prints the effects.
func (w *world) step(in Input) string {
	w.t.Helper()
	record := AppendInput(nil, in)
	w.log = append(w.log, record...)
	e, err := w.s.Step(in)
	if err != nil {
		w.log = nil // the state is not to be used any more, and such an input is in no log
		return "error: " + w.named(err.Error()) + "\n"
	}
	return w.print(e)
}

// checkReplay proves that the log alone gives the state, from its beginning and from a checkpoint at every input.
func (w *world) checkReplay() {
	w.t.Helper()
	var inputs []Input
	for rest := w.log; len(rest) > 0; {
		in, tail, err := ReadInput(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		inputs, rest = append(inputs, in), tail
	}
	for cut := range inputs {
		again := New(here, lineage)
		for i, in := range inputs {
			if i == cut && i > 0 {
				s, err := Restore(marshal(w.t, again), here, lineage)
				if err != nil {
					w.t.Fatal(err)
				}
				again = s
			}
			if _, err := again.Step(in); err != nil {
				w.t.Fatal(err)
			}
		}
		if a, b := marshal(w.t, w.s), marshal(w.t, again); !bytes.Equal(a, b) {
			w.t.Fatalf("restored at input %d and replayed, the state differs:\nlive   %s\nreplay %s", cut, a, b)
		}
	}
}

func marshal(t testing.TB, s *State) []byte {
	t.Helper()
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) startInput(epoch ipc.Epoch, run ipc.RunID) *Start {
	params, err := json.Marshal(w.params)
	if err != nil {
		w.t.Fatal(err)
	}
	w.run_ = run
	return &Start{At: w.at(), Epoch: epoch, RunID: run, StrategyVersion: "1.0.0", WallTS: wall0 + w.now, Params: params}
}

// key names what keys stand for: "2.0" is the intent at place 0 of step 2, "n:entry" a named one.
func (w *world) key(label string) ipc.Key {
	if k, ok := w.keys[label]; ok {
		return k
	}
	o := ipc.Owner{Address: here, Lineage: lineage}
	var step, ordinal uint32
	var no, attempt uint64
	k := ipc.Key(label)
	if name, named := strings.CutPrefix(label, "n:"); named {
		k = o.NamedKey(name)
	} else if _, err := fmt.Sscanf(label, "m%d.%d.%d", &no, &attempt, &ordinal); err == nil {
		k = o.ObligationKey(no, attempt, ordinal)
	} else if _, err := fmt.Sscanf(label, "%d.%d", &step, &ordinal); err == nil {
		k = o.StepKey(ipc.Step(step), ordinal)
	}
	w.keys[label], w.labels[k] = k, label
	return k
}

func (w *world) named(text string) string {
	for k, label := range w.labels {
		text = strings.ReplaceAll(text, string(k), label)
	}
	return text
}

func (w *world) label(k ipc.Key) string {
	if label, ok := w.labels[k]; ok {
		return label
	}
	return string(k)
}

// print writes what the shell would have to do, one thing a line.
func (w *world) print(e *Effects) string {
	var b strings.Builder
	own := 0
	for _, r := range e.Intents {
		if r.Obligation != 0 {
			w.key(fmt.Sprintf("m%d.%s.%d", r.Obligation, r.Asked.Meta.TraceID[strings.LastIndexByte(string(r.Asked.Meta.TraceID), '-')+1:], own))
			own++
			fmt.Fprintf(&b, "own intent %s %s\n", w.label(r.Key), w.doing(r.Asked))
			continue
		}
		fmt.Fprintf(&b, "intent %s %s %s", w.label(r.Key), r.Kind, r.Verdict.Outcome)
		if r.Verdict.Reason != "" {
			fmt.Fprintf(&b, " %s", r.Verdict.Reason)
		}
		for _, c := range r.Verdict.Changes {
			fmt.Fprintf(&b, " [%s %s → %s]", c.Field, c.Before, c.After)
		}
		b.WriteByte('\n')
	}
	for _, r := range e.Statuses {
		fmt.Fprintf(&b, "status %s %s %s\n", w.label(r.Key), r.Status, r.Reason)
	}
	for _, t := range e.Staged {
		fmt.Fprintf(&b, "ask J/E for %s\n", w.label(t.Key))
	}
	for _, t := range e.Offers {
		fmt.Fprintf(&b, "offer %s\n", w.label(t.Key))
	}
	for _, v := range e.Telemetry {
		fmt.Fprintf(&b, "telemetry %s\n", v.Name)
	}
	for _, t := range e.Compute {
		fmt.Fprintf(&b, "compute %d.%d %s %q ttl %s\n", t.Step, t.Ordinal, t.Name, t.Payload, time.Duration(t.TTL))
	}
	for _, n := range e.Notes {
		fmt.Fprintf(&b, "note %s %s %s\n", n.Level, n.Reason, w.named(n.Detail))
	}
	if e.Ack != nil {
		fmt.Fprintf(&b, "ack %s/%d/%d\n", e.Ack.Source, e.Ack.Epoch, e.Ack.Seq)
	}
	for _, c := range [...]struct {
		on   bool
		what string
	}{
		{e.Snapshot, "ask I for a snapshot"}, {e.Checkpoint, "take a checkpoint"}, {e.Restart != "", "restart the runner: " + string(e.Restart)},
		{e.Halt != "", "halt: " + string(e.Halt)}, {e.Resume, "start the runner"},
	} {
		if c.on {
			fmt.Fprintln(&b, c.what)
		}
	}
	if q := w.queued(); q != w.queue {
		w.queue = q
		fmt.Fprintf(&b, "queue:%s\n", q)
	}
	if h, reason := w.s.Health(); string(h)+" "+string(reason) != w.health {
		w.health = string(h) + " " + string(reason)
		fmt.Fprintf(&b, "health: %s\n", w.health)
	}
	if b.Len() == 0 {
		return "-\n"
	}
	var tidy strings.Builder
	for line := range strings.Lines(b.String()) {
		tidy.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return tidy.String()
}

// doing says what an intent of M's own does.
func (w *world) doing(i *ipc.Intent) string {
	switch body := i.Body.(type) {
	case *ipc.CancelIntent:
		return "cancels " + w.label(body.TargetKey)
	case *ipc.OrderIntent:
		return fmt.Sprintf("%s %s reduce_only %v", map[ipc.Side]string{ipc.SideBuy: "buys", ipc.SideSell: "sells"}[body.Side], body.Quantity, body.ReduceOnly)
	}
	return i.Kind().String()
}

// queued describes what waits for the strategy.
func (w *world) queued() string {
	text := ""
	for _, q := range w.s.Queue {
		event, err := ipc.DecodeEvent(q.Event)
		if err != nil {
			w.t.Fatal(err)
		}
		text += " " + w.describe(event)
	}
	return text
}

func (w *world) describe(event ipc.Event) string {
	switch e := event.(type) {
	case *ipc.IntentsDiscarded:
		text := fmt.Sprintf("discarded(step %d %s", e.DiscardedStep, e.Reason)
		for _, k := range e.Keys {
			text += " " + w.label(k)
		}
		return text + ")"
	case *ipc.EventSkipped:
		return fmt.Sprintf("skipped(step %d %s)", e.SkippedStep, e.Reason)
	case *ipc.Recovered:
		text := "recovered("
		for _, p := range e.Positions {
			text += p.Quantity.String()
		}
		for _, o := range e.Open {
			text += fmt.Sprintf(" %s %s", w.label(o.Key), o.Status)
		}
		return text + ")"
	case *ipc.Shutdown:
		return "shutdown"
	case *ipc.Timer:
		return "timer"
	case *ipc.Quote:
		return "quote"
	case *ipc.ConfigUpdate:
		return "config_update"
	case *ipc.ExecutionSnapshot:
		return "snapshot"
	case *ipc.Execution:
		return "execution(" + w.label(e.Key) + ")"
	case *ipc.RiskEvent:
		return "risk"
	case *ipc.SafetyEvent:
		return "safety"
	case *ipc.ComputeResult:
		return fmt.Sprintf("result(%d.%d %s %s)", e.RequestStep, e.Ordinal, e.Task, e.Payload)
	case *ipc.ComputeUnavailable:
		return fmt.Sprintf("unavailable(%d.%d %s %s)", e.RequestStep, e.Ordinal, e.Task, e.Reason)
	}
	return fmt.Sprintf("kind %d", event.Kind())
}
