package warden

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"

	"github.com/msup/msup/sandbox"
)

// held is one runner that the helper has.
type held struct {
	sandbox.Runner
	number  uint64
	id      identity
	address string
	socket  bool
	lines   *lineWriter // nil: nobody wants them
	rank    rank
}

// startup is a start that is under way.
type startup struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// announce makes a start cancellable before it is worked on, so that a cancel that follows at once finds it.
func (s *server) announce(id uint64) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if twice, ok := s.starting[id]; ok {
		twice.cancel()
	}
	s.starting[id] = startup{ctx, cancel}
}

func (s *server) cancelStart(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begun, ok := s.starting[id]; ok {
		begun.cancel()
	}
}

// admit takes one place for a runner, or says why there is none.
func (s *server) admit(id identity, op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sealed && s.permitted[id] == 0:
		return forbidden(op, "this spec is none of those that the run was begun with")
	case s.sealed && s.lives[id] > s.permitted[id]: // one more, while the end of another is still being cleared up
		return forbidden(op, "%d runners of this spec are alive already", s.lives[id])
	case s.living >= maxRunners:
		return refuse(sandbox.ReasonSetupFailed, op, fmt.Errorf("%d runners are alive already", s.living), "stop some instances")
	}
	s.lives[id]++
	s.living++
	return nil
}

func (s *server) release(id identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.living--
	if s.lives[id]--; s.lives[id] == 0 {
		delete(s.lives, id)
	}
}

// start starts a runner. The file is the supervisor's end of its lines. sent begins to watch the runner once the answer has left, so that no
// event of it comes before the answer.
func (s *server) start(r request, a *reply) (file *os.File, sent func(), err error) {
	s.mu.Lock()
	begun := s.starting[r.ID]
	s.mu.Unlock()
	defer func() {
		begun.cancel()
		s.mu.Lock()
		delete(s.starting, r.ID)
		s.mu.Unlock()
	}()
	if r.Spec == nil {
		return nil, nil, refuse(sandbox.ReasonSpec, "start a runner", errors.New("without a spec"), "")
	}
	op := "start " + r.Spec.Address.String()
	id, err := r.Spec.identity(r.Box)
	if err != nil {
		return nil, nil, err
	}
	if err := s.admit(id, op); err != nil {
		return nil, nil, err
	}
	h := &held{id: id, address: r.Spec.Address.String(), socket: r.Spec.NeedSocket}
	defer func() {
		if err == nil {
			return
		}
		s.release(id)
		err = errors.Join(err, h.lines.close())
		if file != nil {
			err = errors.Join(err, file.Close())
			file = nil
		}
	}()
	box := s.box(r.Box)
	if box == nil {
		return nil, nil, refuse(sandbox.ReasonSpec, op, fmt.Errorf("sandbox %q is not open", r.Box), "")
	}
	full := r.Spec.Spec
	// The supervisor counts the time for which it waits; here only the runner's end ends the waiting.
	full.Limits.ConnectTimeout = math.MaxInt64
	if r.Spec.Log {
		var pipe *os.File
		if file, pipe, err = os.Pipe(); err != nil {
			return nil, nil, fmt.Errorf("make a pipe for lines: %w", err)
		}
		h.lines = &lineWriter{pipe: pipe}
		full.Log = h.lines.write
	}
	if h.Runner, err = box.Start(begun.ctx, full); err != nil {
		return file, nil, err
	}
	s.mu.Lock()
	s.last++
	h.number = s.last
	s.runners[h.number] = h
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		s.warn(h, "hurrying its lines failed", h.lines.hurry())
	}
	a.Runner, a.PID = h.number, h.PID()
	return file, func() { s.watch(h) }, nil
}

// watch tells the supervisor what becomes of a runner.
func (s *server) watch(h *held) {
	connected := make(chan struct{})
	s.busy.Go(func() {
		defer close(connected)
		if h.socket {
			s.handOver(h)
		}
	})
	s.busy.Go(func() {
		<-h.Done()
		<-connected // in this order
		s.warn(h, "closing its lines failed", h.lines.close())
		s.mu.Lock()
		delete(s.runners, h.number)
		s.mu.Unlock()
		exit, logs := h.Exit(), h.Logs()
		exit.Detail = cut(exit.Detail)
		cleared := h.Kill()
		s.release(h.id) // first: who hears of the end may start the next one at once
		s.warn(h, "telling its end failed", s.tell(&reply{Event: eventEnded, Runner: h.number, Exit: &exit, Logs: &logs, Err: failureOf(cleared)}, -1))
	})
}

// handOver gives the supervisor the runner's connection, and keeps none.
func (s *server) handOver(h *held) {
	c, err := h.Conn(s.ctx)
	if err != nil {
		s.warn(h, "telling that it never connected failed", s.tell(&reply{Event: eventNoConn, Runner: h.number, Err: failureOf(err)}, -1))
		return
	}
	err = errors.Join(s.tellConnected(h, c), c.Close())
	s.warn(h, "handing over its connection failed", err)
}

func (s *server) tellConnected(h *held, c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return s.tell(&reply{Event: eventNoConn, Runner: h.number, Err: failureOf(fmt.Errorf("a %T cannot be handed over", c))}, -1)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = s.tell(&reply{Event: eventConnected, Runner: h.number}, int(fd)) })
	return errors.Join(err, sent)
}

// tell sends an event; when the supervisor is gone nobody has to hear it.
func (s *server) tell(e *reply, fd int) error {
	err := s.link.send(e, fd)
	if s.ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *server) warn(h *held, what string, err error) {
	if err != nil {
		s.log.Warn(what, "instance", h.address, "err", err)
	}
}

// ofRunner answers questions about one runner. One that has ended is no error: its end is on the way to the supervisor.
func (s *server) ofRunner(r request, a *reply) error {
	s.mu.Lock()
	h, known := s.runners[r.Runner], r.Runner > 0 && r.Runner <= s.last
	s.mu.Unlock()
	switch {
	case !known:
		return forbidden(fmt.Sprintf("%s runner %d", r.Verb, r.Runner), "there was never such a runner")
	case h == nil:
		return nil
	case r.Verb == verbKill:
		return errors.Join(h.lines.hurry(), h.Kill())
	case r.Verb == verbLower:
		return h.lower(s.ctx, r.Lower)
	case r.Verb == verbUsage:
		u, err := h.Usage()
		a.Usage = &u
		return err
	}
	logs := h.Logs()
	a.Logs = &logs
	return nil
}
