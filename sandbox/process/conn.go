package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Conn waits for the runner's connection.
func (r *runner) Conn(ctx context.Context) (net.Conn, error) {
	if !r.spec.NeedSocket {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "connect to " + r.spec.Address.String(), Err: errors.New("it was started without a socket")}
	}
	timeout := time.NewTimer(r.spec.Limits.ConnectTimeout)
	defer timeout.Stop()
	fail := func(err error) (net.Conn, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: "connect to " + r.spec.Address.String(), Err: err,
			Remedy: "see what the strategy does before it connects"}
	}
	select {
	case <-r.connReady:
		return r.conn, r.connErr
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-timeout.C:
		return fail(fmt.Errorf("no connection within %s", r.spec.Limits.ConnectTimeout))
	}
}

func (r *runner) setConn(c net.Conn, err error) {
	r.connOnce.Do(func() {
		r.conn, r.connErr = c, err
		close(r.connReady)
	})
}

// accept takes the first connection whose peer is the runner itself. Anybody else is turned away, and does not use up
// the one place.
func (r *runner) accept() {
	for {
		c, err := r.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) { // closed: the runner ended, supervise tells so
				r.setConn(nil, fmt.Errorf("accept the runner's connection: %w", err))
			}
			return
		}
		if err := r.verify(c); err != nil {
			r.box.log.Warn("refused a connection", "instance", r.spec.Address.String(), "error", errors.Join(err, c.Close()))
			continue
		}
		if err := r.unlinkSocket(); err != nil {
			r.setConn(nil, errors.Join(fmt.Errorf("close the socket behind the runner: %w", err), c.Close()))
			return
		}
		r.setConn(c, nil)
		return
	}
}

// verify checks that the peer is the runner's process. Its id cannot have been given to another one, because the pidfd
// shows that the process it was given to is alive after the peer was asked for.
func (r *runner) verify(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("identify the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return fmt.Errorf("identify the peer: %w", errors.Join(err, credErr))
	}
	if int(cred.Pid) != r.proc.Pid || int(cred.Uid) != r.uid {
		return fmt.Errorf("the peer is process %d of user %d, not the runner, process %d of user %d", cred.Pid, cred.Uid, r.proc.Pid, r.uid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return errors.New("the runner has ended")
	}
	if err := unix.PidfdSendSignal(r.pidfd, 0, nil, 0); err != nil {
		return fmt.Errorf("the runner has ended: %w", err)
	}
	return nil
}
