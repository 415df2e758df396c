package supervisor

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// soon makes the watcher look every 10 ms.
const soon = 40 * time.Millisecond

// What only a sandbox counts climbs its ladder while the runner lives and does nothing: told, degraded, halted, and in the log.
// Proves: SB-7, SB-8, SB-4, SB-2, DOD-2
func TestWhatASandboxCountsClimbsItsLadder(t *testing.T) {
	for name, c := range map[string]struct {
		reason ipc.ReasonCode
		kind   guard.Kind
		grow   func(n int64, u *sandbox.Usage, l *sandbox.LogStats)
	}{
		"lines":   {ipc.ReasonLogCeiling, guard.Log, func(n int64, _ *sandbox.Usage, l *sandbox.LogStats) { l.DroppedLines = n }},
		"bytes":   {ipc.ReasonLogCeiling, guard.Log, func(n int64, _ *sandbox.Usage, l *sandbox.LogStats) { l.DroppedBytes = n }},
		"threads": {ipc.ReasonSandboxPIDs, guard.Threads, func(n int64, u *sandbox.Usage, _ *sandbox.LogStats) { u.PIDsRefused = n }},
		"calls": {ipc.ReasonSandboxCall, guard.Calls, func(n int64, u *sandbox.Usage, _ *sandbox.LogStats) {
			for range n {
				u.Refused.Add("socket")
			}
		}},
		"cpu": {ipc.ReasonSandboxCPU, guard.CPU, func(n int64, u *sandbox.Usage, _ *sandbox.LogStats) { u.Throttled = time.Duration(n) * time.Hour }},
	} {
		t.Run(name, func(t *testing.T) {
			var looks atomic.Int64
			w := play(t, empty, func(cfg *InstanceConfig, r *scripted) {
				cfg.Stall = soon
				cfg.Params.Ladders = map[guard.Kind]guard.Rule{c.kind: {Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 2, Halt: 4}}
				r.usage = func() sandbox.Usage {
					u := sandbox.UnknownUsage()
					c.grow(looks.Add(1), &u, &sandbox.LogStats{})
					return u
				}
				r.logs = func() (l sandbox.LogStats) {
					u := sandbox.UnknownUsage()
					c.grow(looks.Load(), &u, &l)
					return l
				}
			})
			w.until("degraded", func(t *Tally) bool {
				return t.Health == core.Degraded && t.Reason == c.reason || t.Health == core.Halted
			})
			w.until("halted", func(t *Tally) bool {
				return t.Health == core.Halted && t.Reason == c.reason && t.Reasons[c.reason] >= 4
			})
			w.finish()
			if len(w.state.Violations[c.kind].Times) < 4 {
				t.Errorf("the ladder holds %v", w.state.Violations)
			}
		})
	}
}

// What a compute part was refused climbs the ladders of its strategy, and what is only known after its end is told.
// Proves: SB-7, SB-8, LN-2
func TestAComputePartsViolationsAreItsStrategys(t *testing.T) {
	var looks atomic.Int64
	w := play(t, empty, func(cfg *InstanceConfig, _ *scripted) {
		l := &lane{broke: func() []sandbox.Violation {
			looks.Add(1)
			return []sandbox.Violation{{Kind: sandbox.ViolationCalls, Observed: 1, Unit: "calls of ptrace", Reason: ipc.ReasonSandboxCall}}
		}}
		allowed(cfg, l, false)
		cfg.Stall = soon
		cfg.Params.Ladders = map[guard.Kind]guard.Rule{guard.Calls: {Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 2, Halt: 4}}
	})
	w.until("halted", func(t *Tally) bool { return t.Health == core.Halted && t.Reason == ipc.ReasonSandboxCall })
	w.finish()
	told := 0
	w.stats.Read(desk, func(t *Tally) { told = int(t.Reasons[ipc.ReasonSandboxCall]) })
	if told < 5 || int64(told) < looks.Load() {
		t.Errorf("%d violations were told of %d; the last one comes after the end", told, looks.Load())
	}
}

// A runner that keeps its limits, and counters that nobody can read, are no violation; what was dropped before the runner's end is not forgotten.
// Proves: SB-7, SB-8
func TestOnlyWhatIsNewIsAViolation(t *testing.T) {
	was, is := sandbox.UnknownUsage(), sandbox.UnknownUsage()
	logs := sandbox.LogStats{DroppedLines: 7, DroppedBytes: 900}
	if got := sandbox.Since(was, is, logs, logs); len(got) != 0 {
		t.Errorf("violations %v of nothing", got)
	}
	is.PIDsRefused = 3
	more := sandbox.LogStats{DroppedLines: 9, DroppedBytes: 990}
	got := sandbox.Since(was, is, logs, more)
	if len(got) != 2 || got[0].Observed != 3 || got[0].Reason != ipc.ReasonSandboxPIDs || got[1].Observed != 2 || got[1].Reason != ipc.ReasonLogCeiling {
		t.Errorf("violations %v", got)
	}
	w := play(t, empty, func(cfg *InstanceConfig, r *scripted) { // it looks once a second: only the end tells
		r.logs = func() sandbox.LogStats { return more }
	})
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	w.finish()
	w.stats.Read(desk, func(tally *Tally) {
		if tally.Reasons[ipc.ReasonLogCeiling] != 1 {
			t.Errorf("reasons %v", tally.Reasons)
		}
	})
}

// A refused call that a step fails of is counted by the core; what the sandbox counted of it is not counted again. One that is swallowed is, and
// is named.
// Proves: SB-3, SB-7, SB-8
func TestARefusedCallCountsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		fault  *ipc.Fault
		detail string
	}{
		"let through": {&ipc.Fault{Kind: "exception", Message: "PermissionError: [Errno 1] Operation not permitted"}, "step 2: PermissionError: [Errno 1] Operation not permitted"},
		"swallowed":   {nil, "limit 0 calls of socket, fork, observed 3"},
	} {
		t.Run(name, func(t *testing.T) {
			var step sync.Mutex // a look that falls into the step waits for its end
			var tried atomic.Bool
			notes := &noteKeeper{}
			w := play(t, func(*ipc.Deliver) *ipc.Answer {
				answer := &ipc.Answer{}
				if tried.Load() {
					answer.Fault, c.fault = c.fault, nil
				}
				return answer
			}, func(cfg *InstanceConfig, r *scripted) {
				rule := guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 1 << 30, Halt: 1 << 30}
				cfg.Params.Faults, cfg.Params.Ladders = rule, map[guard.Kind]guard.Rule{guard.Calls: rule}
				notes.Observer, cfg.Observer = cfg.Observer, notes
				r.usage = func() sandbox.Usage {
					step.Lock()
					defer step.Unlock()
					u := sandbox.UnknownUsage()
					if tried.Load() {
						u.Refused.Add("socket")
						u.Refused.Add("fork")
						u.Refused.Add("socket")
					}
					return u
				}
			})
			w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
			step.Lock()
			tried.Store(true)
			w.quote()
			w.until("the step is done", func(t *Tally) bool { return t.Outcomes[core.Applied]+t.Outcomes[core.Faulted] == 2 })
			step.Unlock()
			w.finish()
			if got := notes.of(ipc.ReasonSandboxCall); !slices.Equal(got, []string{c.detail}) {
				t.Errorf("told %q", got)
			}
		})
	}
}

// lastSave holds the checkpoint up until what it is told to wait for has happened.
type lastSave struct {
	Ledger
	wait func()
}

func (l *lastSave) SaveCheckpoint(c Checkpoint) error {
	l.wait()
	return l.Ledger.SaveCheckpoint(c)
}

// What a runner is refused while its instance takes no inputs any more, and only saves, is told as well, and once.
// Proves: SB-7, SB-8
func TestARefusedCallAtTheVeryEndIsTold(t *testing.T) {
	var saving atomic.Bool
	looks := make(chan struct{}, 1000)
	notes := &noteKeeper{}
	w := play(t, empty, func(cfg *InstanceConfig, r *scripted) {
		cfg.Stall = soon
		notes.Observer, cfg.Observer = cfg.Observer, notes
		cfg.Ledger = &lastSave{cfg.Ledger, func() {
			saving.Store(true)
			<-looks
			<-looks // the look before this one is over
		}}
		r.usage = func() sandbox.Usage {
			u := sandbox.UnknownUsage()
			if saving.Load() {
				u.Refused.Add("ptrace")
				looks <- struct{}{}
			}
			return u
		}
	})
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	w.finish()
	if got := notes.of(ipc.ReasonSandboxCall); !slices.Equal(got, []string{"limit 0 calls of ptrace, observed 1"}) {
		t.Errorf("told %q", got)
	}
}

// noteKeeper keeps the details of notes.
type noteKeeper struct {
	Observer
	mu    sync.Mutex
	notes []core.Note
}

func (k *noteKeeper) Noted(a ipc.Address, n core.Note) {
	k.mu.Lock()
	k.notes = append(k.notes, n)
	k.mu.Unlock()
	k.Observer.Noted(a, n)
}

func (k *noteKeeper) of(reason ipc.ReasonCode) (details []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.notes {
		if n.Reason == reason {
			details = append(details, strings.TrimPrefix(n.Detail, "calls: ")) // in front when nobody takes inputs any more
		}
	}
	return details
}

// A window that breaks a promise lowers the priority, the next one degrades; one that keeps it gives everything back; enough broken ones halt.
// Nothing but the log decides what a later process makes of it.
// Proves: LN-6, LN-7, BP-4
func TestBrokenPromisesLowerDegradeAndHalt(t *testing.T) {
	var burning atomic.Bool
	var used time.Duration
	burning.Store(true)
	w := play(t, empty, func(cfg *InstanceConfig, r *scripted) {
		cfg.Objective = guard.Objective{Window: ipc.Nanos(20 * time.Millisecond), DropRate: -1, CPU: ipc.Nanos(time.Second)}
		cfg.Params.Ladders = map[guard.Kind]guard.Rule{guard.SLOCPU: {Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 3, Halt: 40}}
		r.usage = func() sandbox.Usage {
			u := sandbox.UnknownUsage()
			if burning.Load() {
				used += time.Hour
			}
			u.CPU = used
			return u
		}
	})
	w.until("degraded", func(t *Tally) bool { return t.Health == core.Degraded && t.Reason == ipc.ReasonSLOCPU })
	if p := w.runner.priorities(); len(p) != 1 || !p[0] {
		t.Fatalf("the runner's priority was set to %v, want lowered", p)
	}
	burning.Store(false)
	w.until("healthy again", func(t *Tally) bool { return t.Health == core.Healthy && t.Reasons[ipc.ReasonConditionMet] == 1 })
	for deadline := time.Now().Add(time.Minute); len(w.runner.priorities()) < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if p := w.runner.priorities(); len(p) != 2 || p[1] {
		t.Fatalf("the runner's priority was set to %v, want its own again", p)
	}
	burning.Store(true)
	w.until("halted", func(t *Tally) bool { return t.Health == core.Halted && t.Reason == ipc.ReasonSLOCPU })
	w.finish()
}

// Input that is too flawed halts the instance with its delivery; after a resume that delivery is made, and nothing is lost.
// Proves: CB-1, CB-3
func TestADeliveryThatHaltsIsMadeAfterAResume(t *testing.T) {
	w := play(t, empty, func(cfg *InstanceConfig, _ *scripted) {
		cfg.Params.Ladders = map[guard.Kind]guard.Rule{guard.Quality: {Window: ipc.Nanos(time.Hour), Halt: 1}}
	})
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: bitcoin, Source: "h", RecvTS: 1, Seq: 1, Quality: ipc.QualityStale}})
	if err != nil {
		t.Fatal(err)
	}
	w.Offer(Market{Recv: 1, Event: event})
	w.until("halted", func(t *Tally) bool { return t.Health == core.Halted && t.Reason == ipc.ReasonQualityStale })
	if _, err := w.Command(t.Context(), core.Command{Op: core.OpResume, Who: "operator", Restriction: unrestricted}); err != nil {
		t.Fatal(err)
	}
	w.until("answered", func(t *Tally) bool { return t.Outcomes[core.Applied] == 2 })
	w.finish()
}

// Slow answers and dropped events break their promises by the same way.
// Proves: LN-6, LN-7, RS-3
func TestSlowAnswersAndDropsBreakPromises(t *testing.T) {
	hold := make(chan struct{})
	w := play(t, func(*ipc.Deliver) *ipc.Answer {
		<-hold
		time.Sleep(2 * time.Millisecond)
		return &ipc.Answer{}
	}, func(cfg *InstanceConfig, _ *scripted) {
		cfg.QueueEvents = 1
		cfg.Objective = guard.Objective{Window: ipc.Nanos(10 * time.Millisecond), P95: ipc.Nanos(time.Millisecond), DropRate: 0}
		rule := guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 2}
		cfg.Params.Ladders = map[guard.Kind]guard.Rule{guard.SLOLatency: rule, guard.SLODrops: rule}
	})
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	for range 100 {
		w.Offer(Market{Event: nil}) // of nothing: never conflated, and dropped above the ceiling
	}
	if c := w.Counts(); c.Dropped == 0 {
		t.Fatalf("nothing was dropped: %+v", c)
	}
	w.box.DropMarket()
	w.quote()
	close(hold)
	w.until("drops are told", func(t *Tally) bool { return t.Reasons[ipc.ReasonSLODrops] > 0 })
	go func() {
		for {
			select {
			case <-w.Done():
				return
			case <-time.After(time.Millisecond):
				w.quote()
			}
		}
	}()
	w.until("latency degrades", func(t *Tally) bool {
		return t.Health == core.Degraded && t.Reasons[ipc.ReasonSLOLatency] >= 2
	})
	w.finish()
}

// An instance whose runner is up and answered its last healthcheck, and that finishes nothing, is found; and freed when it goes on.
// Proves: BP-4, CB-3
func TestAnInstanceThatDoesNotGoOnIsFound(t *testing.T) {
	hang := make(chan struct{})
	first := true
	w := play(t, func(*ipc.Deliver) *ipc.Answer {
		if first {
			first = false
			<-hang
		}
		return &ipc.Answer{}
	}, func(cfg *InstanceConfig, _ *scripted) { cfg.Stall = soon })
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 && !t.Progress.Stalled })
	if w.Progress().LastStep.IsZero() {
		t.Error("no step was finished, it says")
	}
	w.quote()
	w.until("found", func(t *Tally) bool {
		return t.Health == core.Degraded && t.Reason == ipc.ReasonNoProgress && t.Progress.Stalled
	})
	close(hang)
	w.until("freed", func(t *Tally) bool { return t.Health == core.Healthy && !t.Progress.Stalled })
	w.finish()
}

// Who goes on is not stalled, however much waits; who has nothing to do is not, however long; a delivery that is open counts as waiting.
// Proves: BP-4
func TestProgressIsJudgedByWhatIsFinished(t *testing.T) {
	p := offline(&keptLedger{}, nil)
	p.cfg.Stall = 10 * time.Second
	now := time.Now()
	look := func(after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		if p.watchProgress(now); p.Progress().Stalled != want {
			t.Fatalf("stalled is %v", !want)
		}
	}
	look(time.Hour, false)
	p.Offer(Market{})
	for n := range int64(4) {
		p.progress.finished.Store(n + 1)
		look(4*time.Second, false)
	}
	look(4*time.Second, false)
	look(4*time.Second, false)
	look(time.Hour, false) // the machine was asleep
	look(4*time.Second, false)
	look(4*time.Second, false)
	look(2*time.Second, true)
	p.progress.finished.Store(9)
	look(time.Millisecond, false)
	p.box.DropMarket()
	look(4*time.Second, false)
	look(4*time.Second, false)
	p.progress.open.Store(true)
	look(4*time.Second, false)
	look(4*time.Second, false)
	look(4*time.Second, true)
	p.progress.open.Store(false)
	look(time.Millisecond, false)
}

// A window that was made longer by a callback that hung may use more.
// Proves: LN-6
func TestALongWindowMayUseMore(t *testing.T) {
	for _, c := range []struct{ used, window, length, want ipc.Nanos }{{500, 100, 100, 500}, {500, 100, 90, 500}, {500, 100, 500, 100}, {0, 100, 0, 0}} {
		if got := perWindow(c.used, c.window, c.length); got != c.want {
			t.Errorf("%d used in %d: %d in a window of %d, want %d", c.used, c.length, got, c.window, c.want)
		}
	}
}

// What an earlier process saw of its progress does not bind this one.
// Proves: BP-4
func TestProgressOfAnEarlierProcessIsForgotten(t *testing.T) {
	p := offline(&keptLedger{}, nil)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	if err := p.takeOver(1); err != nil {
		t.Fatal(err)
	}
	if err := p.apply(p.stamp(noProgress(true).input)); err != nil {
		t.Fatal(err)
	}
	if !p.state.Mode().NoTrade {
		t.Fatal("not restricted")
	}
	if err := p.agreeOnProgress(); err != nil {
		t.Fatal(err)
	}
	if p.state.Mode() != gate.Join(nil) {
		t.Errorf("held: %+v", p.state.Held)
	}
}

// A soft deadline of 1 ms is judged by when the answer came: a timer of an idle process would be late by as much.
// Proves: SB-1
func TestADeadlineOfAMillisecondIsJudgedOnArrival(t *testing.T) {
	var pause atomic.Int64
	w := play(t, func(*ipc.Deliver) *ipc.Answer {
		time.Sleep(time.Duration(pause.Load()))
		return &ipc.Answer{}
	}, func(cfg *InstanceConfig, _ *scripted) { cfg.Deadlines.Soft = time.Millisecond })
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	answered := func(t *Tally) uint64 { return t.Outcomes[core.Applied] + t.Outcomes[core.Late] }
	ask := func() {
		var before uint64
		w.stats.Read(desk, func(t *Tally) { before = answered(t) })
		w.quote()
		w.until("an answer", func(t *Tally) bool { return answered(t) > before })
	}
	pause.Store(int64(5 * time.Millisecond))
	for range 20 {
		ask()
	}
	w.stats.Read(desk, func(tally *Tally) {
		if tally.Outcomes[core.Late] != 20 || tally.Outcomes[core.Applied] != 1 {
			t.Errorf("of twenty answers after 5 ms: %v", tally.Outcomes)
		}
	})
	pause.Store(0)
	onTime := uint64(0)
	for n := 0; n < 1000 && onTime == 0; n++ { // a busy machine makes some of them late
		ask()
		w.stats.Read(desk, func(tally *Tally) { onTime = tally.Outcomes[core.Applied] - 1 })
	}
	if onTime == 0 {
		t.Error("not one of a thousand answers that came at once was in time")
	}
	w.finish()
}

// What the supervisor does for itself while a strategy is at work is not the strategy's time.
// Proves: SB-1
func TestTheSupervisorsOwnTimeIsNotTheStrategys(t *testing.T) {
	busy, answer := make(chan struct{}), make(chan struct{})
	w := play(t, func(*ipc.Deliver) *ipc.Answer {
		<-answer
		return &ipc.Answer{}
	}, func(cfg *InstanceConfig, _ *scripted) { cfg.Deadlines.Soft = 100 * time.Millisecond })
	w.until("it runs", func(t *Tally) bool { return t.Outcomes[core.Applied] == 1 })
	inTime := false
	for n := 0; n < 20 && !inTime; n++ { // a busy machine may need longer than the deadline for the rest
		w.quote()
		for !w.progress.open.Load() {
			time.Sleep(100 * time.Microsecond)
		}
		w.later(0, func() error {
			busy <- struct{}{}
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		<-busy
		answer <- struct{}{}
		w.until("an answer", func(t *Tally) bool { return t.Outcomes[core.Late]+t.Outcomes[core.Applied] == uint64(n)+2 })
		w.stats.Read(desk, func(tally *Tally) { inTime = tally.Outcomes[core.Applied] == 2 })
	}
	if !inTime {
		t.Error("the strategy answered at once, and was late each time by what the supervisor did meanwhile")
	}
	close(answer)
	w.finish()
}
