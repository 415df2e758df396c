package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
)

// Waits between two attempts to connect again.
const (
	dialFirst = 20 * time.Millisecond
	dialMost  = 2 * time.Second

	// syncAgain bounds a Sync after one that I did not answer in time: a feed must not wait for every event.
	syncAgain = 10 * time.Millisecond
)

// Party is an instance as a Link knows it; its methods must not block.
type Party interface {
	Arrive(*ipc.SourceEvent)
	Report(*ipc.StatusReport)
	// SinkLost: the connection that the last Hello went over has ended. Say Hello again and ask about what is open.
	SinkLost(cause error)
	SinkRefused(*ipc.Refused)
}

// LinkOptions say how to keep connected.
type LinkOptions struct {
	Logger   *slog.Logger  // nil = slog.Default
	Patience time.Duration // how long Sync waits for an I that is away or silent; 0 = 10 s
	Lost     func(error)   // told when a connection has ended, before another is tried; may be nil
}

// Link is a connection to I that is made anew whenever it ends. It is a supervisor.Sink: while there is no connection, Hello waits for one and
// everything else fails with ErrDisconnected.
type Link struct {
	dial    func(context.Context) (*Client, error)
	options LinkOptions
	log     *slog.Logger
	cancel  context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	client  *Client       // nil while there is none
	changed chan struct{} // closed when client changes
	parties map[ipc.Address]Party
	since   time.Time // the connection ended
	cause   error
	silent  *Client // did not answer a Sync in time
	times   int     // connections made
}

// Connect dials I for the first time, and goes on dialing whenever the connection ends, until Close. A first attempt that fails is an error.
func Connect(ctx context.Context, dial func(context.Context) (*Client, error), o LinkOptions) (*Link, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	client, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	l := &Link{dial: dial, options: o, log: o.Logger, client: client, times: 1, changed: make(chan struct{}), ended: make(chan struct{}), parties: map[ipc.Address]Party{}}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	go l.keep(alive, client)
	return l, nil
}

// Attach makes an instance hear what I says of it. Call it before its Hello.
func (l *Link) Attach(a ipc.Address, p Party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parties[a] = p
}

// Close writes what is queued and ends the connection.
func (l *Link) Close() error {
	l.cancel()
	<-l.ended
	if c := l.take(); c != nil {
		return c.Close()
	}
	return nil
}

func (l *Link) take() *Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// Client is the connection of this moment; nil while there is none.
func (l *Link) Client() *Client { return l.take() }

// Err says since when there is no connection, and why; nil while there is one.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client.Err()
	}
	return fmt.Errorf("away for %s: %w", time.Since(l.since).Round(time.Millisecond), l.cause)
}

// Connections is how many were made.
func (l *Link) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times
}

// keep connects again whenever the connection ends.
func (l *Link) keep(ctx context.Context, client *Client) {
	defer close(l.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-client.Done():
		}
		cause := client.Err()
		l.set(nil, cause)
		_ = client.Close() // it has ended; this waits for its handlers
		l.log.Warn("the connection to I has ended; connecting again", "reason", ipc.ReasonSinkUnavailable, "err", cause)
		if l.options.Lost != nil {
			l.options.Lost(cause)
		}
		if client = l.redial(ctx); client == nil {
			return
		}
		l.log.Info("I is connected again", "after", time.Since(l.set(client, nil)))
	}
}

// set replaces the client and returns when the last one ended.
func (l *Link) set(c *Client, cause error) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client = c; c == nil {
		l.since, l.cause = time.Now(), cause
	} else {
		l.times++
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return l.since
}

func (l *Link) redial(ctx context.Context) *Client {
	for wait := dialFirst; ; wait = min(2*wait, dialMost) {
		client, err := l.dial(ctx)
		if err == nil {
			return client
		}
		l.mu.Lock()
		l.cause = err
		l.mu.Unlock()
		l.log.Debug("I cannot be reached", "err", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// current waits for a connection.
func (l *Link) current(ctx context.Context) (*Client, error) {
	for {
		l.mu.Lock()
		c, changed, cause := l.client, l.changed, l.cause
		l.mu.Unlock()
		if c != nil && c.Err() == nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-l.ended:
			return nil, fmt.Errorf("%w: %w", ErrDisconnected, errClosedHere)
		case <-ctx.Done():
			return nil, errors.Join(ErrDisconnected, cause, ctx.Err())
		}
		if c != nil && c.Err() != nil { // it has ended and not been replaced yet: changed comes
			continue
		}
	}
}

func (l *Link) now() (*Client, error) {
	if c := l.take(); c != nil {
		return c, nil
	}
	return nil, ErrDisconnected
}

// Hello waits for a connection and announces an instance on it.
func (l *Link) Hello(ctx context.Context, h ipc.BoundaryHello) (ipc.Welcome, error) {
	c, err := l.current(ctx)
	if err != nil {
		return ipc.Welcome{}, err
	}
	l.mu.Lock()
	party := l.parties[h.Address]
	l.mu.Unlock()
	if party == nil {
		return ipc.Welcome{}, fmt.Errorf("%s: nobody hears what I says of it", h.Address)
	}
	w, err := c.Hello(ctx, Announcement{Address: h.Address, Lineage: h.Lineage, Epoch: h.Epoch, Owner: h.Owner, OldestOpenStep: h.OldestOpenStep},
		&hearing{party})
	if err != nil {
		return ipc.Welcome{}, err
	}
	return *w, nil
}

// Offer hands an intent to I.
func (l *Link) Offer(o *ipc.Offer) error {
	c, err := l.now()
	if err != nil {
		return err
	}
	_, err = c.Offer(o)
	return err
}

// Query asks what I knows of a key.
func (l *Link) Query(ctx context.Context, q ipc.Query) (ipc.StatusReport, error) {
	c, err := l.now()
	if err != nil {
		return ipc.StatusReport{}, err
	}
	return whole(c.Query(ctx, q.Address, q.Epoch, q.Key))
}

// Tombstone bars a key at I.
func (l *Link) Tombstone(ctx context.Context, t ipc.Tombstone) (ipc.StatusReport, error) {
	c, err := l.now()
	if err != nil {
		return ipc.StatusReport{}, err
	}
	return whole(c.Tombstone(ctx, t.Address, t.Epoch, t.Key))
}

func whole(r *ipc.StatusReport, err error) (ipc.StatusReport, error) {
	if err != nil {
		return ipc.StatusReport{}, err
	}
	return *r, nil
}

// RequestSnapshot asks for positions and open orders.
func (l *Link) RequestSnapshot(a ipc.Address) error {
	c, err := l.now()
	if err != nil {
		return err
	}
	_, err = c.RequestSnapshot(a)
	return err
}

// Resume asks for the reports after a cursor once more.
func (l *Link) Resume(a ipc.Address, cursor ipc.Cursor) error {
	c, err := l.now()
	if err != nil {
		return err
	}
	return c.Resume(a, cursor)
}

// Ack tells I what is durable here.
func (l *Link) Ack(a ipc.Address, cursor ipc.Cursor) error {
	c, err := l.now()
	if err != nil {
		return err
	}
	return c.Ack(a, cursor)
}

// PublishFrame gives the simulated I market events; while it is away they are dropped: who restarts it tells it where the market stands.
func (l *Link) PublishFrame(ctx context.Context, frames []byte) error {
	c, err := l.now()
	if err == nil {
		err = c.PublishFrame(ctx, frames)
	}
	if errors.Is(err, ErrDisconnected) {
		return nil
	}
	return err
}

// Sync waits until I has worked off everything sent before. It does not wait for ever: an I that is away or silent for longer than the
// patience is not waited for, and the instances, which know what it has not judged, look after themselves.
func (l *Link) Sync(ctx context.Context) error {
	patience, cancel := context.WithDeadline(ctx, l.deadline())
	defer cancel()
	for {
		c, err := l.current(patience)
		if err == nil {
			err = c.Sync(patience)
		}
		switch {
		case err == nil:
			l.hush(nil)
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for I: %w", ctx.Err())
		case patience.Err() != nil:
			l.hush(c)
			return nil
		case !errors.Is(err, ErrDisconnected):
			return err
		}
	}
}

func (l *Link) deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.client == nil:
		return l.since.Add(l.options.Patience)
	case l.client == l.silent:
		return time.Now().Add(syncAgain)
	}
	return time.Now().Add(l.options.Patience)
}

func (l *Link) hush(c *Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c != nil && l.silent != c {
		l.log.Warn("I does not answer; the feed goes on without it", "reason", ipc.ReasonSinkUnavailable)
	}
	l.silent = c
}

// hearing passes on what I says of one instance over one connection.
type hearing struct{ party Party }

func (h *hearing) Event(e *ipc.SourceEvent)   { h.party.Arrive(e) }
func (h *hearing) Status(r *ipc.StatusReport) { h.party.Report(r) }
func (h *hearing) Refused(r *ipc.Refused)     { h.party.SinkRefused(r) }

// Lost is the last call; that of a handler which a second Hello has replaced, or whose Hello failed, means nothing.
func (h *hearing) Lost(cause error) {
	if errors.Is(cause, ErrDisconnected) || errors.Is(cause, ErrOverrun) {
		h.party.SinkLost(cause)
	}
}
