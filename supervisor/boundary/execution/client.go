package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/outbox"
)

const (
	maxSocketPath    = 107     // the kernel's sun_path, less its zero
	defaultOutBytes  = 4 << 20 // queued to the peer
	defaultInboxSize = 1 << 20 // messages queued to one Handler
	closeWait        = 5 * time.Second
)

var errClosedHere = errors.New("closed here")

// The errors of a Client; test with errors.Is.
var (
	// ErrDisconnected: the connection has ended; what was offered and has no status must be queried on a new one.
	ErrDisconnected = errors.New("execution side (I) is not connected")
	// ErrBusy: I does not read fast enough; nothing was sent.
	ErrBusy = errors.New("the queue to I is full")
	// ErrOverrun: a Handler is so far behind that its queue was given up. Its events are durable at I: Hello and Resume anew.
	ErrOverrun = errors.New("the handler's queue has overrun")
	// ErrNotAnnounced: no Hello for this instance on this connection.
	ErrNotAnnounced = errors.New("the instance is not announced on this connection")
)

// RefusedError is I's refusal of an instance (LS-3).
type RefusedError struct {
	Address ipc.Address
	Reason  ipc.ReasonCode
	Epoch   ipc.Epoch // the highest that I knows
}

// Error names cause and remedy.
func (e *RefusedError) Error() string {
	hint := ""
	if e.Reason == ipc.ReasonEpochPassed {
		hint = "a later start of it exists, or this state directory is an older backup or a copy; "
	}
	return fmt.Sprintf("I refuses %s: %s, the highest epoch it knows is %d; %smsup explain %s says what to do", e.Address, e.Reason, e.Epoch, hint, e.Reason)
}

// Refusal is I's reason, and the highest epoch that it knows.
func (e *RefusedError) Refusal() (ipc.ReasonCode, ipc.Epoch) { return e.Reason, e.Epoch }

// Handler takes what I says about one instance, in order, on a goroutine of its own.
type Handler interface {
	// Event is an execution report or a snapshot. Seq is that of the RequestSnapshot or Resume that it answers, else 0.
	Event(*ipc.SourceEvent)
	// Status is the answer to an Offer (Seq as Offer returned it), or unasked (Seq 0).
	Status(*ipc.StatusReport)
	// Refused answers an Offer, Ack, Resume or RequestSnapshot of an instance that I does not let this connection speak for.
	Refused(*ipc.Refused)
	// Lost is the last call: ErrDisconnected, or ErrOverrun when only this handler's queue was given up.
	Lost(error)
}

// Options say how to talk.
type Options struct {
	Logger    *slog.Logger // nil = slog.Default
	OutBytes  int          // queued to I before ErrBusy; 0 = 4 MiB
	InboxSize int          // messages queued to one Handler before ErrOverrun; 0 = 1 Mi
	// Dial connects to the socket; nil = with the rights of this process.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
}

// Client is one connection to I. Its methods may be used by several goroutines.
type Client struct {
	log     *slog.Logger
	conn    net.Conn
	out     *outbox.Outbox
	options Options
	seq     atomic.Uint64
	done    chan struct{}
	closing atomic.Bool
	threads sync.WaitGroup

	mu      sync.Mutex
	waiting map[uint64]chan ipc.Message
	syncing map[uint64]chan *barrier
	inboxes map[ipc.Address]*inbox
	err     error
}

// Dial connects to I's socket.
func Dial(ctx context.Context, socket string, o Options) (*Client, error) {
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s: %d bytes, the kernel allows %d; choose a shorter directory", socket, len(socket), maxSocketPath)
	}
	dial := o.Dial
	if dial == nil {
		dial = func(ctx context.Context, socket string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
	}
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; start it, or correct its socket in msup.toml", ErrDisconnected, err)
	}
	return New(conn, o), nil
}

// New talks over an existing connection, which it owns from then on.
func New(conn net.Conn, o Options) *Client {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.OutBytes <= 0 {
		o.OutBytes = defaultOutBytes
	}
	if o.InboxSize <= 0 {
		o.InboxSize = defaultInboxSize
	}
	c := &Client{
		log: o.Logger, conn: conn, out: outbox.New(conn, o.OutBytes), options: o, done: make(chan struct{}),
		waiting: make(map[uint64]chan ipc.Message), syncing: make(map[uint64]chan *barrier), inboxes: make(map[ipc.Address]*inbox),
	}
	c.threads.Go(c.write)
	c.threads.Go(func() { c.end(c.read()) })
	return c
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended; nil while it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close writes what is queued, ends the connection and waits for every Handler to return. A Handler must not call it.
func (c *Client) Close() error {
	c.closing.Store(true)
	c.out.Close()
	c.threads.Wait()
	return nil
}

// write sends what is queued until Close. I answers the end of our stream with the end of its own, when it has said everything.
func (c *Client) write() {
	err := c.out.Run()
	u, half := c.conn.(*net.UnixConn)
	if err == nil && half {
		err = errors.Join(u.CloseWrite(), u.SetReadDeadline(time.Now().Add(closeWait)))
	}
	if err != nil || !half {
		c.end(errors.Join(err, errClosedHere))
	}
}

// end closes everything once.
func (c *Client) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrDisconnected, cause)
	_ = c.conn.Close()
	c.out.Close()
	for _, w := range c.waiting {
		close(w)
	}
	for _, w := range c.syncing {
		close(w)
	}
	for _, in := range c.inboxes {
		in.close(c.err)
	}
	close(c.done)
}

// read takes messages until the connection ends.
func (c *Client) read() error {
	frames := ipc.NewFrameReader(c.conn, ipc.FromPeer)
	reader := ipc.NewReader(ipc.FromPeer)
	for {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			if c.closing.Load() {
				return errClosedHere
			}
			return errors.New("connection closed by I; its log says why")
		}
		if err != nil {
			return err
		}
		m, err := reader.Message(frame)
		if err != nil {
			return err
		}
		c.route(m)
	}
}

// route gives a message to who waits for it, else to the Handler of its instance.
func (c *Client) route(m ipc.Message) {
	switch m := m.(type) {
	case *ipc.Welcome:
		c.answer(m.Seq, m)
	case *ipc.Ack:
		c.synced(m.Seq)
	case *ipc.LastStep:
		c.log.Debug("I reports the last step it has seen", "strategy", m.Address.Strategy, "instance", m.Address.Instance, "step", m.Step)
	case *ipc.StatusReport:
		if !c.answer(m.Seq, m) {
			c.deliver(m.Address, m)
		}
	case *ipc.Refused:
		if !c.answer(m.Seq, m) {
			c.deliver(m.Address, m)
		}
	case *ipc.SourceEvent:
		if m.Address == nil {
			c.log.Warn("I sent an event without address; it is dropped", "kind", m.Event.Kind())
			return
		}
		c.deliver(*m.Address, m)
	default:
		c.log.Warn("I sent a message that M does not take; it is dropped", "type", m.Type())
	}
}

func (c *Client) answer(seq uint64, m ipc.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.waiting[seq]
	if ok {
		delete(c.waiting, seq)
		w <- m // has room for one
	}
	return ok
}

func (c *Client) deliver(a ipc.Address, m ipc.Message) {
	c.mu.Lock()
	in := c.inboxes[a]
	c.mu.Unlock()
	if in == nil || !in.put(m) {
		c.log.Warn("a message for an instance that does not take it is dropped; I keeps it until it is acknowledged", "strategy", a.Strategy, "instance", a.Instance, "type", m.Type())
	}
}

// synced passes a barrier through every inbox: Sync returns when all have come through.
func (c *Client) synced(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.syncing[seq]
	if !ok {
		return
	}
	delete(c.syncing, seq)
	b := newBarrier(len(c.inboxes))
	for _, in := range c.inboxes {
		in.putBarrier(b)
	}
	w <- b
}

// ask sends a question and waits for its answer; question is given the seq.
func (c *Client) ask(ctx context.Context, question func(seq uint64) ipc.Message) (ipc.Message, error) {
	seq := c.seq.Add(1)
	w := make(chan ipc.Message, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.waiting[seq] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, seq)
	}()
	if err := c.send(question(seq)); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-w:
		if !ok {
			return nil, c.Err()
		}
		if r, refused := m.(*ipc.Refused); refused {
			return nil, &RefusedError{Address: r.Address, Reason: r.Reason, Epoch: r.Epoch}
		}
		return m, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for I: %w", ctx.Err())
	}
}

// send queues a message without waiting.
func (c *Client) send(m ipc.Message) error { return c.sendError(c.out.Put(m)) }

func (c *Client) sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, outbox.ErrFull):
		return ErrBusy
	}
	if end := c.Err(); end != nil {
		return end
	}
	if errors.Is(err, outbox.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return err
}
