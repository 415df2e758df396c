package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Endpoint is the socket of one runner, and the one connection made there. Its methods may be called from any goroutine.
type Endpoint struct {
	dir      string
	listener *net.UnixListener
	ready    chan struct{} // closed when conn or err is set
	once     sync.Once
	conn     net.Conn
	err      error
}

// Listen makes the socket in dir, a directory that it makes too, for a runner of the given user id.
func Listen(dir string, uid int) (*Endpoint, error) {
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
	l.SetUnlinkOnClose(false) // unlink and Close do it, and report what fails
	if err := errors.Join(os.Chmod(path, 0o600), os.Lchown(path, uid, -1)); err != nil {
		return nil, errors.Join(fmt.Errorf("hand over the socket: %w", err), l.Close(), os.RemoveAll(dir))
	}
	return &Endpoint{dir: dir, listener: l, ready: make(chan struct{})}, nil
}

// Dir is the directory of the socket, which the sandbox shows its runner at sandbox.SocketDir.
func (e *Endpoint) Dir() string { return e.dir }

// Accept takes the first connection whose peer is the runner itself, as recognise says of its process and user id, and tells refused
// of every other one. It returns when the one place is taken or the endpoint is closed.
func (e *Endpoint) Accept(recognise func(pid, uid int) error, refused func(error)) {
	for {
		c, err := e.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) { // closed: the runner ended, and End tells so
				e.settle(nil, fmt.Errorf("accept the runner's connection: %w", err))
			}
			return
		}
		if err := identify(c, recognise); err != nil {
			refused(errors.Join(err, c.Close()))
			continue
		}
		if err := e.unlink(); err != nil {
			e.settle(nil, errors.Join(fmt.Errorf("close the socket behind the runner: %w", err), c.Close()))
			return
		}
		if !e.settle(c, nil) { // the runner has ended meanwhile, and nobody will ask for what it left
			if err := c.Close(); err != nil {
				refused(fmt.Errorf("close the connection of a runner that has ended: %w", err))
			}
		}
		return
	}
}

func identify(c *net.UnixConn, recognise func(pid, uid int) error) error {
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
	return recognise(int(cred.Pid), int(cred.Uid))
}

// Conn waits for the runner's connection, at most for the timeout. op names the runner in errors.
func (e *Endpoint) Conn(ctx context.Context, op string, timeout time.Duration) (net.Conn, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	fail := func(err error) (net.Conn, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: op, Err: err, Remedy: "see what the strategy does before it connects"}
	}
	select {
	case <-e.ready:
		return e.conn, e.err
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-timer.C:
		return fail(fmt.Errorf("no connection within %s", timeout))
	}
}

// Settled is closed when the runner has connected, or never will.
func (e *Endpoint) Settled() <-chan struct{} { return e.ready }

// End says why nobody will connect any more. After a connection it changes nothing.
func (e *Endpoint) End(err error) { e.settle(nil, err) }

// settle tells whether this was the first answer, which stays the only one.
func (e *Endpoint) settle(c net.Conn, err error) (first bool) {
	e.once.Do(func() {
		e.conn, e.err, first = c, err, true
		close(e.ready)
	})
	return first
}

// unlink ends listening once the peer is there. The directory stays: it is bound inside.
func (e *Endpoint) unlink() error {
	err := os.Remove(filepath.Join(e.dir, filepath.Base(sandbox.SocketPath)))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, e.listener.Close())
}

// Close ends listening and removes the socket's directory; it may be called twice. A connection that was made stays.
func (e *Endpoint) Close() error {
	err := e.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}
