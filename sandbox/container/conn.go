package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// listen makes the socket of one runner in a directory of its own.
func listen(dir string, uid int) (*net.UnixListener, error) {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever the umask is
		return nil, errors.Join(fmt.Errorf("open the socket's directory: %w", err), os.Remove(dir))
	}
	path := filepath.Join(dir, filepath.Base(sandbox.SocketPath))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), os.Remove(dir))
	}
	l.SetUnlinkOnClose(false) // closeSocket does it, and reports what fails
	if err := errors.Join(os.Chmod(path, 0o600), os.Lchown(path, uid, -1)); err != nil {
		return nil, errors.Join(fmt.Errorf("hand over the socket: %w", err), l.Close(), os.RemoveAll(dir))
	}
	return l, nil
}

// closeSocket ends listening and removes the socket's directory; it may be called twice.
func (r *runner) closeSocket() error {
	if r.listener == nil {
		return nil
	}
	err := r.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(r.socketDir))
}

// unlinkSocket ends listening and unlinks the socket once its peer is there. The directory stays: it is bound inside.
func (r *runner) unlinkSocket() error {
	err := os.Remove(filepath.Join(r.socketDir, filepath.Base(sandbox.SocketPath)))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, r.listener.Close())
}

// Conn waits for the runner's connection.
func (r *runner) Conn(ctx context.Context) (net.Conn, error) {
	op := "connect to " + r.spec.Address.String()
	if !r.spec.NeedSocket {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: op, Err: errors.New("it was started without a socket")}
	}
	timeout := time.NewTimer(r.spec.Limits.ConnectTimeout)
	defer timeout.Stop()
	fail := func(err error) (net.Conn, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: op, Err: err, Remedy: "see what the strategy does before it connects"}
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
	if int(cred.Pid) != r.pid || int(cred.Uid) != r.uid() {
		return fmt.Errorf("the peer is process %d of user %d, not the runner, process %d of user %d", cred.Pid, cred.Uid, r.pid, r.uid())
	}
	if err := r.signal(0); err != nil {
		return fmt.Errorf("the runner has ended: %w", err)
	}
	return nil
}
