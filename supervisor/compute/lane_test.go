package compute

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

var here = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// function is an Executor made of one function.
type function struct {
	submit func(context.Context, Task) Result
	closed atomic.Int32
}

func (f *function) Submit(ctx context.Context, t Task) Result { return f.submit(ctx, t) }
func (f *function) Close() error                              { f.closed.Add(1); return nil }

// words collects what the lane tells.
type words struct {
	mu  sync.Mutex
	all []core.Computed
	one chan struct{}
}

func hear(l interface{ Open(func(core.Computed)) }) *words {
	w := &words{one: make(chan struct{}, 1<<16)}
	l.Open(func(c core.Computed) {
		w.mu.Lock()
		w.all = append(w.all, c)
		w.mu.Unlock()
		w.one <- struct{}{}
	})
	return w
}

// wait waits for n more words.
func (w *words) wait(t testing.TB, n int) []core.Computed {
	t.Helper()
	for range n {
		select {
		case <-w.one:
		case <-time.After(time.Minute):
			t.Fatal("the lane says nothing")
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func task(step ipc.Step) core.Task {
	return core.Task{Step: step, Name: "fit", Payload: []byte{byte(step)}, RequestedTS: 7}
}

// Proves: LN-2
func TestALaneCarriesOut(t *testing.T) {
	f := &function{submit: func(_ context.Context, t Task) Result {
		if t.Address != here || t.Name != "fit" || t.RequestedTS != 7 {
			return Unavailable(ipc.ReasonAnswerMalformed, "not what was asked")
		}
		return Done(append([]byte("r"), t.Payload...))
	}}
	l := NewLane(Config{Address: here, Executor: f, Queue: 4, Logger: quiet()})
	w := hear(l)
	for step := range ipc.Step(4) {
		l.Submit(task(step), time.Time{})
	}
	for i, c := range w.wait(t, 4) {
		if c.Step != ipc.Step(i) || c.Reason != "" || !bytes.Equal(c.Payload, []byte{'r', byte(i)}) {
			t.Errorf("word %d is %+v", i, c)
		}
	}
	l.Close()
	if c := l.Counts(); c.Submitted != 4 || c.Done != 4 || c.Waiting+c.InFlight != 0 || f.closed.Load() != 1 {
		t.Errorf("%+v, closed %d times", c, f.closed.Load())
	}
	l.Submit(task(9), time.Time{})
	if c := w.wait(t, 1)[4]; c.Reason != ipc.ReasonComputeUnavailable {
		t.Errorf("a closed lane says %+v", c)
	}
}

// While an executor hangs, Submit returns at once: it queues as much as it may, then refuses. What is stale gives up its place.
//
// Proves: LN-3, LN-5, NN-4
func TestAHangingExecutorBlocksNobody(t *testing.T) {
	release := make(chan struct{})
	f := &function{submit: func(ctx context.Context, _ Task) Result {
		select {
		case <-release:
			return Done(nil)
		case <-ctx.Done():
			return Unavailable(ipc.ReasonShutdownRequested, "")
		}
	}}
	l := NewLane(Config{Address: here, Executor: f, InFlight: 2, Queue: 3, Logger: quiet()})
	w := hear(l)
	for step := range ipc.Step(2) {
		l.Submit(task(step), time.Time{})
	}
	until(t, func() bool { return l.Counts().InFlight == 2 })
	soon := time.Now().Add(100 * time.Millisecond)
	for step := ipc.Step(2); step < 5; step++ {
		l.Submit(task(step), soon)
	}
	l.Submit(task(5), time.Time{})
	if all := w.wait(t, 1); all[0].Step != 5 || all[0].Reason != ipc.ReasonComputeCongested {
		t.Fatalf("a full queue says %+v", all)
	}
	time.Sleep(time.Until(soon) + time.Millisecond)
	l.Submit(task(6), time.Time{}) // takes the place of the three that are stale
	stale := 0
	for _, c := range w.wait(t, 3)[1:] {
		if c.Reason == ipc.ReasonComputeStale && c.Step >= 2 && c.Step < 5 {
			stale++
		}
	}
	if stale != 3 {
		t.Errorf("%d of three stale tasks were given up", stale)
	}
	close(release)
	w.wait(t, 3)
	l.Close()
	if c := l.Counts(); c.Done != 3 || c.Unavailable[ipc.ReasonComputeStale] != 3 || c.Unavailable[ipc.ReasonComputeCongested] != 1 || c.Stale != 0 {
		t.Errorf("%+v", c)
	}
}

func until(t testing.TB, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
	}
}

// A result after the ttl is discarded and counted, and one that is too large refused.
//
// Proves: LN-2
func TestLateAndLargeResultsAreDiscarded(t *testing.T) {
	f := &function{submit: func(_ context.Context, t Task) Result {
		if t.Step == 1 {
			time.Sleep(time.Until(t.Deadline) + time.Millisecond)
			return Done([]byte("late"))
		}
		return Done(make([]byte, MaxResultBytes+int(t.Step)-2))
	}}
	l := NewLane(Config{Address: here, Executor: f, Queue: 8, Logger: quiet()})
	w := hear(l)
	l.Submit(task(1), time.Now().Add(20*time.Millisecond))
	l.Submit(task(2), time.Time{})
	l.Submit(task(3), time.Time{})
	got := w.wait(t, 3)
	if got[0].Reason != ipc.ReasonComputeStale || got[0].Payload != nil || len(got[1].Payload) != MaxResultBytes || got[2].Reason != ipc.ReasonFrameTooLarge {
		t.Errorf("%s, %d bytes, %s", got[0].Reason, len(got[1].Payload), got[2].Reason)
	}
	l.Close()
	if c := l.Counts(); c.Stale != 1 {
		t.Errorf("%+v", c)
	}
}

// A lane that is closed ends what is under way, waits for it, and tells nothing more: after the next start it is lost (COMPUTE_LOST).
//
// Proves: LN-2
func TestACloseTellsNothing(t *testing.T) {
	began := make(chan struct{})
	ended := atomic.Bool{}
	f := &function{submit: func(ctx context.Context, _ Task) Result {
		close(began)
		<-ctx.Done()
		ended.Store(true)
		return Done([]byte("too late"))
	}}
	l := NewLane(Config{Address: here, Executor: f, Queue: 8, Logger: quiet()})
	w := hear(l)
	l.Submit(task(1), time.Time{})
	<-began
	l.Submit(task(2), time.Time{})
	l.Close()
	if len(w.all) != 0 || !ended.Load() || f.closed.Load() != 1 {
		t.Errorf("told %+v, ended %v, closed %d", w.all, ended.Load(), f.closed.Load())
	}
}

// Services have lanes of their own, by name; one that hangs does not hold up the part.
//
// Proves: LN-3, EX-2
func TestLanesAreApart(t *testing.T) {
	hang := &function{submit: func(ctx context.Context, _ Task) Result {
		<-ctx.Done()
		return Unavailable(ipc.ReasonShutdownRequested, "")
	}}
	part := &function{submit: func(_ context.Context, t Task) Result { return Done([]byte(t.Name)) }}
	lane := func(e Executor) *Lane { return NewLane(Config{Address: here, Executor: e, Queue: 8, Logger: quiet()}) }
	l := &Lanes{Part: lane(part), Named: map[string]*Lane{"llm": lane(hang)}}
	w := hear(l)
	l.Submit(core.Task{Step: 1, Name: "llm"}, time.Time{})
	l.Submit(core.Task{Step: 2, Name: "fit"}, time.Time{})
	if got := w.wait(t, 1)[0]; got.Step != 2 || string(got.Payload) != "fit" {
		t.Errorf("%+v", got)
	}
	l.Close()
	alone := &Lanes{Named: map[string]*Lane{}}
	w = hear(alone)
	alone.Submit(core.Task{Step: 3, Name: "fit"}, time.Time{})
	if got := w.wait(t, 1)[0]; got.Step != 3 || got.Reason != ipc.ReasonComputeUnavailable {
		t.Errorf("%+v", got)
	}
	alone.Close()
}

// Whatever an executor does, every task is told of exactly once and carried out at most once, and the accounts add up.
//
// Proves: LN-2, LN-3
func TestEveryTaskIsToldOfOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 60).Draw(t, "plan")
		inFlight, queue := rapid.IntRange(1, 4).Draw(t, "in flight"), rapid.IntRange(1, 6).Draw(t, "queue")
		var mu sync.Mutex
		carried := map[ipc.Step]int{}
		f := &function{submit: func(_ context.Context, t Task) Result {
			mu.Lock()
			carried[t.Step]++
			mu.Unlock()
			switch plan[t.Step] {
			case 0:
				time.Sleep(200 * time.Microsecond)
			case 1:
				return Unavailable(ipc.ReasonStrategyException, "no")
			case 2:
				return Done(make([]byte, MaxResultBytes+1))
			}
			return Done(nil)
		}}
		l := NewLane(Config{Address: here, Executor: f, InFlight: inFlight, Queue: queue, Logger: quiet()})
		w := hear(l)
		for step, what := range plan {
			deadline := time.Time{}
			if what == 3 {
				deadline = time.Now().Add(-time.Second)
			}
			l.Submit(task(ipc.Step(step)), deadline)
		}
		for n := 0; n < len(plan); n++ {
			select {
			case <-w.one:
			case <-time.After(time.Minute):
				t.Fatal("the lane says nothing")
			}
		}
		l.Close()
		told := map[ipc.Step]int{}
		for _, c := range w.all {
			told[c.Step]++
		}
		for step, what := range plan {
			if told[ipc.Step(step)] != 1 || carried[ipc.Step(step)] > 1 || what == 3 && carried[ipc.Step(step)] > 0 {
				t.Fatalf("task %d (%d) was told of %d times and carried out %d times", step, what, told[ipc.Step(step)], carried[ipc.Step(step)])
			}
		}
		c := l.Counts()
		sum := c.Done
		for _, n := range c.Unavailable {
			sum += n
		}
		if c.Submitted != sum || int(sum) != len(plan) {
			t.Fatalf("%d tasks, %+v", len(plan), c)
		}
	})
}
