package sim

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
)

// fileLedger is the real ledger under the supervisor's port; the disk of the simulation keeps the statuses for I's checks.
type fileLedger struct {
	*statedb.Instance
	disk  *disk
	older bool // the newest slot cannot be read
}

func (l *fileLedger) NextEpoch(owner ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	return l.Instance.NextEpochAbove(above, statedb.LeaseRow{PID: 1, StartTime: 1, BootID: "boot", Nonce: owner, WallTS: now()})
}

func (l *fileLedger) Persist(b *supervisor.Batch) {
	out := &statedb.Batch{FirstInput: b.First, LastInput: b.Last, Inputs: b.Inputs, Urgent: b.Urgent}
	for i := range b.Intents {
		r := &b.Intents[i]
		out.Intents = append(out.Intents, statedb.IntentRow{Key: r.Key, Step: r.Step, Ordinal: r.Ordinal, Bytes: r.Bytes,
			RequestDigest: r.Verdict.RequestDigest, Digest: r.Verdict.Digest, Verdict: uint8(r.Verdict.Outcome), ValidUntilCore: r.ValidCore,
			ValidUntilWall: r.ValidWall, Epoch: r.Epoch})
	}
	for _, r := range b.Statuses {
		out.Statuses = append(out.Statuses, statedb.StatusRow{Key: r.Key, Status: r.Status, CoreTS: r.CoreTS, Reason: string(r.Reason), Epoch: r.Epoch})
	}
	out.Done = func(h statedb.Head, err error) {
		if err == nil {
			l.disk.mu.Lock()
			for _, r := range b.Statuses {
				l.disk.statuses[r.Key] = r.Status
			}
			l.disk.mu.Unlock()
		}
		b.Done(supervisor.Head(h), err)
	}
	l.Instance.Persist(out)
}

func (l *fileLedger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	err := l.Instance.ReadInputs(from, fn)
	if errors.Is(err, statedb.ErrPruned) {
		return errors.Join(supervisor.ErrPruned, err)
	}
	return err
}

func (l *fileLedger) Flush() (supervisor.Head, error) {
	h, err := l.Instance.Flush()
	return supervisor.Head(h), err
}

func (l *fileLedger) Reset() (ipc.InputNo, error) {
	_, last, err := l.Instance.Reset()
	return last, err
}

func (l *fileLedger) SaveCheckpoint(c supervisor.Checkpoint) error {
	return l.Instance.SaveCheckpoint(statedb.Checkpoint{State: c.State, StateSchemaVersion: c.StateVersion, Cursors: c.Cursors, InputNo: c.InputNo,
		Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash, Head: statedb.Head(c.Head), SavedCoreTS: c.CoreTS})
}

func (l *fileLedger) Checkpoints() (out []supervisor.Checkpoint, problems []error) {
	valid, problems := l.Instance.Checkpoints()
	if l.older {
		valid, problems = valid[1:], append(problems, errors.New("the newest slot cannot be read"))
	}
	for _, c := range valid {
		out = append(out, supervisor.Checkpoint{State: c.State, StateVersion: c.StateSchemaVersion, Cursors: c.Cursors, InputNo: c.InputNo, Step: c.Step,
			Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash, Head: supervisor.Head(c.Head), CoreTS: c.SavedCoreTS})
	}
	return out, problems
}

// recorded lets a verification look up what was decided.
func (l *fileLedger) recorded(k ipc.Key) (supervisor.RecordedIntent, bool, error) {
	i, err := l.Instance.Intent(k)
	if errors.Is(err, statedb.ErrUnknownKey) {
		return supervisor.RecordedIntent{}, false, nil
	}
	return supervisor.RecordedIntent{Step: i.Step, Ordinal: i.Ordinal, Verdict: i.Verdict, RequestDigest: i.RequestDigest, Digest: i.Digest}, err == nil, err
}

func keepReading(_, _ ipc.InputNo, _ []byte) error { return nil }

type recordings func(k ipc.Key) (supervisor.RecordedIntent, bool, error)

func (r recordings) Intent(k ipc.Key) (supervisor.RecordedIntent, bool, error) { return r(k) }

// onDisk starts the instance on a real state directory.
func (w *shell) onDisk(db *statedb.DB, older bool) (*process, *fileLedger) {
	store, err := db.OpenInstance(here)
	if err != nil {
		w.t.Fatal(err)
	}
	w.life++
	l := &fileLedger{Instance: store, disk: w.disk, older: older}
	p := &process{link: newLink(w.venue, w.disk, rand.New(rand.NewPCG(1, uint64(w.life))))}
	p.Instance = supervisor.NewInstance(supervisor.InstanceConfig{
		Address: here, StrategyVersion: "1.0.0", PackageHash: w.build.hash, RunSeed: w.seed, RunID: "run", Lane: ipc.LaneLL, Mode: ipc.ModeLive,
		Owner: ipc.Nonce{byte(w.life)}, Version: "sim", Params: w.params, StateVersion: 1, Risk: ipc.RiskContext{MaxDelayNS: 100 * ms},
		Deadlines:     supervisor.Deadlines{Soft: time.Minute, Hard: time.Minute, Init: time.Minute, Checkpoint: time.Minute, Stop: time.Second},
		MaxStateBytes: 1 << 20, CheckpointSteps: 40, QueueEvents: 64,
		StartRunner: func(context.Context) (sandbox.Runner, error) {
			return startRunner(w.build, rand.New(rand.NewPCG(0, 0)), w.seed, false), nil
		},
		Ledger: l, Sink: p.link, Clock: &virtualClock{}, Observer: w, Logger: w.log,
	})
	p.link.to = p.Instance
	return p, l
}

func (w *shell) runOnDisk(db *statedb.DB, events int) {
	p, _ := w.onDisk(db, false)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := p.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	for range events {
		w.publish(p)
		if err := p.Settle(ctx); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // a checkpoint is written beside; two of them take longer than all steps do
	}
	p.Stop()
	ended.Wait()
	p.link.close()
}

// A run prunes after every verified checkpoint: the ledger stops growing, and what is left goes on from the older slot, replays from it, and
// keeps every intent that is not final.
//
// Proves: ST-3, ST-4, NN-7
func TestALongRunsLedgerStopsGrowing(t *testing.T) {
	w := newShell(t, 4, map[string]int{})
	w.params.ExternalApproval, w.log = false, slog.New(slog.DiscardHandler)
	db, err := statedb.Open(t.TempDir(), statedb.Options{Durability: statedb.Process, Logger: w.log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var inputs []uint64
	for range 4 {
		w.runOnDisk(db, 250)
		_, l := w.onDisk(db, false)
		valid, _ := l.Checkpoints()
		if len(valid) < 2 {
			t.Fatalf("%d slots", len(valid))
		}
		older := valid[1].InputNo
		if err := l.ReadInputs(older, keepReading); !errors.Is(err, supervisor.ErrPruned) {
			t.Errorf("input %d, of the older slot, is still there: %v", older, err)
		}
		if err := l.ReadInputs(older+1, keepReading); err != nil {
			t.Errorf("what follows the older slot is not there: %v", err)
		}
		inputs = append(inputs, uint64(l.LastInput()-older))
	}
	w.disk.mu.Lock()
	t.Logf("inputs kept after 250, 500, 750 and 1000 events: %d of %d", inputs, w.disk.counts["deliveries"])
	w.disk.mu.Unlock()
	if inputs[3] > 2*inputs[0] {
		t.Errorf("the ledger grows: %d inputs", inputs)
	}
	for _, older := range []bool{false, true} {
		p, l := w.onDisk(db, older)
		v, err := p.Verify(context.Background(), recordings(l.recorded))
		if err != nil || !v.Identical || v.Steps == 0 || v.FromStep == 1 {
			t.Errorf("the newest slot lost %v: %+v, %v", older, v, err)
		}
		p.link.close()
	}
	p, l := w.onDisk(db, false)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	for _, i := range p.State().Book().Open() {
		if _, ok, err := l.recorded(i.Key); i.Status != ipc.StatusCommitted && (!ok || err != nil) {
			t.Errorf("key %s is %s and gone: %v", i.Key, i.Status, err)
		}
	}
	p.link.close()
}
