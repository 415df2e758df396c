package risk

import (
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

var here = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}

// party keeps what it hears.
type party struct {
	mu        sync.Mutex
	events    []ipc.Cursor
	approvals []ipc.Key
}

func (p *party) Arrive(e *ipc.SourceEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e.Cursor)
}

func (p *party) Approve(a *ipc.Approval) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.approvals = append(p.approvals, a.Key)
}

// j is the other side.
type j struct {
	t      *testing.T
	path   string
	ln     net.Listener
	conn   net.Conn
	frames *ipc.FrameReader
	link   *Link
	party  *party
	lost   chan error
}

func newJ(t *testing.T) *j {
	t.Helper()
	s := &j{t: t, path: filepath.Join(t.TempDir(), "j"), party: &party{}, lost: make(chan error, 8)}
	s.listen()
	var err error
	if s.link, err = Connect(t.Context(), s.path, Options{Logger: slog.New(slog.DiscardHandler), Lost: func(err error) { s.lost <- err }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.link.Close(); err != nil {
			t.Error(err)
		}
		_ = s.ln.Close() // a test may have closed it
	})
	s.link.Attach(here, s.party)
	s.accept()
	return s
}

func (s *j) listen() {
	s.t.Helper()
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ln = ln
}

func (s *j) accept() {
	s.t.Helper()
	conn, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.conn, s.frames = conn, ipc.NewFrameReader(conn, ipc.FromAnyone)
	s.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
}

func (s *j) send(m ipc.Message) {
	s.t.Helper()
	frame, err := ipc.AppendFrame(nil, m)
	if err == nil {
		_, err = s.conn.Write(frame)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *j) restrict(source ipc.SourceID, epoch, seq uint64) {
	s.t.Helper()
	a := here
	s.send(&ipc.SourceEvent{Address: &a, Cursor: ipc.Cursor{Source: source, Epoch: epoch, Seq: seq},
		Event: &ipc.RiskEvent{RestrictID: "x", Restriction: ipc.Restriction{SizeFactor: ipc.Decimal{M: 1}, NoTrade: true}}})
}

func (s *j) hears() ipc.Message {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	frame, err := s.frames.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := ipc.DecodeMessage(frame, ipc.FromAnyone)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *j) hearsResume(want ipc.Cursor) {
	s.t.Helper()
	r, ok := s.hears().(*ipc.Resume)
	if !ok || *r.Address != here || r.Cursor != want {
		s.t.Fatalf("J hears %+v, want a resume from %+v", r, want)
	}
}

func (s *j) until(what string, done func(*party) bool) {
	s.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.party.mu.Lock()
		ok := done(s.party)
		s.party.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: it did not come", what)
		}
	}
}

func request(key ipc.Key) *ipc.ApprovalRequest {
	return &ipc.ApprovalRequest{Address: here, Epoch: 1, Step: 2, Intent: &ipc.Intent{
		Meta: ipc.IntentMeta{Bot: here.Bot, Strategy: here.Strategy, StrategyVersion: "1.0.0", Instance: here.Instance, RunID: "r", TraceID: "t", Key: key},
		Body: &ipc.NoOpIntent{Reason: "x"}}}
}

// J goes away before it has answered: M resumes from what it has and asks again, and only until it is answered.
// Proves: GT-7, BP-3, BC-J
func TestRequestsAreRepeatedUntilTheyAreAnswered(t *testing.T) {
	s := newJ(t)
	if err := s.link.Resume(here, []ipc.Cursor{{Source: "risk", Epoch: 1, Seq: 3}}); err != nil {
		t.Fatal(err)
	}
	s.hearsResume(ipc.Cursor{Source: "risk", Epoch: 1, Seq: 3})
	keys := []ipc.Key{"00000000000000000000000000000001", "00000000000000000000000000000002"}
	for _, key := range keys {
		if err := s.link.Request(request(key)); err != nil {
			t.Fatal(err)
		}
		if r, ok := s.hears().(*ipc.ApprovalRequest); !ok || r.Intent.Meta.Key != key {
			t.Fatalf("J hears %+v", r)
		}
	}
	s.send(&ipc.Approval{Address: here, Key: keys[0], Approved: true})
	s.restrict("risk", 1, 4)
	s.until("the restriction", func(p *party) bool { return len(p.events) == 1 && len(p.approvals) == 1 })
	if !s.link.Owns("risk") || s.link.Owns("execution") {
		t.Error("it does not know its sources")
	}
	_ = s.conn.Close()
	<-s.lost
	s.accept()
	s.hearsResume(ipc.Cursor{Source: "risk", Epoch: 1, Seq: 4})
	if r, ok := s.hears().(*ipc.ApprovalRequest); !ok || r.Intent.Meta.Key != keys[1] {
		t.Fatalf("J hears %+v", r)
	}
	s.send(&ipc.Approval{Address: here, Key: keys[1]})
	s.send(&ipc.Approval{Address: here, Key: keys[1]}) // a second word counts for nothing
	s.restrict("risk", 1, 5)
	s.until("the next restriction", func(p *party) bool { return len(p.events) == 2 })
	if len(s.party.approvals) != 2 {
		t.Errorf("approvals %v", s.party.approvals)
	}
}

// A gap restricts at once and is asked for; a J that lost its store is asked from the beginning.
// Proves: BP-3, BC-J
func TestWhatJSaidIsNotMissed(t *testing.T) {
	s := newJ(t)
	if err := s.link.Resume(here, []ipc.Cursor{{Source: "risk", Epoch: 1, Seq: 3}}); err != nil {
		t.Fatal(err)
	}
	s.hearsResume(ipc.Cursor{Source: "risk", Epoch: 1, Seq: 3})
	s.restrict("risk", 1, 6)
	s.hearsResume(ipc.Cursor{Source: "risk", Epoch: 1, Seq: 3})
	s.until("what came too early", func(p *party) bool { return len(p.events) == 1 })
	for seq := uint64(4); seq <= 6; seq++ {
		s.restrict("risk", 1, seq)
	}
	s.until("the rest", func(p *party) bool { return len(p.events) == 4 })
	if err := s.link.Ack(here, ipc.Cursor{Source: "risk", Epoch: 1, Seq: 6}); err != nil {
		t.Fatal(err)
	}
	if a, ok := s.hears().(*ipc.Ack); !ok || a.Cursor.Seq != 6 {
		t.Fatalf("J hears %+v", a)
	}
	s.send(&ipc.Refused{Address: here, Reason: ipc.ReasonCursorAhead})
	s.hearsResume(ipc.Cursor{})
	time.Sleep(againAfter)
	s.restrict("other", 1, 9)
	s.hearsResume(ipc.Cursor{Source: "other"})
}

// J can restrict, not report executions: such an event is dropped, and a message that is not its own ends the connection.
// Proves: BC-J, NN-2
func TestJCannotSpeakForI(t *testing.T) {
	s := newJ(t)
	a := here
	one := ipc.Decimal{M: 1}
	s.send(&ipc.SourceEvent{Address: &a, Cursor: ipc.Cursor{Source: "risk", Epoch: 1, Seq: 1},
		Event: &ipc.Execution{Key: "00000000000000000000000000000001", Report: ipc.ExecFilled, Instrument: "A", Side: ipc.SideBuy, Quantity: &one, Price: &one}})
	s.restrict("risk", 1, 1)
	s.until("the restriction", func(p *party) bool { return len(p.events) == 1 })
	s.send(&ipc.StatusReport{Address: here, Key: "00000000000000000000000000000001", Status: ipc.StatusCommitted})
	select {
	case <-s.lost:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection stands")
	}
}
