package supervisor

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

const bitcoin ipc.InstrumentID = "BTCUSDT.BINANCE"

var desk = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}

// keptLedger is a ledger in memory that survives its instance.
type keptLedger struct {
	Ledger
	batches []*Batch
	fail    error // of the next persist
}

func (l *keptLedger) Lineage() ipc.Lineage                 { return ipc.Lineage{3} }
func (l *keptLedger) Checkpoints() ([]Checkpoint, []error) { return nil, nil }
func (l *keptLedger) Flush() (Head, error)                 { return Head{}, l.fail }

func (l *keptLedger) LastInput() ipc.InputNo {
	if len(l.batches) == 0 {
		return 0
	}
	return l.batches[len(l.batches)-1].Last
}

func (l *keptLedger) Persist(b *Batch) {
	if l.fail == nil {
		l.batches = append(l.batches, b)
	}
	b.Done(Head{}, l.fail)
}

func (l *keptLedger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	for _, b := range l.batches {
		if b.Last < from {
			continue
		}
		if err := fn(b.First, b.Last, b.Inputs); err != nil {
			return err
		}
	}
	return nil
}

// deafSink takes offers and says nothing of them.
type deafSink struct {
	Sink
	offers int
}

func (s *deafSink) Offer(*ipc.Offer) error            { s.offers++; return nil }
func (s *deafSink) RequestSnapshot(ipc.Address) error { return nil }

// offline is an instance over a ledger, as the verbs open it; sink is nil there.
func offline(l Ledger, sink Sink) *Instance {
	rule := guard.Rule{Window: ipc.Nanos(time.Hour), Halt: 9}
	return NewInstance(InstanceConfig{Address: desk, StrategyVersion: "1.0.0", RunID: "run", Lane: ipc.LaneLL, Mode: ipc.ModeLive, Ledger: l, Sink: sink, Clock: &FeedClock{}, QueueEvents: 1,
		Observer: NewStats(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Params: &core.Params{Timeouts: rule, Faults: rule, Kills: rule, Rejects: rule, Refusals: rule, Policy: &gate.Policy{Address: desk, StrategyVersion: "1.0.0",
			Allowed: []string{"*"}, Intents: map[ipc.IntentKind]bool{ipc.IntentOrder: true}, OrderTypes: map[ipc.OrderType]bool{ipc.OrderMarket: true},
			Instruments: map[ipc.InstrumentID]ipc.Instrument{bitcoin: {ID: bitcoin, Tick: ipc.Decimal{M: 1}, Lot: ipc.Decimal{M: 1}, MinQuantity: ipc.Decimal{M: 1}}},
			Ceilings:    gate.Ceilings{PerEvent: 8, PerSecond: 20, CancelsPerSecond: 20, PerRun: 1000, Open: 20, MaxDelay: ipc.Nanos(time.Minute)}}}})
}

// offered records a run that offered two orders, and ended before I said anything; it returns their keys.
func offered(t *testing.T, l *keptLedger) []ipc.Key {
	t.Helper()
	sink := &deafSink{}
	p := offline(l, sink)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	event, err := ipc.AppendEvent(nil, &ipc.ManualSignal{Operator: "o"})
	if err != nil {
		t.Fatal(err)
	}
	a := &ipc.Answer{Step: 2}
	var keys []ipc.Key
	for n := range uint32(2) {
		key := ipc.Owner{Address: desk, Lineage: l.Lineage()}.StepKey(2, n)
		keys = append(keys, key)
		a.Intents = append(a.Intents, &ipc.Intent{Body: &ipc.OrderIntent{Instrument: bitcoin, Side: ipc.SideBuy, Type: ipc.OrderMarket, Quantity: ipc.Decimal{M: 5}, TimeInForce: ipc.TIFImmediateOrCancel},
			Meta: ipc.IntentMeta{Bot: desk.Bot, Strategy: desk.Strategy, StrategyVersion: "1.0.0", Instance: desk.Instance, RunID: "run", TraceID: "t", Key: key,
				RiskContext: &ipc.RiskContext{MaxDelayNS: ipc.Nanos(time.Second)}}})
	}
	body, err := ipc.AppendMessage(nil, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.takeOver(1); err != nil {
		t.Fatal(err)
	}
	for _, in := range []core.Input{&core.Delivery{Step: 1}, &core.Answer{Step: 1, Outcome: core.Applied}, &core.Delivery{Step: 2, Event: event},
		&core.Answer{Step: 2, Outcome: core.Applied, Body: body}} {
		if err := p.apply(in); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	if err := p.apply(&core.Release{Upto: l.LastInput()}); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	if sink.offers != 2 {
		t.Fatalf("%d orders were offered", sink.offers)
	}
	return keys
}

// inspected is what a later start finds in the ledger.
func inspected(t *testing.T, l *keptLedger) *Inspection {
	t.Helper()
	i, err := offline(l, nil).Inspect()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func snapshotOf(seq, holds uint64, quantity int64) *ipc.SourceEvent {
	return &ipc.SourceEvent{Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: seq}, Event: &ipc.ExecutionSnapshot{
		Positions: []ipc.PositionRow{{Instrument: bitcoin, Quantity: ipc.Decimal{M: quantity}}}, Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: holds}}}
}

// What reconcile records is what a start would have taken: I's word on intents that it knows, once, durable, and nothing leaves.
//
// Proves: GT-6, BC-I
func TestReportsAreRecordedOnce(t *testing.T) {
	l := &keptLedger{}
	keys := offered(t, l)
	before := inspected(t, l)
	if len(before.Open) != 2 || before.Open[0].Status != "offered" {
		t.Fatalf("the run left %+v", before.Open)
	}
	said := []core.Status{{Key: keys[0], Status: ipc.StatusRejected, Reason: ipc.ReasonSinkRefused}, {Key: keys[1], Status: ipc.StatusCommitted},
		{Key: "00000000000000000000000000000000", Status: ipc.StatusCommitted}}
	for _, want := range []int{2, 0} { // a second time the ledger knows it
		taken, err := offline(l, nil).RecordReports(said, nil)
		if err != nil || taken != want {
			t.Errorf("%d were taken, want %d: %v", taken, want, err)
		}
	}
	after := inspected(t, l)
	if len(after.Open) != 1 || after.Open[0].Key != keys[1] || !after.Open[0].Working {
		t.Errorf("then %+v is open", after.Open)
	}
	if after.Epoch != before.Epoch || after.Step != before.Step {
		t.Errorf("epoch %d, step %d; it was %d, %d", after.Epoch, after.Step, before.Epoch, before.Step)
	}
	var rows []core.StatusRow
	for _, b := range l.batches {
		rows = append(rows, b.Statuses...)
	}
	last := map[ipc.Key]ipc.Status{}
	for _, r := range rows {
		last[r.Key] = r.Status
	}
	if last[keys[0]] != ipc.StatusRejected || last[keys[1]] != ipc.StatusCommitted || len(last) != 2 {
		t.Errorf("the ledger's statuses are %v", last)
	}
	if _, err := offline(l, nil).RecordReports([]core.Status{{Key: keys[1], Status: ipc.StatusOffered}}, nil); err != nil {
		t.Errorf("an older word: %v", err)
	}
	if again := inspected(t, l); again.InputNo != after.InputNo {
		t.Errorf("an older word became input %d", again.InputNo)
	}
}

// A snapshot sets positions, and ends that they are unknown; one that lacks a report which was taken says so and is no word on anything.
//
// Proves: BC-I
func TestASnapshotIsRecordedWhereItHolds(t *testing.T) {
	l := &keptLedger{}
	keys := offered(t, l)
	if taken, err := offline(l, nil).RecordReports([]core.Status{{Key: keys[0], Status: ipc.StatusCommitted}}, snapshotOf(1, 0, 5)); err != nil || taken != 2 {
		t.Fatalf("%d were taken: %v", taken, err)
	}
	i := inspected(t, l)
	if i.Unknown != "" || len(i.Positions) != 1 || i.Positions[0].Quantity != (ipc.Decimal{M: 5}) || len(i.Cursors) != 1 || i.Cursors[0].Seq != 1 {
		t.Errorf("after the snapshot: %+v", i)
	}
	if taken, err := offline(l, nil).RecordReports(nil, snapshotOf(1, 0, 9)); err == nil || taken != 0 {
		t.Errorf("a snapshot older than what was taken: %d were taken, %v", taken, err)
	}
	if again := inspected(t, l); again.Unknown != "" || again.InputNo != i.InputNo {
		t.Errorf("an older snapshot was recorded: unknown %q, input %d after %d", again.Unknown, again.InputNo, i.InputNo)
	}
	// Number 4 says that 2 and 3 are missing: positions are unknown.
	p := offline(l, nil)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	report, err := ipc.AppendEvent(nil, &ipc.Execution{Instrument: bitcoin, Report: ipc.ExecAccepted, Key: keys[0]})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.apply(&core.Arrival{Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: 4}, Event: report}), p.flush()); err != nil {
		t.Fatal(err)
	}
	if i := inspected(t, l); i.Unknown == "" {
		t.Fatal("a gap leaves positions known")
	}
	taken, err := offline(l, nil).RecordReports(nil, snapshotOf(5, 0, 1))
	if err == nil || taken != 0 {
		t.Errorf("a snapshot that lacks reports: %d were taken, %v", taken, err)
	}
	if i := inspected(t, l); i.Unknown == "" {
		t.Error("a snapshot that lacks reports made positions known")
	}
	if taken, err := offline(l, nil).RecordReports(nil, snapshotOf(5, 4, 7)); err != nil || taken != 1 {
		t.Errorf("%d were taken: %v", taken, err)
	}
	if i := inspected(t, l); i.Unknown != "" || i.Positions[0].Quantity != (ipc.Decimal{M: 7}) {
		t.Errorf("after the second snapshot: unknown %q, %+v", i.Unknown, i.Positions)
	}
}

// Proves: ST-1
func TestReportsThatCannotBeWrittenAreNotTaken(t *testing.T) {
	l := &keptLedger{}
	keys := offered(t, l)
	full := errors.New("no space")
	l.fail = full
	if _, err := offline(l, nil).RecordReports([]core.Status{{Key: keys[0], Status: ipc.StatusRejected}}, nil); !errors.Is(err, full) {
		t.Errorf("on a full disk: %v", err)
	}
	l.fail = nil
	if i := inspected(t, l); len(i.Open) != 2 {
		t.Errorf("then %+v is open", i.Open)
	}
}
