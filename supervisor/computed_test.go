package supervisor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
)

// lane is a compute lane in the tester's hands.
type lane struct {
	mu     sync.Mutex
	done   func(core.Computed)
	tasks  []core.Task
	closed bool
	broke  func() []sandbox.Violation // nil: nothing
	submit func(core.Task, time.Time)
}

func (l *lane) Open(done func(core.Computed)) { l.done = done }

func (l *lane) Submit(t core.Task, deadline time.Time) {
	l.mu.Lock()
	l.tasks = append(l.tasks, t)
	l.mu.Unlock()
	if l.submit != nil {
		l.submit(t, deadline)
	}
}

func (l *lane) Violations() []sandbox.Violation {
	if l.broke == nil {
		return nil
	}
	return l.broke()
}

func (l *lane) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *lane) taken() []core.Task {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tasks)
}

func allowed(c *InstanceConfig, l *lane, ttlless bool) {
	c.Params.Compute = core.Compute{Congestion: core.CongestionFallback, Handled: true, Waiting: 64}
	c.Compute, c.LockStep = l, ttlless
}

// seen is what the strategy got, in words.
type seen struct {
	mu     sync.Mutex
	events []string
}

func (s *seen) add(event ipc.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case *ipc.Quote:
		s.events = append(s.events, fmt.Sprintf("quote %d", e.Seq))
	case *ipc.ComputeResult:
		s.events = append(s.events, fmt.Sprintf("%d.%d %s", e.RequestStep, e.Ordinal, e.Payload))
	case *ipc.ComputeUnavailable:
		s.events = append(s.events, fmt.Sprintf("%d.%d %s", e.RequestStep, e.Ordinal, e.Reason))
	}
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// ends waits for the last event: it is counted when it leaves, and the strategy sees it after that.
func (s *seen) ends(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for got := s.all(); len(got) == 0 || got[len(got)-1] != want; got = s.all() {
		if time.Now().After(deadline) {
			t.Fatalf("the strategy saw %v, want %s at the end", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func request(ttl time.Duration) ipc.ComputeRequest {
	return ipc.ComputeRequest{Task: "fit", Payload: []byte("q"), TTL: ipc.Nanos(ttl)}
}

// A lane that never answers holds nobody up: the strategy's quotes go on, and at the ttl it is told. Requests reach the lane when they are in
// the ledger, and not before (law 3).
//
// Proves: LN-2, LN-3, LN-5, NN-4, DOD-4
func TestTheStrategyDoesNotWaitForTheLane(t *testing.T) {
	l, s := &lane{}, &seen{}
	var ledger *keptLedger
	var early int
	l.submit = func(core.Task, time.Time) {
		if len(ledger.batches) == 0 || len(ledger.batches[len(ledger.batches)-1].Inputs) == 0 {
			early++
		}
	}
	w := play(t, func(d *ipc.Deliver) *ipc.Answer {
		s.add(d.Event)
		if q, ok := d.Event.(*ipc.Quote); ok && q.Seq == 1 {
			return &ipc.Answer{Compute: []ipc.ComputeRequest{request(200 * time.Millisecond), request(time.Hour)}}
		}
		return &ipc.Answer{}
	}, func(c *InstanceConfig, _ *scripted) { allowed(c, l, false) })
	ledger = w.ledger
	w.quote()
	for range 20 {
		w.quote()
	}
	w.until("the quotes", func(t *Tally) bool { return t.Delivered[ipc.KindQuote] == 21 })
	w.until("the word on the first request", func(t *Tally) bool { return t.Delivered[ipc.KindComputeUnavailable] == 1 })
	s.ends(t, "2.0 COMPUTE_STALE")
	tasks := l.taken()
	if len(tasks) != 2 || tasks[0].Step != 2 || tasks[1].Ordinal != 1 || string(tasks[0].Payload) != "q" || early != 0 {
		t.Fatalf("the lane got %+v, %d of them early", tasks, early)
	}
	l.done(core.Computed{Step: 2, Ordinal: 0, Payload: []byte("too late")})
	l.done(core.Computed{Step: 2, Ordinal: 1, Payload: []byte("in time")})
	w.until("the result", func(t *Tally) bool {
		return t.Delivered[ipc.KindComputeResult] == 1 && t.Reasons[ipc.ReasonComputeStale] == 2
	})
	s.ends(t, "2.1 in time")
	w.finish()
	if !l.closed {
		t.Error("the lane was left open")
	}
}

// A persist that fails takes the requests with it: they are never carried out, and a replayed strategy asks again under the same step.
//
// Proves: LN-2, NN-6
func TestARequestThatIsNotDurableIsNotCarriedOut(t *testing.T) {
	l := &lane{}
	w := play(t, func(d *ipc.Deliver) *ipc.Answer {
		if _, ok := d.Event.(*ipc.Quote); ok {
			return &ipc.Answer{Compute: []ipc.ComputeRequest{request(time.Hour)}}
		}
		return &ipc.Answer{}
	}, func(c *InstanceConfig, _ *scripted) { allowed(c, l, false) })
	p := w.Instance
	word := &persisted{err: errNotRecorded, tasks: []core.Task{{Step: 9}}}
	done := make(chan struct{})
	p.later(0, func() error {
		defer close(done)
		if err := p.onPersisted(word); err != nil {
			t.Error(err)
		}
		p.voided = false // only the word is on trial
		return nil
	})
	<-done
	if tasks := l.taken(); len(tasks) != 0 {
		t.Errorf("the lane got %+v", tasks)
	}
	w.finish()
}

// In lock step the feed waits for the lane, results come in the order of the requests however fast each of them is, and a strategy that asks
// again at every result does not hold up the feed.
//
// Proves: LN-2, NN-7
func TestResultsInLockStepComeInOrder(t *testing.T) {
	run := func(seed uint64) []string {
		l, s := &lane{}, &seen{}
		rng := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		l.submit = func(task core.Task, deadline time.Time) {
			if !deadline.IsZero() {
				t.Error("the ttl runs although the feed's time stands still")
			}
			mu.Lock()
			wait := time.Duration(rng.IntN(3000)) * time.Microsecond
			mu.Unlock()
			time.AfterFunc(wait, func() {
				c := core.Computed{Step: task.Step, Ordinal: task.Ordinal, Payload: fmt.Appendf(nil, "r%d", task.Ordinal)}
				if task.Ordinal == 2 {
					c.Payload, c.Reason = nil, ipc.ReasonStrategyException
				}
				l.done(c)
			})
		}
		w := play(t, func(d *ipc.Deliver) *ipc.Answer {
			s.add(d.Event)
			a := &ipc.Answer{}
			switch e := d.Event.(type) {
			case *ipc.Quote:
				a.Compute = []ipc.ComputeRequest{request(time.Hour), request(time.Hour), request(time.Hour)}
			case *ipc.ComputeResult:
				if e.Ordinal == 0 {
					a.Compute = []ipc.ComputeRequest{request(time.Hour)}
				}
			}
			return a
		}, func(c *InstanceConfig, _ *scripted) {
			allowed(c, l, true)
			c.Clock = &FeedClock{}
		})
		for i := range 4 {
			at := ipc.Nanos(i+1) * 1e9
			event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: bitcoin, Source: "h", RecvTS: at, Seq: uint64(i + 1)}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Publish(t.Context(), Market{Recv: at, Event: event}); err != nil {
				t.Fatal(err)
			}
			if err := w.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.finish()
		return s.all()
	}
	want := run(1)
	// The request that the first quote's first result made (step 3) is answered after the second quote, before what that one asked for.
	if got := fmt.Sprint(want[:8]); got != "[quote 1 2.0 r0 2.1 r1 2.2 STRATEGY_EXCEPTION quote 2 3.0 r0 6.0 r0 6.1 r1]" {
		t.Errorf("the strategy saw %s", got)
	}
	for seed := uint64(2); seed < 8; seed++ {
		if got := run(seed); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the strategy saw\n%v, and before\n%v", seed, got, want)
		}
	}
}
