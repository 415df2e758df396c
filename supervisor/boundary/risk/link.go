package risk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/outbox"
)

const (
	maxSocketPath = 107 // the kernel's sun_path, less its zero
	outBytes      = 4 << 20
	dialFirst     = 20 * time.Millisecond
	dialMost      = 2 * time.Second
	againAfter    = 200 * time.Millisecond // between two requests to fill the same gap
	maxSources    = 64                     // remembered for one instance; a peer that names more is misbehaving
	closeWait     = time.Second
	maxOpen       = 4096 // requests of one instance that wait for an answer
)

// ErrTooMany says that so many requests of an instance are open that another is not taken.
var ErrTooMany = errors.New("too many requests for approval are open")

// Party is an instance as a Link knows it; its methods must not block.
type Party interface {
	Arrive(*ipc.SourceEvent)
	Approve(*ipc.Approval)
}

// Options say how to talk.
type Options struct {
	Logger *slog.Logger // nil = slog.Default
	Lost   func(error)  // told when the connection has ended, before another is tried; may be nil
	// Dial connects to the socket; nil = with the rights of this process.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
}

// Link is the connection to J and E. Its methods may be used by several goroutines.
type Link struct {
	socket  string
	options Options
	log     *slog.Logger
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	out     *outbox.Outbox // nil while there is no connection
	seq     uint64
	members map[ipc.Address]*member
	sources map[ipc.SourceID]bool // that have spoken
}

// member is what the link knows of one instance.
type member struct {
	party   Party
	resumed bool
	anew    bool // J and E know less than was taken: everything is asked for from the beginning
	got     map[ipc.SourceID]ipc.Cursor
	latest  ipc.Cursor // of the source that spoke last
	again   time.Time  // a gap was asked to be filled
	open    map[ipc.Key]*ipc.ApprovalRequest
	order   []ipc.Key // of open, oldest first
}

// Connect dials J or E. The first attempt must succeed; afterwards the link connects again by itself until Close.
func Connect(ctx context.Context, socket string, o Options) (*Link, error) {
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("%s: socket path %s: %d bytes, the kernel allows %d; choose a shorter directory", ipc.ReasonSocketPathTooLong, socket, len(socket), maxSocketPath)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	conn, err := o.dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; start the risk side, or correct its socket", ipc.ReasonRiskUnavailable, err)
	}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Link{socket: socket, options: o, log: o.Logger, cancel: cancel, done: make(chan struct{}), members: map[ipc.Address]*member{}, sources: map[ipc.SourceID]bool{}}
	l.out = outbox.New(conn, outBytes)
	go l.keep(alive, conn)
	return l, nil
}

func (o Options) dial(ctx context.Context, socket string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, socket)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

// Attach makes an instance hear what is said to it. Call it before its Resume.
func (l *Link) Attach(a ipc.Address, p Party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[a] = &member{party: p, got: map[ipc.SourceID]ipc.Cursor{}, open: map[ipc.Key]*ipc.ApprovalRequest{}}
}

// Close ends the connection.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.out != nil {
		l.out.Close() // acks that are queued still leave
	}
	l.mu.Unlock()
	l.cancel()
	<-l.done
	return nil
}

// Owns reports whether a source of events is J or E.
func (l *Link) Owns(source ipc.SourceID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources[source]
}

// Resume asks for what comes after the cursors that are durable; those of other sources than J and E must not be among them.
func (l *Link) Resume(a ipc.Address, have []ipc.Cursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[a]
	if m == nil {
		return fmt.Errorf("%s: nobody hears what J and E say of it", a)
	}
	clear(m.got)
	m.resumed, m.latest = true, ipc.Cursor{}
	for _, c := range have {
		m.got[c.Source] = c
		l.sources[c.Source] = true
	}
	if len(have) == 1 { // of several, nobody can say which one J and E count by today
		m.latest = have[0]
	}
	l.resume(a, m)
	return nil
}

// Request puts a staged intent before J or E.
func (l *Link) Request(r *ipc.ApprovalRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, key := l.members[r.Address], r.Intent.Meta.Key
	if m == nil {
		return fmt.Errorf("%s: nobody hears what J and E say of it", r.Address)
	}
	if _, known := m.open[key]; !known {
		if len(m.open) >= maxOpen {
			return ErrTooMany
		}
		m.order = append(m.order, key)
	}
	m.open[key] = r
	l.put(r)
	return nil
}

// Ack says that everything up to the cursor is durable.
func (l *Link) Ack(a ipc.Address, c ipc.Cursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(&ipc.Ack{Address: &a, Cursor: c})
	return nil
}

// put numbers a message and queues it. What does not leave is not lost: an ack is repeated, a request put again on the next connection.
func (l *Link) put(m ipc.Message) {
	if l.out == nil {
		return
	}
	l.seq++
	switch m := m.(type) {
	case *ipc.Ack:
		m.Seq = l.seq
	case *ipc.Resume:
		m.Seq = l.seq
	case *ipc.ApprovalRequest:
		m.Seq = l.seq
	}
	if err := l.out.Put(m); err != nil {
		l.log.Warn("J and E do not read; a message to them waits for the next connection", "reason", ipc.ReasonRiskUnavailable, "type", m.Type(), "err", err)
	}
}

func (l *Link) resume(a ipc.Address, m *member) {
	c := m.latest
	if m.anew {
		c = ipc.Cursor{}
	}
	l.put(&ipc.Resume{Address: &a, Cursor: c})
}

// keep holds one connection after another.
func (l *Link) keep(ctx context.Context, conn net.Conn) {
	defer close(l.done)
	for {
		err := l.converse(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("J and E are away; connecting again", "reason", ipc.ReasonRiskUnavailable, "err", err)
		if l.options.Lost != nil {
			l.options.Lost(err)
		}
		if conn = l.redial(ctx); conn == nil {
			return
		}
		l.begin(conn)
	}
}

func (l *Link) redial(ctx context.Context) net.Conn {
	for wait := dialFirst; ; wait = min(2*wait, dialMost) {
		conn, err := l.options.dial(ctx, l.socket)
		if err == nil {
			return conn
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// begin says again, on a new connection, where every instance is and what it asks.
func (l *Link) begin(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = outbox.New(conn, outBytes)
	l.log.Info("J and E are connected again")
	for a, m := range l.members {
		if !m.resumed {
			continue
		}
		l.resume(a, m)
		for _, key := range m.order {
			l.put(m.open[key])
		}
	}
}

// converse runs one connection to its end.
func (l *Link) converse(ctx context.Context, conn net.Conn) error {
	l.mu.Lock()
	out := l.out
	l.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = out.Run() // the reader sees the end, too
		_ = conn.Close()
	}()
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Now().Add(closeWait)) // a peer that does not read must not hold up the end
		out.Close()
	})
	err := l.read(conn)
	stop()
	l.mu.Lock()
	l.out = nil
	l.mu.Unlock()
	out.Close()
	_ = conn.Close()
	<-written
	return err
}

func (l *Link) read(conn net.Conn) error {
	frames := ipc.NewFrameReader(conn, ipc.FromPeer)
	reader := ipc.NewReader(ipc.FromPeer)
	for {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		m, err := reader.Message(frame)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *ipc.SourceEvent:
			l.event(m)
		case *ipc.Approval:
			l.approval(m)
		case *ipc.Refused:
			l.refused(m)
		default:
			return fmt.Errorf("got a %s, which is not J's or E's to send", m.Type())
		}
	}
}

// event passes on what restricts or commands, and has a gap filled.
func (l *Link) event(e *ipc.SourceEvent) {
	switch e.Event.Kind() {
	case ipc.KindRisk, ipc.KindSafety, ipc.KindManualSignal:
	default:
		l.log.Warn("J or E sent an event that is not theirs to send; it is dropped", "kind", e.Event.Kind())
		return
	}
	l.mu.Lock()
	var m *member
	if e.Address != nil {
		m = l.members[*e.Address]
	}
	if m == nil {
		l.mu.Unlock()
		l.log.Warn("J or E sent an event for an instance that does not run here; they keep it", "kind", e.Event.Kind())
		return
	}
	if len(l.sources) < maxSources*len(l.members) {
		l.sources[e.Cursor.Source] = true
	}
	last := m.got[e.Cursor.Source]
	switch c := e.Cursor; {
	case c.Epoch == last.Epoch && c.Seq == last.Seq+1, last == ipc.Cursor{} && c.Seq == 1:
		if len(m.got) < maxSources || last != (ipc.Cursor{}) {
			m.got[c.Source], m.latest, m.anew = c, c, false
		}
	case c.Epoch < last.Epoch || c.Epoch == last.Epoch && c.Seq <= last.Seq: // repeated
	case time.Since(m.again) >= againAfter:
		m.again = time.Now()
		l.log.Warn("something that J or E said is missing; asking for it again", "source", c.Source, "got", last.Seq, "came", c.Seq)
		from := last
		if from == (ipc.Cursor{}) || from.Epoch != c.Epoch {
			from = ipc.Cursor{Source: c.Source}
		}
		a := *e.Address
		l.put(&ipc.Resume{Address: &a, Cursor: from})
	}
	party := m.party
	l.mu.Unlock()
	party.Arrive(e)
}

func (l *Link) approval(a *ipc.Approval) {
	l.mu.Lock()
	m := l.members[a.Address]
	known := false
	if m != nil {
		if _, known = m.open[a.Key]; known {
			delete(m.open, a.Key)
			for i, key := range m.order {
				if key == a.Key {
					m.order = append(m.order[:i], m.order[i+1:]...)
					break
				}
			}
		}
	}
	l.mu.Unlock()
	if !known {
		l.log.Warn("J or E answer what was not asked, or was answered; it is dropped", "key", a.Key)
		return
	}
	m.party.Approve(a)
}

// refused handles a J or E that has fewer events than were taken: it is another one, or has lost its store.
func (l *Link) refused(r *ipc.Refused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[r.Address]
	l.log.Warn("J or E refuse an instance", "instance", r.Address, "reason", r.Reason)
	if m == nil || r.Reason != ipc.ReasonCursorAhead || m.anew {
		return
	}
	m.anew = true
	l.resume(r.Address, m)
}
