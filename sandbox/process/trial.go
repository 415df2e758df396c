package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// mostTrials is how often the trial is made when something outside ends it: once may be an accident.
const mostTrials = 3

// probe starts a process that builds all walls, reports, and exits. One that somebody kills says nothing about the walls: it is made again.
func (s *Sandbox) probe(ctx context.Context) (report, error) {
	return tried(func() (report, error) { return s.tryOnce(ctx) })
}

// tried repeats what something outside took away, and says in the end that it was that, not this host's walls.
func tried(once func() (report, error)) (found report, err error) {
	for range mostTrials {
		if found, err = once(); err == nil || !errors.Is(err, sandbox.ErrLost) {
			return found, err
		}
	}
	var known *sandbox.Error
	if errors.As(err, &known) {
		err = known.Err // its remedy is for one that ended by itself
	}
	return report{}, &sandbox.Error{Reason: sandbox.ReasonSignaled, Op: "try the sandbox",
		Err:    fmt.Errorf("something outside msup ended the trial process %d times, so nothing is known about this host's walls: %s", mostTrials, err),
		Remedy: "start again; if it repeats, find out who kills processes of msup: the host's out-of-memory killer writes into dmesg, a service manager into its journal"}
}

func (s *Sandbox) tryOnce(ctx context.Context) (report, error) {
	spec := sandbox.Spec{Address: ipc.Address{Bot: "msup", Strategy: "probe", Instance: "probe"}, Lane: ipc.LaneLL}
	spec.Limits = spec.Limits.OrDefault()
	r, err := s.launch(ctx, spec, nil)
	if err != nil {
		return report{}, err
	}
	select {
	case <-r.Done():
	case <-ctx.Done():
		return report{}, errors.Join(ctx.Err(), r.Kill())
	}
	return r.report, judged(r.Exit())
}

// judged is what the end of a trial says; nil when it did what it should.
func judged(e sandbox.Exit) error {
	switch {
	case e.Cause == sandbox.CauseExited && e.Code == 0:
		return nil
	case e.Cause == sandbox.CauseSignaled:
		return fmt.Errorf("the trial process %s: %w", e, sandbox.ErrLost)
	}
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "try the sandbox", Err: fmt.Errorf("the trial process ended: %s %s", e, e.Stderr)}
}
