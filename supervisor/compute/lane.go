package compute

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
)

// resultSlack is what a frame with a result needs beside its payload.
const resultSlack = 1 << 10

// MaxResultBytes bounds the payload of a result: it goes to the strategy in one frame, and into the log.
const MaxResultBytes = ipc.MaxAnswerBytes - resultSlack

// repeatAfter is how often the log hears of the same reason.
const repeatAfter = 10 * time.Second

// Config is what one lane needs.
type Config struct {
	Address  ipc.Address
	Executor Executor
	InFlight int // tasks under way at one time; at least 1
	Queue    int // tasks that wait; above it a task is refused (LN-5)
	Logger   *slog.Logger
}

// Counts are the accounts of a lane: Submitted = Done + the sum of Unavailable + Waiting + InFlight.
type Counts struct {
	Submitted   uint64
	Done        uint64 // results in time
	Unavailable map[ipc.ReasonCode]uint64
	Stale       uint64 // of those under COMPUTE_STALE: carried out, and discarded
	Waiting     int
	InFlight    int
}

// Lane is the compute lane of one instance: a bounded queue, and goroutines that give its tasks to an executor (LN-2, LN-3).
type Lane struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   func(core.Computed)

	mu     sync.Mutex
	work   *sync.Cond
	queue  []queued
	counts Counts
	closed bool
	told   map[ipc.ReasonCode]time.Time
}

type queued struct {
	task     core.Task
	deadline time.Time
}

func (q queued) stale(now time.Time) bool { return !q.deadline.IsZero() && now.After(q.deadline) }

// NewLane prepares a lane; nothing runs before Open.
func NewLane(cfg Config) *Lane {
	cfg.InFlight, cfg.Queue = max(1, cfg.InFlight), max(1, cfg.Queue)
	l := &Lane{cfg: cfg, told: map[ipc.ReasonCode]time.Time{}, counts: Counts{Unavailable: map[ipc.ReasonCode]uint64{}},
		log: cfg.Logger.With("strategy", cfg.Address.Strategy, "instance", cfg.Address.Instance, "lane", ipc.LaneCompute.String())}
	l.work = sync.NewCond(&l.mu)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Warmer is an Executor that has something to prepare before the first task, such as a runner to start.
type Warmer interface{ Warm(ctx context.Context) }

// Open starts the lane; done hears what became of every task.
func (l *Lane) Open(done func(core.Computed)) {
	l.done = done
	if w, ok := l.cfg.Executor.(Warmer); ok {
		l.wg.Go(func() { w.Warm(l.ctx) })
	}
	for range l.cfg.InFlight {
		l.wg.Go(l.carryOut)
	}
}

// Submit enqueues a task, or says at once why not. It never waits for a task.
func (l *Lane) Submit(t core.Task, deadline time.Time) {
	now := time.Now()
	l.mu.Lock()
	l.counts.Submitted++
	stale := l.dropStale(now)
	full := len(l.queue) >= l.cfg.Queue
	if !full && !l.closed {
		l.queue = append(l.queue, queued{t, deadline})
		l.work.Signal()
	}
	closed := l.closed
	l.mu.Unlock()
	for _, q := range stale {
		l.tell(q.task, Unavailable(ipc.ReasonComputeStale, "its ttl was over before its turn came"))
	}
	switch {
	case closed:
		l.tell(t, Unavailable(ipc.ReasonComputeUnavailable, "the lane is closed"))
	case full:
		l.tell(t, Unavailable(ipc.ReasonComputeCongested, fmt.Sprintf("%d tasks wait", l.cfg.Queue)))
	}
}

// dropStale takes tasks off the queue whose time is over: they must not hold a place. The lock is held.
func (l *Lane) dropStale(now time.Time) (stale []queued) {
	kept := l.queue[:0]
	for _, q := range l.queue {
		if q.stale(now) {
			stale = append(stale, q)
		} else {
			kept = append(kept, q)
		}
	}
	clear(l.queue[len(kept):]) // payloads
	l.queue = kept
	return stale
}

// carryOut takes one task after the other, until the lane is closed.
func (l *Lane) carryOut() {
	for {
		q, ok := l.next()
		if !ok {
			return
		}
		r := Unavailable(ipc.ReasonComputeStale, "its ttl was over before its turn came")
		if !q.stale(time.Now()) {
			r = l.execute(q)
		}
		l.mu.Lock()
		l.counts.InFlight--
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return // the instance has ended, or ends: after its next start the request is lost
		}
		l.tell(q.task, r)
	}
}

// next waits for a task.
func (l *Lane) next() (queued, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.work.Wait()
	}
	if l.closed {
		return queued{}, false
	}
	q := l.queue[0]
	l.queue[0] = queued{}
	l.queue = l.queue[1:]
	l.counts.InFlight++
	return q, true
}

func (l *Lane) execute(q queued) Result {
	r := l.cfg.Executor.Submit(l.ctx, Task{Address: l.cfg.Address, Step: q.task.Step, Ordinal: q.task.Ordinal, Name: q.task.Name,
		Payload: q.task.Payload, RequestedTS: q.task.RequestedTS, Deadline: q.deadline})
	switch {
	case r.Reason != "":
		return r
	case len(r.Payload) > MaxResultBytes:
		return Unavailable(ipc.ReasonFrameTooLarge, fmt.Sprintf("the result has %d bytes, at most %d are allowed", len(r.Payload), MaxResultBytes))
	case q.stale(time.Now()):
		l.mu.Lock()
		l.counts.Stale++
		l.mu.Unlock()
		return Unavailable(ipc.ReasonComputeStale, "the result came after its ttl")
	}
	return r
}

// tell counts what became of a task and passes it on.
func (l *Lane) tell(t core.Task, r Result) {
	l.mu.Lock()
	loud := false
	if r.Reason == "" {
		l.counts.Done++
	} else {
		l.counts.Unavailable[r.Reason]++
		now := time.Now()
		if last, known := l.told[r.Reason]; !known || now.Sub(last) >= repeatAfter {
			l.told[r.Reason], loud = now, true
		}
	}
	l.mu.Unlock()
	level := slog.LevelDebug
	if loud {
		level = slog.LevelWarn
	}
	if r.Reason != "" {
		l.log.Log(l.ctx, level, "a task is not answered", "step", t.Step, "request", t.Ordinal, "task", t.Name, "reason", r.Reason, "detail", r.Detail)
	}
	l.done(core.Computed{Step: t.Step, Ordinal: t.Ordinal, Reason: r.Reason, Payload: r.Payload})
}

// Confined is an Executor that runs a strategy's code, and counts what that was refused.
type Confined interface{ Violations() []sandbox.Violation }

// Violations are those of the executor since the last call; nil where it runs no strategy's code.
func (l *Lane) Violations() []sandbox.Violation {
	if c, ok := l.cfg.Executor.(Confined); ok {
		return c.Violations()
	}
	return nil
}

// Counts returns the accounts at this moment. It may be called at any time.
func (l *Lane) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Unavailable, c.Waiting = maps.Clone(l.counts.Unavailable), len(l.queue)
	return c
}

// Close gives up what waits and what is under way, and ends the executor. Nothing is told after it.
func (l *Lane) Close() {
	l.mu.Lock()
	l.closed = true
	l.queue = nil
	l.work.Broadcast()
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	if err := l.cfg.Executor.Close(); err != nil {
		l.log.Warn("closing the compute lane failed", "err", err)
	}
}
