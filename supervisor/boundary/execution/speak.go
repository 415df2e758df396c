package execution

import (
	"context"
	"fmt"

	"github.com/msup/msup/ipc"
)

// Announcement is what Hello says of an instance.
type Announcement struct {
	Address        ipc.Address
	Lineage        ipc.Lineage
	Epoch          ipc.Epoch
	Owner          ipc.Nonce // of this process start
	OldestOpenStep ipc.Step  // I may forget keys below it
}

// Hello announces an instance and waits for I's welcome (LS-3). From the call on, h takes what I says of the instance; what I has no
// ack for comes at once. A refusal is a *RefusedError, and h will hear nothing more. A second Hello for the same instance on the
// same connection replaces the Handler, whose last call is Lost.
func (c *Client) Hello(ctx context.Context, a Announcement, h Handler) (*ipc.Welcome, error) {
	in := newInbox(h, c.options.InboxSize)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	former := c.inboxes[a.Address]
	c.inboxes[a.Address] = in
	c.threads.Go(in.run)
	c.mu.Unlock()
	if former != nil {
		former.close(fmt.Errorf("%w: announced anew", ErrNotAnnounced))
	}
	m, err := c.ask(ctx, func(seq uint64) ipc.Message {
		return &ipc.BoundaryHello{Seq: seq, Address: a.Address, Lineage: a.Lineage, Epoch: a.Epoch, Owner: a.Owner, OldestOpenStep: a.OldestOpenStep}
	})
	welcome, ok := m.(*ipc.Welcome)
	if err == nil && !ok {
		err = fmt.Errorf("announcing %s: I answers with a %s", a.Address, m.Type())
	}
	if err != nil {
		c.drop(a.Address, in, err)
		return nil, err
	}
	return welcome, nil
}

// Forget ends the Handler of an instance; I is not told.
func (c *Client) Forget(a ipc.Address) {
	c.mu.Lock()
	in := c.inboxes[a]
	c.mu.Unlock()
	if in != nil {
		c.drop(a, in, fmt.Errorf("%w: forgotten", ErrNotAnnounced))
	}
}

func (c *Client) drop(a ipc.Address, in *inbox, cause error) {
	c.mu.Lock()
	if c.inboxes[a] == in {
		delete(c.inboxes, a)
	}
	c.mu.Unlock()
	in.close(cause)
}

// Offer hands an intent to I (GT-5). It does not wait: the Handler gets the status under the seq that is returned. o.Seq is not used.
func (c *Client) Offer(o *ipc.Offer) (seq uint64, err error) {
	offer := *o
	offer.Seq = c.seq.Add(1)
	if err := c.send(&offer); err != nil {
		return 0, fmt.Errorf("offering step %d, ordinal %d of %s: %w", o.Step, o.Ordinal, o.Address, err)
	}
	return offer.Seq, nil
}

// Query asks what I knows of a key and waits for the answer; StatusNotSeen is one.
func (c *Client) Query(ctx context.Context, a ipc.Address, epoch ipc.Epoch, key ipc.Key) (*ipc.StatusReport, error) {
	return c.askStatus(ctx, "querying", a, key, func(seq uint64) ipc.Message {
		return &ipc.Query{Seq: seq, Address: a, Epoch: epoch, Key: key}
	})
}

// Tombstone bars a key at I, durably, unless I knows it already; the answer says which.
func (c *Client) Tombstone(ctx context.Context, a ipc.Address, epoch ipc.Epoch, key ipc.Key) (*ipc.StatusReport, error) {
	return c.askStatus(ctx, "tombstoning", a, key, func(seq uint64) ipc.Message {
		return &ipc.Tombstone{Seq: seq, Address: a, Epoch: epoch, Key: key}
	})
}

func (c *Client) askStatus(ctx context.Context, doing string, a ipc.Address, key ipc.Key, question func(uint64) ipc.Message) (*ipc.StatusReport, error) {
	m, err := c.ask(ctx, question)
	if err != nil {
		return nil, fmt.Errorf("%s key %s of %s: %w", doing, key, a, err)
	}
	r, ok := m.(*ipc.StatusReport)
	if !ok {
		return nil, fmt.Errorf("%s key %s of %s: I answers with a %s", doing, key, a, m.Type())
	}
	return r, nil
}

// RequestSnapshot asks for an execution_snapshot; the Handler gets it, in order with the reports, under the seq that is returned.
func (c *Client) RequestSnapshot(a ipc.Address) (seq uint64, err error) {
	seq = c.seq.Add(1)
	if err := c.send(&ipc.SnapshotRequest{Seq: seq, Address: a}); err != nil {
		return 0, fmt.Errorf("requesting a snapshot of %s: %w", a, err)
	}
	return seq, nil
}

// Ack tells I that reports up to the cursor are durable here.
func (c *Client) Ack(a ipc.Address, cursor ipc.Cursor) error {
	if err := c.send(&ipc.Ack{Seq: c.seq.Add(1), Address: &a, Cursor: cursor}); err != nil {
		return fmt.Errorf("acknowledging report %d of %s: %w", cursor.Seq, a, err)
	}
	return nil
}

// Resume asks for the reports after the cursor, again if need be.
func (c *Client) Resume(a ipc.Address, cursor ipc.Cursor) error {
	if err := c.send(&ipc.Resume{Seq: c.seq.Add(1), Address: &a, Cursor: cursor}); err != nil {
		return fmt.Errorf("resuming %s after report %d: %w", a, cursor.Seq, err)
	}
	return nil
}

// Publish gives the simulated I a market event. It waits for room in the queue: a feed may be held back.
func (c *Client) Publish(ctx context.Context, ev ipc.MarketEvent) error {
	h := ev.Header()
	m := &ipc.SourceEvent{Cursor: ipc.Cursor{Source: h.Source, Epoch: 1, Seq: h.Seq}, RecvTS: h.RecvTS, Event: ev}
	if err := c.out.PutWait(ctx, m); err != nil {
		return fmt.Errorf("publishing event %d of %s: %w", h.Seq, h.Source, c.sendError(err))
	}
	return nil
}

// PublishFrame is Publish for a SourceEvent that is already a frame, with its length prefix: one encoding can serve many sinks.
func (c *Client) PublishFrame(ctx context.Context, frame []byte) error {
	if err := c.out.PutFramesWait(ctx, frame); err != nil {
		return fmt.Errorf("publishing a market event: %w", c.sendError(err))
	}
	return nil
}

// Sync waits until the simulated I has worked off everything sent before, and every Handler has taken everything that I sent before its
// answer.
func (c *Client) Sync(ctx context.Context) error {
	seq := c.seq.Add(1)
	w := make(chan *barrier, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.syncing[seq] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.syncing, seq)
	}()
	if err := c.sendError(c.out.PutWait(ctx, &ipc.Sync{Seq: seq})); err != nil {
		return fmt.Errorf("syncing with I: %w", err)
	}
	var b *barrier
	select {
	case got, ok := <-w:
		if !ok {
			return c.Err()
		}
		b = got
	case <-ctx.Done():
		return fmt.Errorf("syncing with I: %w", ctx.Err())
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("syncing with I: a handler has not taken its messages: %w", ctx.Err())
	}
}
