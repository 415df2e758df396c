package container

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/msup/msup/sandbox"
)

// The pool holds, for an instance, a container that was made for its next start and waits at its exec. A start then
// takes about 25 ms instead of 120. A prepared container is one like any other: it is counted, limited, reaped, and
// killed by Close; it has run nothing of the strategy.

// Prepare makes the container for the next Start of this spec. An earlier one for the same address is replaced when its
// spec differs.
func (s *Sandbox) Prepare(ctx context.Context, spec sandbox.Spec) error {
	spec, err := checked(spec)
	if err != nil {
		return err
	}
	key := spec.Address.String()
	s.mu.Lock()
	old := s.ready[key]
	s.mu.Unlock()
	if old != nil && sameSpec(old.spec, spec) {
		return nil
	}
	if old != nil {
		if err := s.drop(old); err != nil {
			return err
		}
	}
	r, err := s.create(ctx, spec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	other := s.ready[key]
	if other == nil && !s.closed {
		s.ready[key] = r
		s.mu.Unlock()
		select {
		case <-r.gone: // it ended before it was in the books, and forget did not find it
			return s.drop(r)
		default:
			return nil
		}
	}
	s.mu.Unlock()
	return r.Kill() // somebody else was faster, or the sandbox is closed
}

// drop ends a prepared runner.
func (s *Sandbox) drop(r *runner) error {
	s.mu.Lock()
	if key := r.spec.Address.String(); s.ready[key] == r {
		delete(s.ready, key)
	}
	s.mu.Unlock()
	return r.Kill()
}

// Prepared is the number of containers that wait for a start.
func (s *Sandbox) Prepared() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready)
}

// take returns the runner that was prepared for exactly this spec. One that was prepared for another is ended.
func (s *Sandbox) take(spec sandbox.Spec) *runner {
	s.mu.Lock()
	r := s.ready[spec.Address.String()]
	delete(s.ready, spec.Address.String())
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	select {
	case <-r.gone: // it died while it waited
		return nil
	default:
	}
	if !sameSpec(r.spec, spec) {
		if err := r.Kill(); err != nil {
			s.log.Error("ending a prepared container failed", "instance", spec.Address.String(), "error", err)
		}
		return nil
	}
	r.logs.Store(sandbox.NewLogLimiter(spec.Limits, spec.Log))
	return r
}

// prepareNext makes the next container once the running one has connected, no other start is under way, and no other successor is being made:
// until then the processors are theirs. It tells the end of the start.
func (s *Sandbox) prepareNext(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.starts.end()
		return
	}
	s.busy.Go(func() {
		if r.spec.NeedSocket {
			<-r.endpoint.Settled()
		}
		s.starts.end()
		// One that ends at once gets no successor: it would only be made for the next failure.
		select {
		case s.making <- struct{}{}:
		case <-r.done:
			return
		}
		if !s.starts.wait(r.done) {
			<-s.making
			return
		}
		spec := r.spec
		spec.Log = nil
		err := s.Prepare(context.Background(), spec)
		<-s.making
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		if err != nil && !closed {
			s.log.Warn("preparing the next start failed; it will take longer", "instance", spec.Address.String(), "error", errors.Unwrap(err))
		}
		s.dropUnwanted(r)
	})
}

// linger is how long a prepared container waits for the restart of an instance whose runner was killed or died. An instance that was halted,
// and is resumed later, starts without one; memory and a range of user ids are not kept for it meanwhile.
const linger = time.Minute

// dropUnwanted ends what was prepared for an instance that does not start again: at once when its runner left in order, else after a while.
// A start in the meantime has taken it out of the pool.
func (s *Sandbox) dropUnwanted(r *runner) {
	key := r.spec.Address.String()
	s.mu.Lock()
	next := s.ready[key] // now: after the end it may be the successor of a successor
	s.mu.Unlock()
	if next == nil {
		return
	}
	<-r.done
	if e := r.Exit(); e.Cause != sandbox.CauseExited || e.Code != 0 {
		t := time.NewTimer(cmp.Or(s.cfg.Linger, linger))
		defer t.Stop()
		select {
		case <-t.C:
		case <-next.gone: // with the sandbox, for example
			return
		}
	}
	s.mu.Lock()
	waits := s.ready[key] == next
	s.mu.Unlock()
	if !waits {
		return
	}
	if err := s.drop(next); err != nil {
		s.log.Error("ending a prepared container failed", "instance", key, "error", err)
	}
}
