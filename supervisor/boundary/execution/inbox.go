package execution

import (
	"sync"
	"sync/atomic"

	"github.com/msup/msup/ipc"
)

// inbox queues what one instance's Handler has not taken yet.
type inbox struct {
	handler Handler
	limit   int
	mu      sync.Mutex
	changed sync.Cond
	queue   []any // ipc.Message or *barrier
	end     error
}

func newInbox(h Handler, limit int) *inbox {
	in := &inbox{handler: h, limit: limit}
	in.changed.L = &in.mu
	return in
}

// put queues a message; false when the inbox takes no more. One that overruns is ended, so that memory stays bounded: the events
// are durable at I.
func (in *inbox) put(m ipc.Message) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.end != nil {
		return false
	}
	if len(in.queue) >= in.limit {
		in.end = ErrOverrun
		in.changed.Signal()
		return false
	}
	in.queue = append(in.queue, m)
	in.changed.Signal()
	return true
}

func (in *inbox) putBarrier(b *barrier) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.end != nil {
		b.pass()
		return
	}
	in.queue = append(in.queue, b)
	in.changed.Signal()
}

// close lets the Handler take what is queued and then tells it the end.
func (in *inbox) close(cause error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.end == nil {
		in.end = cause
	}
	in.changed.Signal()
}

// run calls the Handler until the end.
func (in *inbox) run() {
	for {
		in.mu.Lock()
		for len(in.queue) == 0 && in.end == nil {
			in.changed.Wait()
		}
		queue, end := in.queue, in.end
		in.queue = nil
		in.mu.Unlock()
		for _, item := range queue {
			switch m := item.(type) {
			case *barrier:
				m.pass()
			case *ipc.SourceEvent:
				in.handler.Event(m)
			case *ipc.StatusReport:
				in.handler.Status(m)
			case *ipc.Refused:
				in.handler.Refused(m)
			}
		}
		if end != nil {
			in.handler.Lost(end)
			return
		}
	}
}

// barrier is passed through several inboxes; done is closed when all have let it through.
type barrier struct {
	left atomic.Int64
	done chan struct{}
}

func newBarrier(n int) *barrier {
	b := &barrier{done: make(chan struct{})}
	b.left.Store(int64(n))
	if n == 0 {
		close(b.done)
	}
	return b
}

func (b *barrier) pass() {
	if b.left.Add(-1) == 0 {
		close(b.done)
	}
}
