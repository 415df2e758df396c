package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
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
	s, err := connectExecution(ctx, socket, r.wiring.log)
	if err != nil {
		return nil, exit(exitBoundary, "connecting to I: %w", err)
	}
	return s, nil
}

// connectExecution connects to an I that is a process of somebody else's: it is neither started nor ended here, and gets no market events.
// In lock step it is asked to sync, which msup.boundary answers.
func connectExecution(ctx context.Context, socket string, log *slog.Logger) (*simulated, error) {
	client, err := execution.Dial(ctx, socket, execution.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	s := &simulated{log: log, exited: make(chan struct{}), client: client, members: map[ipc.Address]*supervisor.Instance{}, external: true}
	close(s.exited) // there is no child to wait for
	return s, nil
}

func (s *simulated) name() string {
	if s.external {
		return "I"
	}
	return "the simulated I"
}
