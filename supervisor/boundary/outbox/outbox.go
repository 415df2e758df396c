// Package outbox writes frames to a peer that may be slow, without ever making the writer wait for it.
//
// # What it is
//
// A bounded queue of encoded frames and one goroutine, Run, that writes them. Frames that pile up while a write is under way go out
// in the next one, so a burst costs few system calls and a single frame no delay.
//
// # What is guaranteed
//
// Frames leave in the order in which they were put, whole. Put never blocks: a queue above its limit answers ErrFull, and it is the
// caller who knows whether to wait (PutWait), to refuse, or to give the peer up. After an error of the stream every call
// returns it.
//
// # What you may not assume
//
// That a frame which was put has been received: only the peer's answer says so.
//
// # How to test against it
//
// New(net.Pipe's end, limit): a pipe has no buffer, so a reader that does not read fills the queue at once.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/msup/msup/ipc"
)

// The errors of an Outbox.
var (
	ErrFull   = errors.New("the queue to the peer is full")
	ErrClosed = errors.New("the queue to the peer is closed")
)

// keepBytes is the largest buffer that is kept for reuse.
const keepBytes = 1 << 20

// Outbox queues frames for one writer. Its methods may be used by several goroutines.
type Outbox struct {
	w       io.Writer
	limit   int
	mu      sync.Mutex
	changed sync.Cond
	queue   []byte
	spare   []byte
	closed  bool
	failed  error
}

// New makes an outbox that holds at most limit bytes beside the write under way. One frame is taken whatever its size.
func New(w io.Writer, limit int) *Outbox {
	o := &Outbox{w: w, limit: limit}
	o.changed.L = &o.mu
	return o
}

// Put encodes a message and queues its frame.
func (o *Outbox) Put(m ipc.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.room(0); err != nil {
		return err
	}
	return o.encode(m)
}

func (o *Outbox) encode(m ipc.Message) error {
	q, err := ipc.AppendFrame(o.queue, m)
	if err != nil {
		return err
	}
	o.queue = q
	o.changed.Broadcast()
	return nil
}

// PutFrames queues frames that are already encoded, with their length prefixes.
func (o *Outbox) PutFrames(frames []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.room(len(frames)); err != nil {
		return err
	}
	o.queue = append(o.queue, frames...)
	o.changed.Broadcast()
	return nil
}

// PutWait is Put that waits for room: for streams that may be held back, such as a feed.
func (o *Outbox) PutWait(ctx context.Context, m ipc.Message) error {
	return o.waiting(ctx, 0, func() error { return o.encode(m) })
}

// PutFramesWait is PutFrames that waits for room.
func (o *Outbox) PutFramesWait(ctx context.Context, frames []byte) error {
	return o.waiting(ctx, len(frames), func() error {
		o.queue = append(o.queue, frames...)
		o.changed.Broadcast()
		return nil
	})
}

func (o *Outbox) waiting(ctx context.Context, n int, put func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.room(n)
	if errors.Is(err, ErrFull) {
		stop := context.AfterFunc(ctx, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changed.Broadcast()
		})
		defer stop()
		for errors.Is(err, ErrFull) {
			if ctx.Err() != nil {
				return fmt.Errorf("waiting for room to the peer: %w", ctx.Err())
			}
			o.changed.Wait()
			err = o.room(n)
		}
	}
	if err != nil {
		return err
	}
	return put()
}

// room says whether n more bytes may be queued.
func (o *Outbox) room(n int) error {
	switch {
	case o.failed != nil:
		return o.failed
	case o.closed:
		return ErrClosed
	case len(o.queue) > 0 && len(o.queue)+n >= o.limit:
		return ErrFull
	}
	return nil
}

// Run writes what is put until Close and everything queued is out, or until the stream fails.
func (o *Outbox) Run() error {
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.changed.Wait()
		}
		out := o.queue
		if len(out) == 0 {
			o.mu.Unlock()
			return nil
		}
		o.queue, o.spare = o.spare[:0], nil
		o.changed.Broadcast()
		o.mu.Unlock()

		_, err := o.w.Write(out)

		o.mu.Lock()
		if cap(out) <= keepBytes {
			o.spare = out[:0]
		}
		if err != nil {
			o.failed = fmt.Errorf("writing to the peer: %w", err)
			o.queue = nil
			o.changed.Broadcast()
			o.mu.Unlock()
			return o.failed
		}
		o.mu.Unlock()
	}
}

// Close takes no more; Run returns when the queue is written.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
}
