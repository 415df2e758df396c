package mailbox

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

// raw is an event that nobody has decoded: it is never conflated.
func raw(n int) Market { return Market{Recv: ipc.Nanos(n)} }

func take[U any](m *Mailbox[U]) (n int, ok bool) {
	v, ok, err := m.TakeMarket()
	if err != nil {
		panic(err) // the test made something that cannot be written
	}
	return int(v.Recv), ok
}

// balanced is the accounting identity.
func balanced(c Counts) bool { return c.Put == c.Taken+c.Conflated+c.Dropped+uint64(c.Waiting) }

// Proves: BP-2, BP-3
func TestUrgentByClassInOrder(t *testing.T) {
	m := New[int](1)
	for _, c := range []struct {
		class Class
		item  int
	}{{Internal, 7}, {Execution, 4}, {Safety, 1}, {Execution, 5}, {Internal, 8}, {Safety, 2}, {Safety, 3}, {Execution, 6}} {
		if !m.PutUrgent(c.class, c.item) {
			t.Fatal("an urgent item was refused")
		}
	}
	for want := 1; want <= 8; want++ {
		if got, ok := m.TakeUrgent(); !ok || got != want {
			t.Errorf("got %d, %v; want %d", got, ok, want)
		}
	}
	if _, ok := m.TakeUrgent(); ok {
		t.Error("nothing is left to take")
	}
}

// A report of I and the market event behind it may come between the taker's two looks: the event waits for the report all the same.
// Proves: BP-2, BP-3
func TestMarketWaitsForWhatIsUrgent(t *testing.T) {
	m := New[int](4)
	if _, ok := m.TakeUrgent(); ok {
		t.Fatal("nothing was put")
	}
	m.PutUrgent(Execution, 7)
	m.PutMarket(raw(8))
	if recv, ok := m.PeekMarket(); ok {
		t.Errorf("the event of %d shows while an urgent item waits", recv)
	}
	if v, ok := take(m); ok {
		t.Errorf("event %d was taken before an urgent item that came first", v)
	}
	if m.Idle() {
		t.Error("idle, with an urgent item and an event that wait")
	}
	if v, ok := m.TakeUrgent(); !ok || v != 7 {
		t.Errorf("got %d, %v", v, ok)
	}
	if recv, ok := m.PeekMarket(); !ok || recv != 8 {
		t.Errorf("got %d, %v", recv, ok)
	}
	if v, ok := take(m); !ok || v != 8 {
		t.Errorf("got %d, %v", v, ok)
	}
}

// Proves: BP-1, BP-4
func TestMarketCeilingRefusesAndCounts(t *testing.T) {
	m := New[int](2)
	for i, want := range []bool{true, true, false} {
		if got := m.PutMarket(raw(i)); got != want {
			t.Errorf("put %d: %v", i, got)
		}
	}
	if v, ok := m.PeekMarket(); !ok || v != 0 {
		t.Errorf("peeked %d", v)
	}
	if v, ok := take(m); !ok || v != 0 {
		t.Errorf("took %d", v)
	}
	if !m.PutMarket(raw(3)) || m.Depth() != 2 {
		t.Error("there was room")
	}
	want := Counts{Put: 4, Taken: 1, Dropped: 1, Waiting: 2, Depth: 2, Highest: 2, Bytes: 2 * slotBytes}
	if got := m.Counts(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if v, _ := take(m); v != 1 {
		t.Errorf("took %d", v)
	}
	if v, _ := take(m); v != 3 {
		t.Errorf("took %d", v)
	}
	if _, ok := take(m); ok {
		t.Error("took from an empty mailbox")
	}
	if _, ok := m.PeekMarket(); ok {
		t.Error("peeked into an empty mailbox")
	}
}

func TestQueueKeepsOrderWhileItGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue[int]
		next, first := 0, 0
		for range 200 {
			if rapid.IntRange(0, 2).Draw(t, "put") > 0 || q.len() == 0 {
				q.push(next)
				next++
				continue
			}
			if *q.first() != first || q.pop() != first {
				t.Fatalf("%d is not the first", first)
			}
			first++
		}
		if q.len() != next-first {
			t.Fatalf("%d wait, %d were put and %d taken", q.len(), next, first)
		}
	})
}

// Proves: BP-4
func TestPutMarketWaitBlocksUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](1)
		if err := m.PutMarketWait(t.Context(), raw(1)); err != nil {
			t.Fatal(err)
		}
		var put atomic.Int32
		for i := range 3 {
			go func() {
				if err := m.PutMarketWait(t.Context(), raw(2+i)); err == nil {
					put.Add(1)
				}
			}()
		}
		for taken := range int32(4) {
			synctest.Wait()
			if put.Load() != taken {
				t.Fatalf("%d got in after %d were taken", put.Load(), taken)
			}
			if _, ok := take(m); !ok {
				t.Fatal("nothing waits")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.PutMarketWait(ctx, raw(5)); err != nil {
			t.Fatal(err)
		}
		if err := m.PutMarketWait(ctx, raw(6)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a put that was given up: %v", err)
		}
		if c := m.Counts(); !balanced(c) || c.Put != 5 {
			t.Errorf("%+v", c)
		}
	})
}

func TestCloseWakesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](1)
		m.PutMarket(raw(1))
		results := make(chan error, 2)
		go func() { results <- m.PutMarketWait(t.Context(), raw(2)) }()
		go func() { results <- m.WaitIdle(t.Context()) }()
		synctest.Wait()
		m.Close()
		for range 2 {
			if err := <-results; err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		<-m.Wake()
		if m.PutMarket(raw(3)) || m.PutUrgent(Safety, 4) {
			t.Error("a closed mailbox takes something")
		}
		if err := m.PutMarketWait(t.Context(), raw(5)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if c := m.Counts(); !balanced(c) {
			t.Errorf("%+v", c)
		}
	})
}

func TestWaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](4)
		idle := make(chan struct{})
		wait := func() {
			go func() {
				if err := m.WaitIdle(t.Context()); err != nil {
					t.Error(err)
				}
				idle <- struct{}{}
			}()
			synctest.Wait()
		}
		stillWaits := func(why string) {
			t.Helper()
			synctest.Wait()
			select {
			case <-idle:
				t.Errorf("idle although %s", why)
			default:
			}
		}
		m.PutMarket(raw(1))
		wait()
		stillWaits("an event waits")
		if m.Idle() {
			t.Error("idle with an event waiting")
		}
		take(m)
		stillWaits("the taker has not said so")
		m.PutUrgent(Internal, 2)
		if m.Idle() {
			t.Error("idle with something urgent waiting")
		}
		m.TakeUrgent()
		if !m.Idle() {
			t.Error("nothing waits")
		}
		<-idle
		wait() // still idle
		<-idle
		m.PutUrgent(Internal, 3)
		wait()
		stillWaits("something was put since")
		m.TakeUrgent()
		m.Idle()
		<-idle
		m.PutMarket(raw(9))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.WaitIdle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that was given up: %v", err)
		}
	})
}

// A taker that is about to wait for the runner is poked for what came just before it said so.
// Proves: BP-3
func TestPoke(t *testing.T) {
	m := New[int](1)
	pokes := 0
	poke := func() { pokes++ }
	m.SetPoke(poke)
	m.PutMarket(raw(1))
	if pokes != 0 {
		t.Error("a market event pokes nobody")
	}
	m.PutUrgent(Safety, 1)
	if pokes != 1 {
		t.Errorf("%d pokes for one urgent item", pokes)
	}
	m.SetPoke(nil)
	m.PutUrgent(Safety, 2)
	if pokes != 1 {
		t.Error("poked although the taker does not wait")
	}
	m.SetPoke(poke)
	if pokes != 2 {
		t.Error("what was put before SetPoke waits for the runner")
	}
}

// Many put, one takes: nothing urgent is lost or reordered within its class and putter, and the accounts add up.
// Proves: BP-2, BP-4
func TestManyPutters(t *testing.T) {
	const putters, each = 16, 500
	type item struct{ putter, n int }
	m := New[item](8)
	var putting, taking sync.WaitGroup
	var refused atomic.Int64
	for p := range putters {
		putting.Add(1)
		go func() {
			defer putting.Done()
			for n := range each {
				m.PutUrgent(Class(p%classes), item{p, n})
				if p%2 == 0 {
					if err := m.PutMarketWait(context.Background(), raw(p<<20|n)); err != nil {
						t.Error(err)
					}
				} else if !m.PutMarket(raw(p<<20 | n)) {
					refused.Add(1)
				}
			}
		}()
	}
	stop := make(chan struct{})
	var urgent, market [putters]int
	taking.Add(1)
	go func() {
		defer taking.Done()
		for {
			u, ok := m.TakeUrgent()
			if ok {
				if u.n != urgent[u.putter] {
					t.Errorf("putter %d: urgent item %d instead of %d", u.putter, u.n, urgent[u.putter])
				}
				urgent[u.putter]++
				continue
			}
			if v, ok := take(m); ok {
				putter, n := v>>20, v&(1<<20-1)
				if n < market[putter] {
					t.Errorf("putter %d: event %d after %d", putter, n, market[putter])
				}
				market[putter] = n
				continue
			}
			m.Idle()
			select {
			case <-m.Wake():
			case <-stop:
				return
			}
		}
	}()
	putting.Wait()
	if err := m.WaitIdle(context.Background()); err != nil {
		t.Error(err)
	}
	close(stop)
	taking.Wait()
	for p, n := range urgent {
		if n != each {
			t.Errorf("putter %d: %d of %d urgent items were taken", p, n, each)
		}
	}
	c := m.Counts()
	if c.Put != putters*each || !balanced(c) || c.Dropped != uint64(refused.Load()) || c.Waiting != 0 || c.Highest > 8 {
		t.Errorf("%+v, %d refused", c, refused.Load())
	}
}
