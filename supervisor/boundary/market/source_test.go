package market

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// h is a market source on a socket.
type h struct {
	t      *testing.T
	path   string
	ln     net.Listener
	conn   net.Conn
	source *Source
}

func newH(t *testing.T, o Options) *h {
	t.Helper()
	s := &h{t: t, path: filepath.Join(t.TempDir(), "h")}
	s.listen()
	o.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	if s.source, err = Open(ctx, s.path, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := s.source.Close(); err != nil {
			t.Error(err)
		}
		_ = s.ln.Close() // a test may have closed it
	})
	s.accept()
	return s
}

func (s *h) listen() {
	s.t.Helper()
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ln = ln
}

func (s *h) accept() {
	s.t.Helper()
	conn, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.conn = conn
	s.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
}

func (s *h) quote(epoch, seq uint64) {
	s.t.Helper()
	one, _ := ipc.NewDecimal(int64(seq), 0) // every seq fits
	ts := ipc.Nanos(1e18) + ipc.Nanos(seq)
	e := &ipc.Quote{Market: ipc.Market{Instrument: "A", Source: "h", EventTS: ts, RecvTS: ts, Seq: seq}, Bid: &one, Ask: &one}
	s.send(&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "h", Epoch: epoch, Seq: seq}, RecvTS: ts, Event: e})
}

func (s *h) send(m ipc.Message) {
	s.t.Helper()
	frame, err := ipc.AppendFrame(nil, m)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.conn.Write(frame); err != nil {
		s.t.Fatalf("H was held back: %v", err)
	}
}

func (s *h) next(seq uint64, want ipc.Quality) {
	s.t.Helper()
	e, err := s.source.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	if got := e.Header(); got.Seq != seq || got.Quality != want {
		s.t.Fatalf("event %d with quality %b, want %d with %b", got.Seq, got.Quality, seq, want)
	}
}

// Proves: BC-H, EV-1, DQ-1
func TestGapsRepetitionsAndNewEpochsAreFlagged(t *testing.T) {
	s := newH(t, Options{})
	for _, seq := range []uint64{1, 2, 4, 4} {
		s.quote(1, seq)
	}
	s.quote(2, 1)
	s.quote(2, 2)
	s.next(1, 0)
	s.next(2, 0)
	s.next(4, ipc.QualityGap)
	s.next(4, ipc.QualityDup)
	s.next(1, ipc.QualityGap)
	s.next(2, 0)
}

// H writes 50,000 events that nobody takes; it is never held back, the newest are kept, and the first of them says that something is missing.
// Proves: BC-H, NN-4
func TestASlowReaderDoesNotHoldBackH(t *testing.T) {
	s := newH(t, Options{Ring: 8})
	const all = 50_000
	for seq := range uint64(all) {
		s.quote(1, seq+1)
	}
	for end := time.Now().Add(10 * time.Second); s.source.Info().Skipped["dropped"] < all-8; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v dropped", s.source.Info().Skipped)
		}
	}
	s.next(all-7, ipc.QualityGap)
	s.next(all-6, 0)
}

// Proves: BC-H
func TestAnHThatComesBack(t *testing.T) {
	s := newH(t, Options{})
	s.quote(1, 1)
	s.next(1, 0)
	if err := errors.Join(s.conn.Close(), s.ln.Close()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	s.listen()
	s.accept()
	s.quote(1, 2)
	s.next(2, ipc.QualityGap)
}

// What is not a market event ends the connection, not the program.
// Proves: BC-H, NN-2
func TestBytesOfHAreNotTrusted(t *testing.T) {
	s := newH(t, Options{})
	bad := []ipc.Message{
		&ipc.Approval{Seq: 1, Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Key: "k", Approved: true},
		&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "h", Epoch: 1, Seq: 1}, Event: &ipc.RiskEvent{RestrictID: "x", Restriction: ipc.Restriction{SizeFactor: ipc.Decimal{M: 1}}}},
		&ipc.SourceEvent{Cursor: ipc.Cursor{Source: "other", Epoch: 1, Seq: 9}, Event: &ipc.Quote{Market: ipc.Market{Instrument: "A", Source: "h", Seq: 1}}},
	}
	for _, m := range bad {
		s.send(m)
		if err := s.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
			t.Fatalf("%T: the connection stands", m)
		}
		s.accept()
	}
	s.quote(1, 1)
	s.next(1, 0)
}

// Proves: BC-H, NN-6
func TestNextEndsWithItsContext(t *testing.T) {
	s := newH(t, Options{})
	time.AfterFunc(20*time.Millisecond, func() { _ = s.source.Close() })
	if _, err := s.source.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("Next ended with %v", err)
	}
}

// Proves: BC-H, NN-6
func TestAnHThatIsNotThere(t *testing.T) {
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); err == nil {
		t.Error("nobody listens, and it was opened")
	}
}
