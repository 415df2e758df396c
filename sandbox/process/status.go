package process

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// What stage two has to say goes through a socket, because it comes with a descriptor: that of the calls that the filter refuses and that
// somebody is to count. Like a pipe it ends with the exec, so the program has neither.

// statusPair makes both ends; the second is for stage two.
func statusPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the socket for stage two's report: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // ours has deadlines; stage two waits
		return nil, nil, errors.Join(fmt.Errorf("make the socket for stage two's report: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "status"), os.NewFile(uintptr(fds[1]), "status"), nil
}

// send writes one line, with a descriptor unless it is -1.
func send(status *os.File, line []byte, listener int) error {
	if listener < 0 {
		_, err := status.Write(line)
		return err
	}
	raw, err := status.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { // a line is smaller than the socket's buffer, which is empty
		_, sent = unix.SendmsgN(int(fd), line, unix.UnixRights(listener), nil, unix.MSG_NOSIGNAL)
	})
	return errors.Join(err, sent, unix.Close(listener))
}

// statusReader reads lines and keeps the descriptor that came with one.
type statusReader struct {
	file     *os.File
	listener int // -1 = none
}

func (r *statusReader) Read(p []byte) (n int, err error) {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	space := make([]byte, unix.CmsgSpace(4))
	var rights int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, rights, _, _, got = unix.Recvmsg(int(fd), p, space, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(got, unix.EAGAIN) && !errors.Is(got, unix.EINTR)
	})
	if err = errors.Join(err, got); err == nil {
		err = r.keep(space[:rights])
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

// keep takes over the descriptors of one message.
func (r *statusReader) keep(control []byte) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("take over stage two's descriptor: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("take over stage two's descriptor: %w", err)
		}
		for _, fd := range fds {
			if r.listener >= 0 {
				return errors.Join(errors.New("stage two sent more than one descriptor"), unix.Close(fd))
			}
			r.listener = fd
		}
	}
	return nil
}

// close closes the descriptor that nobody took.
func (r *statusReader) close() error {
	if r.listener < 0 {
		return nil
	}
	return unix.Close(r.listener)
}

// take hands the descriptor over.
func (r *statusReader) take() int {
	fd := r.listener
	r.listener = -1
	return fd
}
