package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SocketName is the control socket's name in its state directory.
const SocketName = "control.sock"

// through names a socket of an open directory in few bytes: the kernel takes 107 of a socket's path, and state directories may lie deep.
func through(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName) }

// listen makes the socket in a directory that this process has locked; one that is there belongs to nobody any more.
func listen(dir string) (_ *net.UnixListener, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := os.Remove(filepath.Join(dir, SocketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the control socket of an earlier run: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: through(d), Net: "unix"})
	if err == nil {
		l.SetUnlinkOnClose(false) // its name holds a descriptor that means something else by then
		if err = os.Chmod(filepath.Join(dir, SocketName), 0o600); err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making the control socket %s: %w", filepath.Join(dir, SocketName), err)
	}
	return l, nil
}

// dial connects to the supervisor that runs on a state directory.
func dial(ctx context.Context, dir string) (_ net.Conn, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", through(d))
}

// guarded lets in only those whom the kernel names as the supervisor's own user, or root.
type guarded struct {
	*net.UnixListener
	log *slog.Logger
}

// peer is a connection with the user at its other end.
type peer struct {
	net.Conn
	uid uint32
}

// Accept waits for the next connection that may be served.
func (g guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := uidOf(conn)
		if err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return &peer{conn, uid}, nil
		}
		g.log.Warn("a connection to the control socket was refused", "uid", uid, "err", err)
		_ = conn.Close() // it was not served
	}
}

func uidOf(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("the connection's descriptor: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, fmt.Errorf("the connection's descriptor: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("asking who is connected: %w", credErr)
	}
	return cred.Uid, nil
}
