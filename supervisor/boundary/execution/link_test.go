package execution

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// instance is a Party that keeps what it hears.
type instance struct {
	*recorder
	ends chan error
}

func (i *instance) Arrive(e *ipc.SourceEvent)  { i.Event(e) }
func (i *instance) Report(r *ipc.StatusReport) { i.Status(r) }
func (i *instance) SinkRefused(r *ipc.Refused) { i.Refused(r) }
func (i *instance) SinkLost(cause error)       { i.ends <- cause }
func (l *Link) hello(ctx context.Context) error {
	return second(l.Hello(ctx, ipc.BoundaryHello{Address: one, Epoch: 1}))
}

func second(_ ipc.Welcome, err error) error { return err }

// linked is a Link with I's end of its first connection.
func linked(t *testing.T, patience time.Duration) (*Link, *instance, *fake, func() *fake) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	accept := func() *fake {
		t.Helper()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return &fake{t, ipc.NewConn(conn, ipc.FromAnyone)}
	}
	dial := func(ctx context.Context) (*Client, error) {
		return Dial(ctx, ln.Addr().String(), Options{Logger: quiet})
	}
	l, err := Connect(t.Context(), dial, LinkOptions{Logger: quiet, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	p := &instance{recorder: newRecorder(), ends: make(chan error, 4)}
	l.Attach(one, p)
	f := accept()
	t.Cleanup(func() { _ = ln.Close(); _ = l.Close() })
	return l, p, f, accept
}

// A connection that ends is told to the instance and made anew; Hello waits for it, and what was said before it is not said again by itself.
// Proves: BC-I, GT-6
func TestALinkConnectsAgain(t *testing.T) {
	l, p, f, accept := linked(t, time.Second)
	said := make(chan error, 1)
	go func() { said <- l.hello(t.Context()) }()
	f.welcome()
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if cause := <-p.ends; !errors.Is(cause, ErrDisconnected) {
		t.Errorf("lost for %v", cause)
	}
	go func() { said <- l.hello(t.Context()) }()
	f = accept()
	f.welcome()
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	if err := l.Resume(one, ipc.Cursor{Source: "x", Epoch: 1, Seq: 3}); err != nil {
		t.Fatal(err)
	}
	if r := expect[*ipc.Resume](f); r.Cursor.Seq != 3 {
		t.Errorf("resume from %d", r.Cursor.Seq)
	}
	if l.Connections() != 2 || l.Err() != nil {
		t.Errorf("%d connections, %v", l.Connections(), l.Err())
	}
}

// An I that is silent is waited for once, not at every event; Ctrl-C ends every wait.
// Proves: BC-I, NN-6
func TestSyncIsNotForEver(t *testing.T) {
	l, _, _, _ := linked(t, 100*time.Millisecond)
	began := time.Now()
	for range 20 {
		if err := l.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("20 syncs with a silent I took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled sync ended with %v", err)
	}
	if _, err := l.Hello(ctx, ipc.BoundaryHello{Address: one}); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled hello ended with %v", err)
	}
}
