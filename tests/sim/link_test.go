package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// venue is I with a lock: links of processes, dead ones too, reach it at their own time.
type venue struct {
	mu   sync.Mutex
	sink *sink
	wall func() ipc.Nanos

	silent bool // J says nothing at all; set before anything starts
}

// link is one connection to I: it keeps the order, takes its time, and dies with its process. Offers that are on the wire still arrive.
type link struct {
	venue  *venue
	disk   *disk
	epoch  ipc.Epoch
	rng    *rand.Rand
	mu     sync.Mutex
	wake   *sync.Cond
	wire   []func() []any // what happens at I, and what it says
	closed bool
	to     *supervisor.Instance
	lossy  bool   // reports get lost
	told   uint64 // reports that were sent over this link
}

func newLink(v *venue, d *disk, rng *rand.Rand) *link {
	l := &link{venue: v, disk: d, rng: rng}
	l.wake = sync.NewCond(&l.mu)
	go l.carry()
	return l
}

func (l *link) carry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.wire) == 0 && !l.closed {
			l.wake.Wait()
		}
		if len(l.wire) == 0 {
			return
		}
		next := l.wire[0]
		l.wire = l.wire[1:]
		pause := time.Duration(l.rng.IntN(3)) * time.Millisecond
		l.mu.Unlock()
		time.Sleep(pause)
		said := l.at(next)
		l.mu.Lock()
		if l.closed {
			continue
		}
		for _, m := range said {
			switch m := m.(type) {
			case *ipc.StatusReport:
				l.to.Report(m)
			case *ipc.SourceEvent:
				l.to.Arrive(m)
			case *ipc.Approval:
				l.to.Approve(m)
			}
		}
	}
}

// at does something at I: the reports that it caused come before the word on it.
func (l *link) at(what func() []any) []any {
	v := l.venue
	v.mu.Lock()
	defer v.mu.Unlock()
	said := what()
	var all []any
	for n := l.told; n < uint64(len(v.sink.reports)); n++ {
		if l.lossy && v.sink.rng.IntN(40) == 0 { // M sees the gap at the next one
			l.count("reports lost")
			continue
		}
		all = append(all, v.sink.reports[n])
	}
	l.told = uint64(len(v.sink.reports))
	return append(all, said...)
}

func (l *link) send(what func() []any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errDead
	}
	l.wire = append(l.wire, what)
	l.wake.Broadcast()
	return nil
}

// ask is a question whose answer is awaited: it goes behind everything on the wire.
func (l *link) ask(ctx context.Context, what func() ipc.StatusReport) (ipc.StatusReport, error) {
	if err := ctx.Err(); err != nil { // as the wire's client does
		return ipc.StatusReport{}, err
	}
	answer := make(chan ipc.StatusReport, 1)
	if err := l.send(func() []any { answer <- what(); return nil }); err != nil {
		return ipc.StatusReport{}, err
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		return ipc.StatusReport{}, ctx.Err()
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	for range l.rng.IntN(len(l.wire) + 1) {
		l.wire = l.wire[:len(l.wire)-1] // lost on the way
	}
	l.wake.Broadcast()
	l.mu.Unlock()
}

func (l *link) Hello(_ context.Context, h ipc.BoundaryHello) (ipc.Welcome, error) {
	l.venue.mu.Lock()
	w := l.welcome(h)
	l.venue.mu.Unlock()
	return w, l.send(func() []any { return nil })
}

// welcome is what I says to a hello, under the venue's lock.
func (l *link) welcome(h ipc.BoundaryHello) ipc.Welcome {
	i := l.venue.sink
	i.hello(h.Epoch)
	l.epoch, l.told = h.Epoch, i.acked // what was not acknowledged comes again
	return ipc.Welcome{LastStep: i.lastStep}
}

func (l *link) Offer(o *ipc.Offer) error {
	key := o.Intent.Meta.Key
	l.disk.mu.Lock()
	durable := l.disk.statuses[key]
	l.disk.mu.Unlock()
	l.venue.mu.Lock()
	if durable != ipc.StatusApproved && durable != ipc.StatusOffered {
		l.venue.sink.complain("key %s is offered and %s in the ledger", key, durable)
	}
	if l.venue.wall() > o.ValidUntil {
		l.venue.sink.complain("key %s is offered after its valid_until", key)
	}
	if l.venue.sink.offers[key]++; l.venue.sink.offers[key] > 1 {
		l.venue.sink.complain("key %s is sent again although I was not asked", key)
	}
	l.venue.mu.Unlock()
	return l.send(func() []any {
		if r := l.venue.sink.offer(o, l.venue.wall()); r != nil {
			return []any{r}
		}
		return nil
	})
}

// Request is J: it says yes, no, or nothing.
func (l *link) Request(r *ipc.ApprovalRequest) error {
	key := r.Intent.Meta.Key
	l.disk.mu.Lock()
	l.disk.counts["approvals asked"]++
	if durable := l.disk.statuses[key]; durable != ipc.StatusStaged {
		l.disk.complain("the approval of key %s is asked for, which is %s in the ledger", key, durable)
	}
	l.disk.mu.Unlock()
	return l.send(func() []any {
		word := l.venue.sink.rng.IntN(8)
		if word == 0 || l.venue.silent {
			return nil
		}
		return []any{&ipc.Approval{Address: r.Address, Key: key, Approved: word > 1}}
	})
}

func (l *link) Query(ctx context.Context, q ipc.Query) (ipc.StatusReport, error) {
	return l.ask(ctx, func() ipc.StatusReport {
		if _, known := l.venue.sink.keys[q.Key]; !known {
			l.venue.sink.offers[q.Key] = 0
		}
		return *l.venue.sink.report(q.Key)
	})
}

func (l *link) Tombstone(ctx context.Context, t ipc.Tombstone) (ipc.StatusReport, error) {
	return l.ask(ctx, func() ipc.StatusReport { return *l.venue.sink.tombstone(t.Key) })
}

// Resume has nothing to add: a snapshot follows.
func (l *link) Resume(ipc.Address, ipc.Cursor) error { return nil }

// RequestSnapshot is sometimes not heard of again.
func (l *link) RequestSnapshot(ipc.Address) error {
	return l.send(func() []any {
		if l.venue.sink.rng.IntN(3) == 0 {
			l.count("snapshots lost")
			return nil
		}
		return []any{l.venue.sink.snapshot()}
	})
}

func (l *link) count(what string) {
	l.disk.mu.Lock()
	l.disk.counts[what]++
	l.disk.mu.Unlock()
}

func (l *link) Ack(_ ipc.Address, c ipc.Cursor) error {
	return l.send(func() []any {
		l.venue.sink.acked = max(l.venue.sink.acked, c.Seq)
		return nil
	})
}
