package sim

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// version is a later package.
func version(hash byte, schema uint32, hooks ...string) build {
	return build{hash: ipc.Digest{hash}, schema: schema, hooks: hooks, migrate: func(_ uint32, state []byte) ([]byte, error) { return state, nil }}
}

// takeOver lets one package run for a while, ends it, and gives its state directory to others.
func takeOver(t *testing.T, story func(w *shell)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newShell(t, 3, map[string]int{})
		w.disk.keeps = true // for the tests that read the log
		w.params.Inform, w.params.ExternalApproval = false, false
		story(w)
		time.Sleep(time.Second) // what is on the wire comes to its end
		synctest.Wait()
	})
}

func (w *shell) run(events int) *process {
	p := w.start(false)
	for range events {
		w.publish(p)
	}
	w.settle(p)
	time.Sleep(time.Second)
	w.settle(p)
	return p
}

// unfinished runs on until the log holds intents behind the newest checkpoint, and crashes.
func (w *shell) unfinished() *process {
	w.t.Helper()
	p := w.run(30)
	for range 100 {
		w.publish(p)
		w.settle(p)
		time.Sleep(50 * time.Millisecond)
		if w.unsaved() > 2 {
			w.crash(p)
			return p
		}
	}
	w.t.Fatal("no intents after a checkpoint")
	return nil
}

// unsaved counts the intents behind the newest checkpoint.
func (w *shell) unsaved() (n int) {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	for _, b := range w.disk.batches {
		for i := range b.Intents {
			if b.First > w.disk.slots[0].InputNo && b.Intents[i].Verdict.Permitted() {
				n++
			}
		}
	}
	return n
}

// begin starts and lets things happen.
func (w *shell) begin() *process {
	p := w.start(false)
	time.Sleep(time.Second)
	w.settle(p)
	return p
}

// holds says whether every slot is the package's.
func (w *shell) holds(b build) {
	w.t.Helper()
	if len(w.disk.slots) != 2 {
		w.t.Fatalf("%d slots", len(w.disk.slots))
	}
	for _, c := range w.disk.slots {
		if c.PackageHash != b.hash || c.StateVersion != b.schema {
			w.t.Errorf("a slot holds the state of package %.8s, version %d", c.PackageHash, c.StateVersion)
		}
	}
}

// A newer package migrates the state of an orderly stop; both slots are written before its first step, so that a crash right after it needs
// nothing of the older one.
//
// Proves: ST-5, RS-5
func TestANewPackageMigratesAndTakesOver(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.stop(w.run(30))
		before := w.disk.slots[0]
		w.build, w.migrates = version(7, 2, "migrate"), []uint32{1}
		p := w.begin()
		w.holds(w.build)
		if c := w.disk.slots[1]; c.Step != before.Step || string(c.State) != string(before.State) {
			t.Errorf("the first slot is of step %d, the older package stopped at step %d", c.Step, before.Step)
		}
		w.crash(p)
		p = w.run(5)
		w.crash(p)
		p = w.run(5)
		w.stop(p)
		if p.State().Halted != "" || p.State().StepNo <= before.Step {
			t.Errorf("halted %q at step %d", p.State().Halted, p.State().StepNo)
		}
		if w.counted("informs") > 0 {
			t.Error("nothing was lost, and the strategy was told of it")
		}
	})
}

// What cannot be migrated is refused with its cause, and nothing is overwritten: the older package goes on.
//
// Proves: ST-5, AD-2
func TestAStateThatCannotBeMigratedIsRefused(t *testing.T) {
	failing := version(7, 2, "migrate")
	failing.migrate = func(uint32, []byte) ([]byte, error) { return nil, errors.New("KeyError: 'fast'") }
	dying := version(7, 2, "migrate")
	dying.migrate = nil // its runner ends over it
	for name, c := range map[string]struct {
		build    build
		migrates []uint32
		want     string
		admit    bool // found before the runner starts
	}{
		"not listed": {version(7, 3, "migrate"), []uint32{2}, "migrates from [2]; add 1 to state.migrates_from", true},
		"no hook":    {version(7, 2), []uint32{1}, "and no migrate; nothing was changed", false},
		"it fails":   {failing, []uint32{1}, "KeyError: 'fast'", false},
		"it dies":    {dying, []uint32{1}, "did not survive the migration", false},
		"older":      {version(7, 0, "migrate"), nil, "the package knows 0; run the newer package", true},
	} {
		t.Run(name, func(t *testing.T) {
			takeOver(t, func(w *shell) {
				w.stop(w.run(30))
				slots, steps := append([]supervisor.Checkpoint(nil), w.disk.slots...), w.disk.slots[0].Step
				epoch := w.disk.epoch
				w.build, w.migrates = c.build, c.migrates
				p := w.start(false)
				<-p.Done()
				w.leave(p)
				err := p.Err()
				if err == nil || !strings.Contains(err.Error(), string(ipc.ReasonStateSchemaIncompatible)) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("it ends with: %v", err)
				}
				var incompatible *supervisor.IncompatibleError
				if !errors.As(err, &incompatible) {
					t.Errorf("it ends with a %T", err)
				}
				if c.admit != (p.State() == nil || p.State().Epoch == epoch) {
					t.Errorf("an epoch was taken by what admission refuses, or the other way round")
				}
				for i := range slots {
					if string(w.disk.slots[i].Core) != string(slots[i].Core) || w.disk.slots[i].PackageHash != present.hash {
						t.Errorf("slot %d was overwritten", i)
					}
				}
				w.build, w.migrates = present, nil
				p = w.run(5)
				w.stop(p)
				if p.State().Halted != "" || p.State().StepNo <= steps {
					t.Errorf("the older package: halted %q at step %d", p.State().Halted, p.State().StepNo)
				}
			})
		})
	}
}

// After a crash the log holds answers of the older package, which the newer one cannot repeat: with on_recovered it is told, and takes over
// from there; without it is refused, and the older package can go on.
//
// Proves: RS-5, NN-7, AD-2
func TestANewPackageOnAnUnfinishedLog(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.unfinished()
		w.build = version(7, 1)
		p := w.start(false)
		<-p.Done()
		w.leave(p)
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), string(ipc.ReasonPackageHashMismatch)) || !strings.Contains(err.Error(), "has no on_recovered") {
			t.Errorf("without on_recovered: %v", err)
		}
		w.build = version(7, 1, "on_recovered")
		p = w.begin()
		w.holds(w.build)
		w.crash(p)
		told := w.counted("informs")
		if told == 0 {
			t.Error("the new package was not told")
		}
		p = w.run(10)
		w.stop(p)
		if p.State().Halted != "" || p.State().Recovery != nil {
			t.Errorf("halted %q, recovering %v", p.State().Halted, p.State().Recovery)
		}
		if w.counted("informs") != told {
			t.Error("its own log was not replayed")
		}
	})
}

// An informed strategy starts on its checkpoint; the log after it is in the core alone, and the next start agrees with it to the byte.
//
// Proves: RS-5, ST-1, NN-7
func TestAnInformedStrategyIsToldWhatHappened(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.params.Inform = true
		died := w.unfinished().State()
		p := w.begin()
		w.crash(p)
		s := p.State()
		if w.counted("informs") == 0 || s.Recovery != nil || s.Halted != "" {
			t.Errorf("informs %d, recovering %v, halted %q", w.counted("informs"), s.Recovery, s.Halted)
		}
		if s.StepNo <= died.StepNo || s.Book().Position(btc) != w.venue.sink.position {
			t.Errorf("step %d after step %d, position %s, at I %s", s.StepNo, died.StepNo, s.Book().Position(btc), w.venue.sink.position)
		}
		again := core.New(here, lineage)
		for _, b := range w.disk.batches {
			for rest := b.Inputs; len(rest) > 0; {
				in, tail, err := core.ReadInput(rest)
				if err != nil {
					t.Fatal(err)
				}
				if i, ok := in.(*core.Inform); ok {
					w.heard(i.Event)
				}
				if _, err := again.Step(in); err != nil {
					t.Fatal(err)
				}
				rest = tail
			}
		}
	})
}

// heard looks at what on_recovered was told.
func (w *shell) heard(bytes []byte) {
	event, err := ipc.DecodeEvent(bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	told := event.(*ipc.Recovered)
	if len(told.IntentsSinceCheckpoint) == 0 {
		w.t.Error("it was not told of the intents since the checkpoint")
	}
	for _, i := range told.IntentsSinceCheckpoint {
		if i.Status != w.disk.statuses[i.Key] && !w.disk.statuses[i.Key].Terminal() {
			w.t.Errorf("key %s is %s in on_recovered, %s in the ledger", i.Key, i.Status, w.disk.statuses[i.Key])
		}
	}
}

var haltNow = core.Command{Op: core.OpHalt, Who: "operator", Restriction: gate.Unrestricted()}

// leave ends what belongs to a process that ended by itself.
func (w *shell) leave(p *process) {
	p.ledger.kill()
	p.link.close()
	p.cancel()
}
