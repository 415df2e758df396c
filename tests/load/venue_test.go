package load

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// digest is an order-keeping sum of what was sent, or of what arrived.
type digest struct {
	n   uint64
	sum uint64
}

func (d *digest) add(parts ...string) {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // a hash takes everything
		_, _ = h.Write([]byte{0})
	}
	d.n++
	d.sum = d.sum*1_000_003 + h.Sum64()
}

// venue is I for one instance: it accepts and fills every order, on a goroutine of its own, and says each with a number.
type venue struct {
	to    *supervisor.Instance
	fills bool // else orders rest
	work  chan func()
	ended chan struct{}
	seq   uint64

	mu      sync.Mutex
	said    digest
	cancels []time.Time // when a cancel was offered
	open    int         // orders that rest
}

var _ supervisor.Sink = (*venue)(nil)

func newVenue(fills bool) *venue {
	v := &venue{fills: fills, work: make(chan func(), 1<<14), ended: make(chan struct{})}
	go func() {
		defer close(v.ended)
		for f := range v.work {
			f()
		}
	}()
	return v
}

func (v *venue) close() {
	close(v.work)
	<-v.ended
}

func (v *venue) Hello(context.Context, ipc.BoundaryHello) (ipc.Welcome, error) {
	return ipc.Welcome{}, nil
}

func (v *venue) Offer(o *ipc.Offer) error {
	key, digest := o.Intent.Meta.Key, o.Digest
	if _, ok := o.Intent.Body.(*ipc.CancelIntent); ok {
		v.mu.Lock()
		v.cancels = append(v.cancels, time.Now())
		v.mu.Unlock()
	}
	v.work <- func() {
		switch body := o.Intent.Body.(type) {
		case *ipc.OrderIntent:
			price := body.LimitPrice
			v.report(&ipc.Execution{Key: key, Report: ipc.ExecAccepted, Instrument: body.Instrument, Side: body.Side, Remaining: &body.Quantity})
			if v.fills {
				v.report(&ipc.Execution{Key: key, Report: ipc.ExecFilled, Instrument: body.Instrument, Side: body.Side, Price: price, Quantity: &body.Quantity,
					Remaining: &ipc.Decimal{}, Final: true})
			} else {
				v.mu.Lock()
				v.open++
				v.mu.Unlock()
			}
		case *ipc.CancelIntent:
			v.report(&ipc.Execution{Key: body.TargetKey, Report: ipc.ExecCanceled, Instrument: body.Instrument, Remaining: &ipc.Decimal{}, Final: true})
		}
		v.to.Report(&ipc.StatusReport{Key: key, Status: ipc.StatusCommitted, Digest: &digest})
	}
	return nil
}

func (v *venue) report(e *ipc.Execution) {
	v.seq++
	e.RecvTS = now()
	v.mu.Lock()
	v.said.add(string(e.Key), string(rune('0'+e.Report)))
	v.mu.Unlock()
	v.to.Arrive(&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: v.seq}, RecvTS: e.RecvTS, TraceID: "t", Event: e})
}

func (v *venue) Query(_ context.Context, q ipc.Query) (ipc.StatusReport, error) {
	return ipc.StatusReport{Key: q.Key, Status: ipc.StatusNotSeen}, nil
}

func (v *venue) Tombstone(_ context.Context, t ipc.Tombstone) (ipc.StatusReport, error) {
	return ipc.StatusReport{Key: t.Key, Status: ipc.StatusWithdrawn}, nil
}
func (v *venue) RequestSnapshot(ipc.Address) error    { return nil }
func (v *venue) Resume(ipc.Address, ipc.Cursor) error { return nil }
func (v *venue) Ack(ipc.Address, ipc.Cursor) error    { return nil }

func now() ipc.Nanos { return ipc.Nanos(time.Now().UnixNano()) }

// wallClock never goes back.
type wallClock struct{ last ipc.Nanos }

func (c *wallClock) Now(recv ipc.Nanos) (processed, core ipc.Nanos) {
	c.last = max(c.last, recv, now())
	return c.last, c.last
}
