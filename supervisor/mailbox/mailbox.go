package mailbox

import (
	"context"
	"errors"
	"sync"
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

// Counts account for market events: Put = Taken + Waiting + Refused.
type Counts struct {
	Put, Taken, Refused uint64
	Waiting             int
	Highest             int // most that ever waited
}

// Mailbox is what waits for one instance. U is the type of urgent items, M of deliveries.
type Mailbox[U, M any] struct {
	mu      sync.Mutex
	urgent  [classes]queue[U]
	market  queue[M]
	ceiling int
	closed  bool
	idle    bool // the taker said that it has nothing to do
	counts  Counts

	wake  chan struct{} // capacity 1: something was put
	space *sync.Cond    // market went below the ceiling, or closed
	rest  *sync.Cond    // the taker became idle, or closed
	poke  func()        // called without the lock when something urgent was put
}

// New returns an empty mailbox for at most ceiling market events.
func New[U, M any](ceiling int) *Mailbox[U, M] {
	m := &Mailbox[U, M]{ceiling: max(1, ceiling), wake: make(chan struct{}, 1)}
	m.space, m.rest = sync.NewCond(&m.mu), sync.NewCond(&m.mu)
	return m
}

// SetPoke says what interrupts the taker while it waits for the runner. Nil when it does not wait. It is called at once when something
// urgent waits already: an item that came just before must not wait for the runner.
func (m *Mailbox[U, M]) SetPoke(poke func()) {
	m.mu.Lock()
	m.poke = poke
	waits := m.urgentWaits()
	m.mu.Unlock()
	if poke != nil && waits {
		poke()
	}
}

func (m *Mailbox[U, M]) urgentWaits() bool {
	for c := range m.urgent {
		if m.urgent[c].len() > 0 {
			return true
		}
	}
	return false
}

// PutUrgent adds an urgent item. It never blocks and never drops. It reports false when the mailbox is closed.
func (m *Mailbox[U, M]) PutUrgent(c Class, item U) bool {
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

// PutMarket adds a delivery; at the ceiling it reports false and counts.
func (m *Mailbox[U, M]) PutMarket(item M) bool {
	m.mu.Lock()
	m.counts.Put++
	if m.closed || m.market.len() >= m.ceiling {
		m.counts.Refused++
		m.mu.Unlock()
		return false
	}
	m.push(item)
	m.mu.Unlock()
	m.signal()
	return true
}

// PutMarketWait adds a delivery and waits while the mailbox is at its ceiling.
func (m *Mailbox[U, M]) PutMarketWait(ctx context.Context, item M) error {
	m.mu.Lock()
	if m.market.len() >= m.ceiling {
		stop := context.AfterFunc(ctx, func() {
			m.mu.Lock()
			m.space.Broadcast()
			m.mu.Unlock()
		})
		for m.market.len() >= m.ceiling && !m.closed && ctx.Err() == nil {
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
	m.push(item)
	m.mu.Unlock()
	m.signal()
	return nil
}

func (m *Mailbox[U, M]) push(item M) {
	m.market.push(item)
	m.counts.Highest = max(m.counts.Highest, m.market.len())
	m.idle = false
}

func (m *Mailbox[U, M]) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Wake is readable when something may have been put since the last read.
func (m *Mailbox[U, M]) Wake() <-chan struct{} { return m.wake }

// TakeUrgent takes the first urgent item, if there is one.
func (m *Mailbox[U, M]) TakeUrgent() (item U, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.urgent {
		if m.urgent[c].len() > 0 {
			return m.urgent[c].pop(), true
		}
	}
	return item, false
}

// PeekMarket shows the delivery that TakeMarket would take.
func (m *Mailbox[U, M]) PeekMarket() (item M, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.market.len() == 0 {
		return item, false
	}
	return m.market.first(), true
}

// TakeMarket takes the first delivery, if there is one.
func (m *Mailbox[U, M]) TakeMarket() (item M, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.market.len() == 0 {
		return item, false
	}
	item = m.market.pop()
	m.counts.Taken++
	if m.market.len() == m.ceiling-1 {
		m.space.Broadcast()
	}
	return item, true
}

// Depth is the number of deliveries that wait (OB-2).
func (m *Mailbox[U, M]) Depth() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.market.len()
}

// Counts returns the accounts.
func (m *Mailbox[U, M]) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	c.Waiting = m.market.len()
	return c
}

// Idle is called by the taker when it has nothing left to do for what it has taken. It reports false when something has been put since.
func (m *Mailbox[U, M]) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.market.len() > 0 || m.urgentWaits() {
		return false
	}
	if !m.idle {
		m.idle = true
		m.rest.Broadcast()
	}
	return true
}

// WaitIdle waits until the taker is idle and nothing waits: the lock step of file feeds.
func (m *Mailbox[U, M]) WaitIdle(ctx context.Context) error {
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

// Close wakes everybody; later puts are refused.
func (m *Mailbox[U, M]) Close() {
	m.mu.Lock()
	m.closed = true
	m.space.Broadcast()
	m.rest.Broadcast()
	m.mu.Unlock()
	m.signal()
}
