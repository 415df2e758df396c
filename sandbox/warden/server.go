package warden

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
)

// Opener makes a sandbox of one kind inside the helper. params is what the supervisor's Open was given; opened finds the sandboxes that were
// opened before, for a kind that stands on another. It is asked before the seal only, while the supervisor is as trusted as the helper.
type Opener func(ctx context.Context, params json.RawMessage, opened func(kind string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error)

const (
	// maxPending bounds the questions that are being worked on.
	maxPending = 512
	// maxRunners bounds the runners that live at a time.
	maxRunners = 4096
	// farewell is how long the last events may take to leave.
	farewell = 20 * time.Second
)

// server is the helper's side.
type server struct {
	link    *link
	openers map[string]Opener
	log     *slog.Logger
	ctx     context.Context // ends with the link
	cancel  context.CancelFunc
	busy    sync.WaitGroup
	slots   chan struct{}

	mu        sync.Mutex
	sealed    bool
	boxes     map[string]sandbox.Sandbox
	order     []string         // of boxes
	permitted map[identity]int // runners that may live at a time
	sockets   map[string]bool
	lives     map[identity]int
	living    int
	runners   map[uint64]*held
	last      uint64             // number of the newest runner
	starting  map[uint64]startup // by number of the request
}

// serve works for one supervisor until it is gone, then ends all that it had. An error means that something is left behind.
func serve(l *link, openers map[string]Opener, log *slog.Logger) error {
	s := &server{link: l, openers: openers, log: log, slots: make(chan struct{}, maxPending), boxes: map[string]sandbox.Sandbox{}, permitted: map[identity]int{},
		sockets: map[string]bool{}, lives: map[identity]int{}, runners: map[uint64]*held{}, starting: map[uint64]startup{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	broken := s.listen()
	if errors.Is(broken, io.EOF) {
		broken = nil // how a supervisor ends, whatever ended it
	} else {
		broken = fmt.Errorf("the supervisor broke the rules of its helper: %w", broken)
	}
	return errors.Join(broken, s.end())
}

// listen takes requests. It returns io.EOF when the supervisor is gone, and any other error when it breaks the rules of the interface: then
// nothing of what it says can be relied on.
func (s *server) listen() error {
	buf := make([]byte, MaxMessageBytes+1)
	for {
		b, file, err := s.link.receive(buf)
		if err != nil {
			return err
		}
		if file != nil {
			return errors.Join(errors.New("a request came with a descriptor"), file.Close())
		}
		r, err := decodeRequest(b)
		if err != nil {
			return err
		}
		select {
		case s.slots <- struct{}{}:
		default:
			return fmt.Errorf("more than %d requests at a time", maxPending)
		}
		if r.Verb == verbCancel { // in order with the start it is about
			s.cancelStart(r.Other)
		}
		if r.Verb == verbStart {
			s.announce(r.ID)
		}
		s.busy.Go(func() {
			defer func() { <-s.slots }()
			s.answer(r)
		})
	}
}

// end ends everything: starts that are under way, runners, sandboxes in the opposite order of their opening. A supervisor that only closes
// its helper still hears how its runners end; one that does not listen has no say in it.
func (s *server) end() error {
	s.cancel()
	errs := []error{s.link.conn.SetWriteDeadline(time.Now().Add(farewell))}
	s.mu.Lock()
	for _, h := range s.runners {
		errs = append(errs, h.lines.hurry())
	}
	order := s.order
	s.mu.Unlock()
	for i := len(order) - 1; i >= 0; i-- {
		errs = append(errs, s.closeBox(order[i]))
	}
	s.busy.Wait()
	return errors.Join(append(errs, s.link.close())...)
}

// answer works on one request.
func (s *server) answer(r request) {
	a := reply{}
	var file *os.File // sent with the answer, and closed here
	var sent func()   // what goes on once the answer has left
	var err error
	switch r.Verb {
	case verbOpen:
		err = s.open(r, &a)
	case verbPermit:
		err = s.permit(r)
	case verbSeal:
		s.mu.Lock()
		s.sealed = true
		s.mu.Unlock()
	case verbReap:
		err = s.reap(r, &a)
	case verbStart:
		file, sent, err = s.start(r, &a)
	case verbKill, verbUsage, verbLogs, verbLower:
		err = s.ofRunner(r, &a)
	case verbDial:
		file, err = s.dial(r)
	case verbClose:
		err = s.closeBox(r.Box)
	}
	a.ID, a.Err = r.ID, failureOf(err)
	fd := -1
	if file != nil {
		fd = int(file.Fd())
	}
	err = s.link.send(&a, fd)
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	if sent != nil {
		sent()
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("answering the supervisor failed", "verb", r.Verb, "err", err)
	}
}

// unsealed refuses what only a supervisor that is as trusted as its helper may ask.
func (s *server) unsealed(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return forbidden(op, "the supervisor has given up root, and with it the right to this")
	}
	return nil
}

func (s *server) open(r request, a *reply) error {
	op := "open sandbox " + r.Box
	if err := s.unsealed(op); err != nil {
		return err
	}
	opener := s.openers[r.Box]
	if opener == nil {
		return refuse(sandbox.ReasonSpec, op, errors.New("there is no such kind"), "")
	}
	if s.box(r.Box) != nil {
		return refuse(sandbox.ReasonSpec, op, errors.New("it is open already"), "")
	}
	box, err := opener(s.ctx, r.Params, s.box, s.log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.boxes[r.Box] = box
	s.order = append(s.order, r.Box)
	s.mu.Unlock()
	if s.ctx.Err() != nil { // the end may have passed by already
		return s.closeBox(r.Box)
	}
	a.Name, a.Level, a.Walls = box.Name(), box.Level(), box.Walls()
	return nil
}

func (s *server) box(kind string) sandbox.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[kind]
}

func (s *server) closeBox(kind string) error {
	s.mu.Lock()
	box := s.boxes[kind]
	delete(s.boxes, kind)
	s.mu.Unlock()
	if box == nil {
		return nil
	}
	return box.Close()
}

// permit adds one spec, or one socket, to what may be asked for after the seal.
func (s *server) permit(r request) error {
	op := "permit " + r.Box + r.Path
	if err := s.unsealed(op); err != nil {
		return err
	}
	if r.Spec == nil {
		s.mu.Lock()
		s.sockets[r.Path] = true
		s.mu.Unlock()
		return nil
	}
	id, err := r.Spec.identity(r.Box)
	if err != nil {
		return err
	}
	limited := r.Spec.Spec
	limited.Limits = limited.Limits.OrDefault()
	if err := limited.Validate(); err != nil {
		return refuse(sandbox.ReasonSpec, op, err, "")
	}
	if limited.BuildJob || len(limited.Writable) > 0 {
		return refuse(sandbox.ReasonSpec, op, errors.New("a one-shot job, or one that writes to the host, is nothing to be started again"), "run it before the seal")
	}
	s.mu.Lock()
	s.permitted[id] += max(r.Lives, 1)
	s.mu.Unlock()
	return nil
}

func (s *server) reap(r request, a *reply) error {
	op := "remove leftovers of sandbox " + r.Box
	if err := s.unsealed(op); err != nil {
		return err
	}
	box := s.box(r.Box)
	if box == nil {
		return refuse(sandbox.ReasonSpec, op, errors.New("it is not open"), "")
	}
	reaped, err := box.Reap(s.ctx)
	a.Reaped = &reaped
	return err
}

// dial connects to a socket that the run was given: its owner may let nobody but root connect.
func (s *server) dial(r request) (*os.File, error) {
	s.mu.Lock()
	known := s.sockets[r.Path] || !s.sealed
	s.mu.Unlock()
	if !known {
		return nil, forbidden("connect to "+r.Path, "this socket is none of the run's")
	}
	var d net.Dialer
	c, err := d.DialContext(s.ctx, "unix", r.Path)
	if err != nil {
		return nil, err
	}
	f, err := c.(*net.UnixConn).File()
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, fmt.Errorf("hand over the connection to %s: %w", r.Path, err)
	}
	return f, nil
}
