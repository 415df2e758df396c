package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

var (
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
	one   = ipc.Address{Bot: "b", Strategy: "s", Instance: "1"}
	two   = ipc.Address{Bot: "b", Strategy: "s", Instance: "2"}
)

// recorder is a Handler that can be made to hang.
type recorder struct {
	mu   sync.Mutex
	log  []string
	lost chan error
	gate chan struct{} // nil = open
}

func newRecorder() *recorder { return &recorder{lost: make(chan error, 1)} }

func (r *recorder) add(format string, args ...any) {
	if r.gate != nil {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Event(m *ipc.SourceEvent)   { r.add("event %d", m.Cursor.Seq) }
func (r *recorder) Status(m *ipc.StatusReport) { r.add("status %d", m.Seq) }
func (r *recorder) Refused(m *ipc.Refused)     { r.add("refused %s", m.Reason) }
func (r *recorder) Lost(err error)             { r.lost <- err }

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.log...)
}

// fake is I's end of a connection, played by the test.
type fake struct {
	t *testing.T
	*ipc.Conn
}

func connect(t *testing.T, o Options) (*Client, *fake, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	o.Logger = quiet
	c, err := Dial(ctx, socket, o)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t, ipc.NewConn(conn, ipc.FromAnyone)}
	t.Cleanup(func() { _ = conn.Close(); _ = ln.Close(); _ = c.Close() })
	return c, f, ctx
}

func expect[M ipc.Message](f *fake) M {
	f.t.Helper()
	m, err := f.Receive()
	if err != nil {
		f.t.Fatal(err)
	}
	got, ok := m.(M)
	if !ok {
		f.t.Fatalf("M sent a %s", m.Type())
	}
	return got
}

func (f *fake) say(m ipc.Message) {
	f.t.Helper()
	if err := f.Send(m); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) welcome() {
	f.t.Helper()
	h := expect[*ipc.BoundaryHello](f)
	f.say(&ipc.Welcome{Seq: h.Seq, Address: h.Address, Cursor: ipc.Cursor{Source: "x", Epoch: 1}})
}

func announce(t *testing.T, ctx context.Context, c *Client, f *fake, a ipc.Address, h Handler) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Hello(ctx, Announcement{Address: a, Epoch: 1}, h)
		done <- err
	}()
	f.welcome()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func report(a ipc.Address, seq uint64) *ipc.SourceEvent {
	return &ipc.SourceEvent{Address: &a, Cursor: ipc.Cursor{Source: "x", Epoch: 1, Seq: seq}, Event: &ipc.Execution{Key: "k", Report: ipc.ExecAccepted, Instrument: "X", Side: ipc.SideBuy}}
}

func offer(a ipc.Address) *ipc.Offer {
	return &ipc.Offer{Address: a, Epoch: 1, Intent: &ipc.Intent{Body: &ipc.NoOpIntent{Reason: "r"}}}
}

// overrun reports whether the queue of an instance's handler was given up.
func (c *Client) overrun(a ipc.Address) bool {
	c.mu.Lock()
	in := c.inboxes[a]
	c.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	return errors.Is(in.end, ErrOverrun)
}

// A handler that hangs holds up its own instance, nobody else's.
// Proves: BC-I
func TestHungHandlerHoldsUpOnlyItsInstance_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{InboxSize: 50})
	hung, fine := newRecorder(), newRecorder()
	hung.gate = make(chan struct{})
	announce(t, ctx, c, f, one, hung)
	announce(t, ctx, c, f, two, fine)
	f.say(report(one, 1))
	for i := range uint64(20) {
		f.say(report(two, i+1))
	}
	for len(fine.seen()) < 20 {
		if ctx.Err() != nil {
			t.Fatalf("the other instance has %v", fine.seen())
		}
		time.Sleep(time.Millisecond)
	}
	// What it cannot hold is given up, and said.
	for i := range uint64(100) {
		f.say(report(one, i+2))
	}
	for !c.overrun(one) { // before it may go on, all must have come: else it keeps up
		if ctx.Err() != nil {
			t.Fatal("the hung handler's queue never overran")
		}
		time.Sleep(time.Millisecond)
	}
	close(hung.gate)
	if err := <-hung.lost; !errors.Is(err, ErrOverrun) {
		t.Errorf("the hung handler ends with %v", err)
	}
	f.say(report(two, 21))
	for len(fine.seen()) < 21 {
		if ctx.Err() != nil {
			t.Fatal("the other instance has ended")
		}
		time.Sleep(time.Millisecond)
	}
}

// A peer that does not read is told of at once; nothing that speaks for an instance waits for it.
// Proves: BC-I
func TestPeerThatDoesNotReadIsBusy_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{OutBytes: 4096})
	h := newRecorder()
	announce(t, ctx, c, f, one, h)
	sent := 0
	for busy := 0; busy < 5; { // five in a row: the kernel's buffer is full as well
		_, err := c.Offer(offer(one))
		switch {
		case err == nil:
			busy = 0
			sent++
		case errors.Is(err, ErrBusy):
			busy++
			time.Sleep(10 * time.Millisecond)
		default:
			t.Fatalf("after %d offers: %v", sent, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := c.Publish(short, &ipc.Quote{Market: ipc.Market{Instrument: "X", Source: "s", Seq: 1}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish to a full queue: %v", err)
	}
	published := make(chan error, 1)
	go func() {
		published <- c.Publish(ctx, &ipc.Quote{Market: ipc.Market{Instrument: "X", Source: "s", Seq: 2}})
	}()
	last := uint64(0)
	for range sent {
		o := expect[*ipc.Offer](f)
		if o.Seq <= last {
			t.Fatalf("offer %d after %d", o.Seq, last)
		}
		last = o.Seq
	}
	if e := expect[*ipc.SourceEvent](f); e.Cursor.Seq != 2 || e.Address != nil {
		t.Errorf("published %+v", e)
	}
	if err := <-published; err != nil {
		t.Error(err)
	}
}

// Proves: BC-I
func TestOrderOnTheWireIsTheOrderOfCalls_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{})
	announce(t, ctx, c, f, one, newRecorder())
	if err := c.Publish(ctx, &ipc.Quote{Market: ipc.Market{Instrument: "X", Source: "s", Seq: 1, RecvTS: 5}}); err != nil {
		t.Fatal(err)
	}
	seq, err := c.Offer(offer(one))
	if err != nil {
		t.Fatal(err)
	}
	frame, err := ipc.AppendFrame(nil, &ipc.SourceEvent{Cursor: ipc.Cursor{Source: "s", Epoch: 1, Seq: 2}, Event: &ipc.Quote{Market: ipc.Market{Instrument: "X", Source: "s", Seq: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PublishFrame(ctx, frame); err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(one, ipc.Cursor{Source: "x", Epoch: 1, Seq: 7}); err != nil {
		t.Fatal(err)
	}
	if e := expect[*ipc.SourceEvent](f); e.Cursor.Seq != 1 || e.RecvTS != 5 {
		t.Errorf("first %+v", e)
	}
	if o := expect[*ipc.Offer](f); o.Seq != seq {
		t.Errorf("second %+v, Offer returned %d", o, seq)
	}
	if e := expect[*ipc.SourceEvent](f); e.Cursor.Seq != 2 {
		t.Errorf("third %+v", e)
	}
	if a := expect[*ipc.Ack](f); a.Cursor.Seq != 7 || *a.Address != one {
		t.Errorf("fourth %+v", a)
	}
}

// Sync returns only when every handler has taken what came before its answer.
// Proves: BC-I
func TestSyncWaitsForTheHandlers_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{})
	slow := newRecorder()
	slow.gate = make(chan struct{})
	announce(t, ctx, c, f, one, slow)
	announce(t, ctx, c, f, two, newRecorder())
	synced := make(chan error, 1)
	go func() { synced <- c.Sync(ctx) }()
	s := expect[*ipc.Sync](f)
	f.say(report(one, 1))
	f.say(&ipc.StatusReport{Seq: 99, Address: one, Key: "k", Status: ipc.StatusCommitted})
	f.say(&ipc.Ack{Seq: s.Seq})
	select {
	case err := <-synced:
		t.Fatalf("Sync returned %v before the handler had its messages", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(slow.gate)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(slow.seen()); got != "[event 1 status 99]" {
		t.Errorf("the handler has %s", got)
	}
}

// The end is told to everybody who waits, typed.
// Proves: BC-I
func TestDisconnectIsTyped_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{})
	h := newRecorder()
	announce(t, ctx, c, f, one, h)
	results := make(chan error, 3)
	go func() { _, err := c.Query(ctx, one, 1, "k"); results <- err }()
	go func() { results <- c.Sync(ctx) }()
	go func() {
		_, err := c.Hello(ctx, Announcement{Address: two, Epoch: 1}, newRecorder())
		results <- err
	}()
	for range 3 {
		if _, err := f.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-results; !errors.Is(err, ErrDisconnected) {
			t.Errorf("a waiting call ends with %v", err)
		}
	}
	if err := <-h.lost; !errors.Is(err, ErrDisconnected) {
		t.Errorf("the handler ends with %v", err)
	}
	<-c.Done()
	if _, err := c.Offer(offer(one)); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Offer: %v", err)
	}
	if err := c.Publish(ctx, &ipc.Quote{Market: ipc.Market{Instrument: "X", Source: "s", Seq: 1}}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Publish: %v", err)
	}
	if _, err := Dial(ctx, "/nonexistent/i.sock", Options{}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Dial: %v", err)
	}
}

// I is not trusted either: bytes that break the protocol end the connection.
// Proves: BC-I
func TestBadBytesFromIEndTheConnection_BCI(t *testing.T) {
	for name, b := range map[string][]byte{
		"huge":     {0xff, 0xff, 0xff, 0xff},
		"no array": {0, 0, 0, 1, 0xc0},
		"M's own":  {0, 0, 0, 3, 0x92, 46, 1},
	} {
		c, f, ctx := connect(t, Options{})
		h := newRecorder()
		announce(t, ctx, c, f, one, h)
		if _, err := f.Conn.Conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := <-h.lost; !errors.Is(err, ErrDisconnected) || ipc.ClassOf(err) == "" {
			t.Errorf("%s: the handler ends with %v", name, err)
		}
	}
}

// Close writes what is queued before it ends.
// Proves: BC-I
func TestCloseSendsWhatIsQueued_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{})
	h := newRecorder()
	announce(t, ctx, c, f, one, h)
	for range 1000 {
		if _, err := c.Offer(offer(one)); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for range 1000 {
		expect[*ipc.Offer](f)
	}
	if _, err := f.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last offer: %v", err)
	}
	f.say(report(one, 1)) // I may still have something to say
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(h.seen()); got != "[event 1]" {
		t.Errorf("the handler has %s", got)
	}
	if err := <-h.lost; !errors.Is(err, ErrDisconnected) {
		t.Errorf("the handler ends with %v", err)
	}
}

// Proves: BC-I
func TestForgottenAndReplacedHandlersAreTold_BCI(t *testing.T) {
	c, f, ctx := connect(t, Options{})
	first, second := newRecorder(), newRecorder()
	announce(t, ctx, c, f, one, first)
	announce(t, ctx, c, f, one, second)
	if err := <-first.lost; !errors.Is(err, ErrNotAnnounced) {
		t.Errorf("the replaced handler ends with %v", err)
	}
	c.Forget(one)
	if err := <-second.lost; !errors.Is(err, ErrNotAnnounced) {
		t.Errorf("the forgotten handler ends with %v", err)
	}
	refused := newRecorder()
	done := make(chan error, 1)
	go func() {
		_, err := c.Hello(ctx, Announcement{Address: two, Epoch: 1}, refused)
		done <- err
	}()
	h := expect[*ipc.BoundaryHello](f)
	f.say(&ipc.Refused{Seq: h.Seq, Address: two, Reason: ipc.ReasonEpochPassed, Epoch: 4})
	var r *RefusedError
	if err := <-done; !errors.As(err, &r) || r.Epoch != 4 || r.Reason != ipc.ReasonEpochPassed {
		t.Errorf("Hello: %v", err)
	}
	if err := <-refused.lost; !errors.As(err, &r) {
		t.Errorf("the refused handler ends with %v", err)
	}
}
