package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/msup/msup/supervisor/boundary/execution"
	"github.com/msup/msup/supervisor/descriptor"
)

// openExecution connects to the I that the deployment or --execution-socket names, or starts a simulated one.
func (r *runner) openExecution(ctx context.Context, f *deploymentFlags, state string) (*simulated, error) {
	socket := f.execution
	if socket == "" {
		socket = r.deployment.Boundary.Execution
	}
	if socket == "" {
		s, err := startSimulated(ctx, r.app, filepath.Join(state, "i"), r.wiring.log)
		if err != nil {
			return nil, exit(exitBoundary, "starting the simulated I: %w", err)
		}
		return s, nil
	}
	if r.deployment.Run.Durability == descriptor.DurabilityNone {
		return nil, exit(exitRefused, `durability is "none": nothing would be durable, yet I's socket %s is to be connected; choose "power"`, socket)
	}
	s, err := connectExecution(ctx, socket, f.patience, r.app.dialer.dial, r.wiring.log)
	if err != nil {
		return nil, exit(exitBoundary, "connecting to I: %w", err)
	}
	return s, nil
}

// connectExecution connects to an I that is a process of somebody else's, and again whenever the connection ends: it is neither started nor
// ended here, and gets no market events. In lock step it is asked to sync, which msup.boundary answers.
func connectExecution(ctx context.Context, socket string, patience time.Duration, through func(context.Context, string) (net.Conn, error), log *slog.Logger) (*simulated, error) {
	dial := func(ctx context.Context) (*execution.Client, error) {
		return execution.Dial(ctx, socket, execution.Options{Logger: log, Dial: through})
	}
	link, err := execution.Connect(ctx, dial, execution.LinkOptions{Logger: log, Patience: patience})
	if err != nil {
		return nil, err
	}
	return &simulated{Link: link, log: log}, nil
}

// present says why I is not there at the end of a run; nil when it is.
func (s *simulated) present() error {
	if err := s.Link.Err(); err != nil {
		return exit(exitBoundary, "%s is gone: %w; start it and run again on the same --state: nothing is lost, and what is open is asked about by key", s.name(), err)
	}
	return nil
}

func (s *simulated) name() string {
	if s.child == nil {
		return "I"
	}
	return "the simulated I"
}

// checkPatience refuses a patience that cannot be meant.
func checkPatience(d time.Duration) error {
	if d < 100*time.Millisecond || d > time.Hour {
		return fmt.Errorf("%w: --boundary-patience %s: choose 100ms to 1h", errUsage, d)
	}
	return nil
}
