package warden

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// link is one end of the socketpair between supervisor and helper. The kernel keeps messages apart and descriptors with their message.
type link struct {
	conn    *net.UnixConn
	sending sync.Mutex
}

// pair makes both ends; the second is for a child.
func pair() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "helper")
	ours, err := newLink(os.NewFile(uintptr(fds[0]), "helper"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// newLink takes over a file that is a socket of the right kind.
func newLink(f *os.File) (*link, error) {
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_SEQPACKET {
		err = fmt.Errorf("a socket of type %d", kind)
	}
	// The largest message has to fit into the kernel's buffer, or it could never be sent.
	if err == nil {
		err = unix.SetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_SNDBUF, 4*MaxMessageBytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("use the socket to the helper: %w", err), f.Close())
	}
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("use the socket to the helper: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("the helper's socket is no Unix socket"), c.Close())
	}
	return &link{conn: u}, nil
}

// send sends one message, with at most one descriptor; -1 = none.
func (l *link) send(v any, fd int) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	l.sending.Lock()
	defer l.sending.Unlock()
	if _, _, err := l.conn.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}

// receive returns the next message, valid until the next call, and its descriptor, if it has one. buf has one byte more than a message.
func (l *link) receive(buf []byte) ([]byte, *os.File, error) {
	var space [64]byte
	n, rights, flags, _, err := l.conn.ReadMsgUnix(buf, space[:])
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		return nil, nil, err
	}
	files, err := descriptors(space[:rights])
	if err == nil && len(files) > 1 {
		err = fmt.Errorf("%d descriptors in a message", len(files))
	}
	if err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > MaxMessageBytes) {
		err = errors.New("a message, or its descriptors, larger than allowed")
	}
	if err != nil {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		return nil, nil, fmt.Errorf("receive a message: %w", err)
	}
	if len(files) == 0 {
		return buf[:n], nil, nil
	}
	return buf[:n], files[0], nil
}

func descriptors(control []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("read the descriptors: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, fmt.Errorf("read the descriptors: %w", err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func (l *link) close() error { return l.conn.Close() }
