package supervisor

import (
	"math"
	"sync/atomic"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/mailbox"
)

// ahead are I's reports from a time to which a feed that is played again has not come. A run that was killed takes its last deliveries with it
// where nothing left because of them, and an I that follows the same feed may have filled a resting order meanwhile. The next run gets those
// events again: with the report at once, the strategy saw the fill before the quotes that came before it, and its steps moved by three (found by
// killing a supervisor 34 times). What it decided up to the fill is known: I would not have come to that time without it. It is the same with
// events that are delivered again because a failed persist has voided them, in the run that I follows.
//
// Two events of the same receive time are not told apart.
type ahead struct {
	feed *atomic.Int64 // receive time that the feed has come to; nil = I has a market of its own, and no report is early
	held []*ipc.SourceEvent
	due  atomic.Int64 // when the first of them is, 0 = none
}

// untilFeed is the time of a feed that has ended, or does not matter any more.
const untilFeed = ipc.Nanos(math.MaxInt64)

// isAhead reports whether a report is from later than the feed. One that I made in this run never is, whatever the feed, but for events that
// are delivered again.
func (p *Instance) isAhead(e *ipc.SourceEvent) bool {
	k := &p.sink
	switch {
	case p.ahead.feed == nil || !p.cfg.LockStep || p.stopping || e.Event.Kind() != ipc.KindExecution:
		return false
	case len(p.again) > 0 && e.RecvTS >= p.again[0].Recv:
		return true
	case int64(e.RecvTS) <= p.ahead.feed.Load():
		return false
	}
	return !k.greeted || e.Cursor.Epoch == k.made.Epoch && e.Cursor.Seq <= k.made.Seq
}

// hold keeps a report until the feed has come to it. I sends it again where it asks for what was not acknowledged.
func (p *Instance) hold(e *ipc.SourceEvent) {
	a := &p.ahead
	if n := len(a.held); n > 0 && e.Cursor.Epoch == a.held[n-1].Cursor.Epoch && e.Cursor.Seq <= a.held[n-1].Cursor.Seq {
		return
	}
	if len(a.held) == 0 {
		a.due.Store(int64(e.RecvTS))
		p.log.Info("I has reported on what the feed has not come to again; the strategy is told then", "cursor", e.Cursor.Seq)
	}
	a.held = append(a.held, e)
}

// release takes the reports to whose time the feed has come.
func (p *Instance) release(to ipc.Nanos) error {
	a := &p.ahead
	for len(a.held) > 0 && a.held[0].RecvTS <= to {
		e := a.held[0]
		a.held = a.held[1:]
		if err := p.takeArrival(e); err != nil {
			return err
		}
	}
	a.due.Store(0)
	if len(a.held) > 0 {
		a.due.Store(int64(a.held[0].RecvTS))
	}
	return nil
}

// comeTo tells that I has seen the feed up to a time, and the strategy may hear what happened there. Any goroutine may call it.
func (p *Instance) comeTo(to ipc.Nanos) {
	if due := p.ahead.due.Load(); due != 0 && due <= int64(to) {
		p.later(mailbox.Execution, func() error {
			if len(p.again) > 0 {
				to = min(to, p.again[0].Recv-1)
			}
			return p.release(to)
		})
	}
}

// reportsFirst reports whether I had made reports when it saw the event that is delivered again next: they are taken now, and the event after them.
func (p *Instance) reportsFirst() bool {
	if len(p.again) == 0 {
		return false
	}
	to := p.again[0].Recv
	if due := p.ahead.due.Load(); due == 0 || due > int64(to) {
		return false
	}
	p.later(mailbox.Execution, func() error {
		if len(p.again) == 0 || p.again[0].Recv != to { // voided once more
			return nil
		}
		return p.release(to)
	})
	return true
}

// behind reports whether I has made reports that are not here, not even held.
func (p *Instance) behind() bool {
	k := &p.sink
	if n := len(p.ahead.held); n > 0 {
		last := p.ahead.held[n-1].Cursor
		if last.Epoch == k.made.Epoch && last.Seq >= k.made.Seq {
			return false
		}
	}
	return p.state.Behind(k.made)
}
