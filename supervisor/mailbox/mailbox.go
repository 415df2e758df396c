package mailbox

import (
	"context"
	"errors"
	"sync"

	"github.com/msup/msup/ipc"
)

// Class orders urgent items; lower ones are taken first.
type Class uint8

// The classes of urgent items.
const (
	Safety    Class = 0 // risk, safety and operator
	Execution Class = 1 // reports and statuses of I, approvals of J/E
	Internal  Class = 2 // the persister's word, timers of the shell
	classes         = 3
)

// ErrClosed says that the instance is gone.
var ErrClosed = errors.New("mailbox is closed")

// Market is one event as all its subscribers get it: encoded once.
type Market struct {
	Recv    ipc.Nanos
	Trace   ipc.TraceID
	Event   []byte
	Decoded ipc.MarketEvent // what Event holds; shared, so nobody changes it. nil: it is never conflated
}

// Counts account for market events: Put = Taken + Conflated + Dropped + Waiting, always (BP-1).
type Counts struct {
	Put       uint64
	Taken     uint64 // deliveries that the taker got
	Conflated uint64 // events that a delivery holds beside its newest
	Dropped   uint64 // never delivered in any form
	Waiting   int    // events, those counted that are merged
	Depth     int    // deliveries that they make: what the ceiling counts
	Highest   int    // highest depth so far
	Bytes     int    // that the waiting ones hold, about
	Congested bool   // the ceiling was met, and the queue is not half empty since (BP-4)
}

// Mailbox is what waits for one instance. U is the type of urgent items.
type Mailbox[U any] struct {
	mu     sync.Mutex
	urgent [classes]queue[U]
	market market
	closed bool
	idle   bool // the taker said that it has nothing to do
	counts Counts

	wake      chan struct{} // capacity 1: something was put
	space     *sync.Cond    // market went below the ceiling, or closed
	rest      *sync.Cond    // the taker became idle, or closed
	poke      func()        // called without the lock when something urgent was put
	onCeiling func(over bool) U
	told      bool   // what onCeiling was last called with
	writer    writer // the taker's
}

// New returns an empty mailbox for at most ceiling deliveries of market events.
func New[U any](ceiling int) *Mailbox[U] {
	m := &Mailbox[U]{market: newMarket(max(1, ceiling)), wake: make(chan struct{}, 1)}
	m.space, m.rest = sync.NewCond(&m.mu), sync.NewCond(&m.mu)
	return m
}

// OnCeiling says what is put among the safety items when the queue meets its ceiling, and when it is half empty again (BP-4). The two
// always alternate. Call it before anything is put.
func (m *Mailbox[U]) OnCeiling(item func(over bool) U) { m.onCeiling = item }

// SetPoke says what interrupts the taker while it waits for the runner. Nil when it does not wait. It is called at once when something
// urgent waits already: an item that came just before must not wait for the runner.
func (m *Mailbox[U]) SetPoke(poke func()) {
	m.mu.Lock()
	m.poke = poke
	waits := m.urgentWaits()
	m.mu.Unlock()
	if poke != nil && waits {
		poke()
	}
}

func (m *Mailbox[U]) urgentWaits() bool {
	for c := range m.urgent {
		if m.urgent[c].len() > 0 {
			return true
		}
	}
	return false
}

// PutUrgent adds an urgent item. It never blocks and never drops. It reports false when the mailbox is closed.
func (m *Mailbox[U]) PutUrgent(c Class, item U) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.urgent[c].push(item)
	m.idle = false
	poke := m.poke
	m.mu.Unlock()
	m.signal()
	if poke != nil {
		poke()
	}
	return true
}

// PutMarket adds an event of a live or paced feed, conflating it with what waits. At the ceiling the oldest give way (BP-1); it reports
// false when the event itself was dropped.
func (m *Mailbox[U]) PutMarket(item Market) bool {
	m.mu.Lock()
	m.counts.Put++
	if m.closed {
		m.counts.Dropped++
		m.mu.Unlock()
		return false
	}
	taken := m.market.put(item, &m.counts)
	m.counts.Highest = max(m.counts.Highest, m.market.depth())
	if taken {
		m.idle = false
	}
	poke := m.ceiling()
	m.mu.Unlock()
	m.signal()
	if poke != nil {
		poke()
	}
	return taken
}

// ceiling tells of the ceiling's being met, or of its release. The item is put under the lock: in the order in which it happened. It returns
// what must be called without the lock.
func (m *Mailbox[U]) ceiling() (poke func()) {
	if m.market.congested == m.told || m.onCeiling == nil || m.closed {
		return nil
	}
	m.told = m.market.congested
	m.urgent[Safety].push(m.onCeiling(m.told))
	m.idle = false
	m.signal()
	return m.poke
}

// relieved is ceiling for the taker. It is asked before every delivery, so that a ceiling that was met by one event too large is released too.
func (m *Mailbox[U]) relieved() (poke func()) {
	m.market.relieve()
	return m.ceiling()
}

// PutMarketWait adds an event of a feed in lock step as it is, and waits while the mailbox is at its ceiling. It never conflates.
func (m *Mailbox[U]) PutMarketWait(ctx context.Context, item Market) error {
	m.mu.Lock()
	if m.market.full(weight(item)) {
		stop := context.AfterFunc(ctx, func() {
			m.mu.Lock()
			m.space.Broadcast()
			m.mu.Unlock()
		})
		for m.market.full(weight(item)) && !m.closed && ctx.Err() == nil {
			m.space.Wait()
		}
		stop()
	}
	if m.closed || ctx.Err() != nil {
		m.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrClosed
	}
	m.counts.Put++
	m.market.keep(item)
	m.counts.Highest = max(m.counts.Highest, m.market.depth())
	m.idle = false
	m.mu.Unlock()
	m.signal()
	return nil
}

func (m *Mailbox[U]) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Wake is readable when something may have been put since the last read.
func (m *Mailbox[U]) Wake() <-chan struct{} { return m.wake }

// TakeUrgent takes the first urgent item, if there is one.
func (m *Mailbox[U]) TakeUrgent() (item U, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.urgent {
		if m.urgent[c].len() > 0 {
			return m.urgent[c].pop(), true
		}
	}
	return item, false
}

// PeekMarket shows the receive time of the delivery that TakeMarket would take.
func (m *Mailbox[U]) PeekMarket() (recv ipc.Nanos, ok bool) {
	m.mu.Lock()
	poke := m.relieved()
	if !m.urgentWaits() {
		recv, ok = m.market.peek()
	}
	m.mu.Unlock()
	if poke != nil {
		poke()
	}
	return recv, ok
}

// TakeMarket takes the first delivery, if there is one and nothing urgent waits: an urgent item that was put before a market event is never taken
// after it, also where it came since the last TakeUrgent. Its bytes are good until the next call.
func (m *Mailbox[U]) TakeMarket() (item Market, ok bool, err error) {
	m.mu.Lock()
	if m.urgentWaits() {
		m.mu.Unlock()
		return item, false, nil
	}
	s, ok := m.market.take(&m.counts)
	m.space.Broadcast()
	poke := m.relieved()
	m.mu.Unlock()
	if poke != nil {
		poke()
	}
	if !ok {
		return item, false, nil
	}
	// A large book is written without the lock: nobody who puts waits for it.
	item, err = m.writer.write(&s)
	if s.trades != nil || s.book != nil {
		m.mu.Lock()
		m.market.spare.give(&s)
		m.mu.Unlock()
	}
	return item, true, err
}

// DropMarket drops everything that waits: the instance is halted. What comes next is flagged.
func (m *Mailbox[U]) DropMarket() {
	m.mu.Lock()
	m.market.dropAll(&m.counts)
	m.space.Broadcast()
	poke := m.relieved()
	m.mu.Unlock()
	if poke != nil {
		poke()
	}
}

// Interrupted says that deliveries were lost that are not known one by one, as over a restart: the next event of everything is flagged gap,
// and books wait for a snapshot (DQ-1).
func (m *Mailbox[U]) Interrupted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.market.interrupted()
}

// Depth is the number of deliveries that wait (OB-2).
func (m *Mailbox[U]) Depth() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.market.depth()
}

// Counts returns the accounts. It may be called at any time.
func (m *Mailbox[U]) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	c.Waiting, c.Depth, c.Bytes, c.Congested = m.market.events, m.market.depth(), m.market.bytes, m.market.congested
	return c
}

// Idle is called by the taker when it has nothing left to do for what it has taken. It reports false when something has been put since.
func (m *Mailbox[U]) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.market.depth() > 0 || m.urgentWaits() {
		return false
	}
	if !m.idle {
		m.idle = true
		m.rest.Broadcast()
	}
	return true
}

// WaitIdle waits until the taker is idle and nothing waits: the lock step of file feeds.
func (m *Mailbox[U]) WaitIdle(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.idle || m.closed {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		m.rest.Broadcast()
		m.mu.Unlock()
	})
	defer stop()
	for !m.idle && !m.closed && ctx.Err() == nil {
		m.rest.Wait()
	}
	return ctx.Err()
}

// Close wakes everybody and drops what waits; later puts are refused.
func (m *Mailbox[U]) Close() {
	m.mu.Lock()
	m.closed = true
	m.market.dropAll(&m.counts)
	m.space.Broadcast()
	m.rest.Broadcast()
	m.mu.Unlock()
	m.signal()
}
