package container

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/msup/msup/sandbox"
)

// socketDir is the host's side of sandbox.SocketDir; "" for a job without a socket.
func (r *runner) socketDir() string {
	if r.endpoint == nil {
		return ""
	}
	return r.endpoint.Dir()
}

// Conn waits for the runner's connection.
func (r *runner) Conn(ctx context.Context) (net.Conn, error) {
	op := "connect to " + r.spec.Address.String()
	if r.endpoint == nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: op, Err: errors.New("it was started without a socket")}
	}
	return r.endpoint.Conn(ctx, op, r.spec.Limits.ConnectTimeout)
}

// recognise checks that the peer is the runner's process. Its id cannot have been given to another one, because the pidfd
// shows that the process it was given to is alive after the peer was asked for.
func (r *runner) recognise(pid, uid int) error {
	if pid != r.pid || uid != r.uid() {
		return fmt.Errorf("the peer is process %d of user %d, not the runner, process %d of user %d", pid, uid, r.pid, r.uid())
	}
	if err := r.signal(0); err != nil {
		return fmt.Errorf("the runner has ended: %w", err)
	}
	return nil
}

func (r *runner) refused(err error) {
	r.box.log.Warn("refused a connection", "instance", r.spec.Address.String(), "error", err)
}
