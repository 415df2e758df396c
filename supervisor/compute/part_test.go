package compute

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// scripted is a compute runner in a goroutine.
type scripted struct {
	inside, outside net.Conn
	once            sync.Once
	done            chan struct{}
	killed          atomic.Bool
	dropped         atomic.Int64 // lines
}

func (r *scripted) Conn(context.Context) (net.Conn, error) { return r.outside, nil }
func (r *scripted) PID() int                               { return 1 }
func (r *scripted) Done() <-chan struct{}                  { return r.done }
func (r *scripted) Usage() (sandbox.Usage, error)          { return sandbox.UnknownUsage(), nil }
func (r *scripted) Logs() sandbox.LogStats {
	return sandbox.LogStats{DroppedLines: r.dropped.Load()}
}
func (r *scripted) Exit() sandbox.Exit {
	if r.killed.Load() {
		return sandbox.Exit{Cause: sandbox.CauseKilled, Reason: sandbox.ReasonKilled}
	}
	return sandbox.Exit{Cause: sandbox.CauseOOM, Reason: sandbox.ReasonOOM}
}

func (r *scripted) Kill() error {
	r.killed.Store(true)
	r.end()
	return nil
}

func (r *scripted) end() {
	r.once.Do(func() {
		_ = r.inside.Close()
		_ = r.outside.Close()
		close(r.done)
	})
}

var packageHash = ipc.Digest{9}

// serve answers as on_task says; a nil answer ends the runner.
func (r *scripted) serve(fault *ipc.Fault, onTask func(*ipc.ComputeResult) *ipc.Answer) {
	defer r.end()
	c := ipc.NewConn(r.inside, ipc.FromAnyone)
	err := c.Send(&ipc.Hello{ABI: ipc.ABIVersion, SDK: "test", SDKVersion: "1", EventContract: ipc.EventContractVersion,
		IntentContract: ipc.IntentContractVersion, PackageHash: packageHash.String(), StateSchemaVersion: 1})
	for err == nil {
		var m ipc.Message
		if m, err = c.Receive(); err != nil {
			return
		}
		switch m := m.(type) {
		case *ipc.Init:
			err = c.Send(&ipc.Answer{Seq: m.Seq, Step: m.Step, Fault: fault})
		case *ipc.Deliver:
			a := onTask(m.Event.(*ipc.ComputeResult))
			if a == nil {
				return
			}
			if a.Seq = m.Seq; a.Step == 0 {
				a.Step = m.Step
			}
			err = c.Send(a)
		case *ipc.Stop:
			return
		}
	}
}

// rig is a part whose runners are scripted.
type rig struct {
	*Part
	started atomic.Int32
	last    atomic.Pointer[scripted]
	fails   atomic.Pointer[error] // of the next start
	fault   atomic.Pointer[ipc.Fault]
}

func newRig(t *testing.T, change func(*PartConfig), onTask func(*ipc.ComputeResult) *ipc.Answer) *rig {
	g := &rig{}
	cfg := PartConfig{Address: here, StrategyVersion: "1.0.0", PackageHash: packageHash.String(), RunID: "run", Mode: ipc.ModeLive, Deadline: time.Minute,
		Init: time.Minute, Stop: time.Second, RestartsPerHour: 100, Logger: quiet(),
		Start: func(context.Context) (sandbox.Runner, error) {
			g.started.Add(1)
			if err := g.fails.Load(); err != nil {
				return nil, *err
			}
			r := &scripted{done: make(chan struct{})}
			r.outside, r.inside = net.Pipe()
			g.last.Store(r)
			go r.serve(g.fault.Load(), onTask)
			return r, nil
		}}
	if change != nil {
		change(&cfg)
	}
	g.Part = NewPart(cfg)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func echo(r *ipc.ComputeResult) *ipc.Answer {
	return &ipc.Answer{Compute: []ipc.ComputeRequest{{Task: r.Task, Payload: append([]byte("r:"), r.Payload...)}}}
}

func (g *rig) ask(name string) Result {
	return g.Submit(context.Background(), Task{Address: here, Step: 5, Ordinal: 1, Name: name, Payload: []byte("p"), RequestedTS: 77})
}

// Proves: LN-2
func TestAPartAnswersThroughTheRunnerContract(t *testing.T) {
	var got *ipc.ComputeResult
	g := newRig(t, nil, func(r *ipc.ComputeResult) *ipc.Answer {
		got = r
		return echo(r)
	})
	g.Warm(t.Context())
	if r := g.ask("fit"); r.Reason != "" || string(r.Payload) != "r:p" {
		t.Fatalf("%+v", r)
	}
	if got.Task != "fit" || got.RequestStep != 5 || got.Ordinal != 1 || got.RequestedTS != 77 || string(got.Payload) != "p" {
		t.Errorf("the part got %+v", got)
	}
	if g.Started() != 1 || g.started.Load() != 1 {
		t.Errorf("%d runners for one task after a warm start", g.Started())
	}
}

// Faults of a compute runner are typed, cost at most a restart, and the next task is carried out (SB-6, SB-8).
//
// Proves: LN-3, SB-6, SB-8, NN-4
func TestAPartSurvivesItsRunners(t *testing.T) {
	g := newRig(t, func(c *PartConfig) { c.Deadline = 100 * time.Millisecond }, func(r *ipc.ComputeResult) *ipc.Answer {
		a := echo(r)
		switch r.Task {
		case "raise":
			return &ipc.Answer{Fault: &ipc.Fault{Kind: "exception", Message: "ValueError"}}
		case "bad":
			return &ipc.Answer{Fault: &ipc.Fault{Kind: "bad_return", Message: "int"}}
		case "spin":
			time.Sleep(time.Second)
		case "die":
			return nil
		case "nothing":
			a.Compute = nil
		case "two":
			a.Compute = append(a.Compute, a.Compute...)
		case "timer":
			a.Timers = []ipc.TimerRequest{{Op: ipc.TimerSet, TimerID: "t", DueTS: 1}}
		case "step":
			a.Step = 4
		}
		return a
	})
	for _, c := range []struct {
		task    string
		reason  ipc.ReasonCode
		runners uint64 // started so far, after the task that follows
	}{
		{"raise", ipc.ReasonStrategyException, 1},
		{"bad", ipc.ReasonStrategyFault, 1},
		{"spin", ipc.ReasonDeadlineHard, 2},
		{"die", ipc.ReasonCode(sandbox.ReasonOOM), 3},
		{"nothing", ipc.ReasonAnswerMalformed, 4},
		{"two", ipc.ReasonAnswerMalformed, 5},
		{"timer", ipc.ReasonAnswerMalformed, 6},
		{"step", ipc.ReasonAnswerMalformed, 7},
	} {
		if r := g.ask(c.task); r.Reason != c.reason || r.Payload != nil || r.Detail == "" {
			t.Errorf("%s: %+v, want %s", c.task, r, c.reason)
		}
		if r := g.ask("fit"); string(r.Payload) != "r:p" || g.Started() != c.runners {
			t.Errorf("after %s: %+v with %d runners, want %d", c.task, r, g.Started(), c.runners)
		}
	}
}

// What its runners were refused is told once, by those that live and by those that are gone.
//
// Proves: SB-7, SB-8
func TestAPartTellsWhatItsRunnersWereRefused(t *testing.T) {
	g := newRig(t, nil, func(r *ipc.ComputeResult) *ipc.Answer {
		if r.Task == "die" {
			return nil
		}
		return echo(r)
	})
	expect := func(when string, want ...int64) {
		t.Helper()
		var got []int64
		for _, v := range g.Violations() {
			if v.Reason != sandbox.ReasonLogCeiling {
				t.Errorf("%s: %+v", when, v)
			}
			got = append(got, v.Observed)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("before the first start")
	g.ask("fit")
	expect("of a runner that did nothing")
	g.last.Load().dropped.Store(3)
	expect("of one that lives", 3)
	expect("a second time")
	g.last.Load().dropped.Store(5)
	g.ask("die")
	g.ask("fit")
	g.last.Load().dropped.Store(7)
	expect("of one that is gone, and of the next", 2, 7)
}

// A part that cannot be started is tried again, more slowly each time, and no more often than restarts_per_hour.
//
// Proves: SB-7, SB-8
func TestAPartThatCannotStartGivesUp(t *testing.T) {
	g := newRig(t, func(c *PartConfig) { c.RestartsPerHour = 3 }, echo)
	g.fault.Store(&ipc.Fault{Kind: "exception", Message: "no model"})
	began := time.Now()
	if r := g.ask("fit"); r.Reason != ipc.ReasonInitFailed || !strings.Contains(r.Detail, "no model") {
		t.Errorf("%+v", r)
	}
	g.fault.Store(nil)
	broken := error(errors.New("no sandbox"))
	g.fails.Store(&broken)
	for range 3 {
		if r := g.ask("fit"); r.Reason != ipc.ReasonSandboxSetupFailed {
			t.Errorf("%+v", r)
		}
	}
	if waited := time.Since(began); waited < pauseFirst+2*pauseFirst+4*pauseFirst {
		t.Errorf("four starts within %s", waited)
	}
	g.fails.Store(nil)
	if r := g.ask("fit"); r.Reason != ipc.ReasonRunnerRestartsExhausted || g.started.Load() != 4 {
		t.Errorf("%+v after %d starts", r, g.started.Load())
	}
}

// A runner that hangs is ended when the lane is closed, whatever its deadline; and tasks run beside each other where there are runners for them.
//
// Proves: LN-2, LN-3
func TestAClosedLaneEndsAHangingRunner(t *testing.T) {
	both := make(chan struct{}, 2)
	g := newRig(t, func(c *PartConfig) { c.Runners = 2 }, func(*ipc.ComputeResult) *ipc.Answer {
		both <- struct{}{}
		time.Sleep(time.Second)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan Result, 2)
	for range 2 {
		go func() { got <- g.Submit(ctx, Task{Step: 1, Name: "hang"}) }()
	}
	<-both
	<-both
	cancel()
	for range 2 {
		if r := <-got; r.Reason != ipc.ReasonShutdownRequested {
			t.Errorf("%+v", r)
		}
	}
}
