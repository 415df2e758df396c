package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// latch answers what the seccomp filter of one runner announces (see seccomp.go): the first execve passes, which turns
// runc's init into the strategy, and every later one is refused; an exit with a status that looks like a signal is noted and
// passes. The kernel stops the caller until the answer, so what is done before it is done before the strategy's
// first instruction.
//
// When the descriptor is closed, the kernel answers ENOSYS by itself: a dead supervisor lets nothing pass.
type latch struct {
	listener *net.UnixListener
	path     string
	before   func(pid int) error // runs before the one exec passes
	leader   atomic.Int32        // the runner's first process, as the supervisor sees it
	ready    chan struct{}       // closed when the exec has passed, or never will
	once     sync.Once

	mu        sync.Mutex
	fd        *os.File
	closed    bool
	err       error
	passed    bool
	status    int // of the announced exit
	announced bool
	program   string // what the process was before its exec
}

// maxAnnouncements bounds what a strategy can make the supervisor answer. An honest one causes two: its start and its end.
const maxAnnouncements = 64

// newLatch listens in a folder that only the supervisor can enter.
func newLatch(dir string, before func(pid int) error) (*latch, error) {
	l := &latch{path: filepath.Join(dir, "n"), before: before, ready: make(chan struct{})}
	var err error
	if l.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: l.path, Net: "unix"}); err != nil {
		return nil, fmt.Errorf("listen for the seccomp descriptor: %w", err)
	}
	go l.serve()
	return l, nil
}

// settle tells that nothing more will pass. Only the first call counts.
func (l *latch) settle(passed bool, err error) {
	l.once.Do(func() {
		l.mu.Lock()
		l.passed, l.err = passed, err
		l.mu.Unlock()
		close(l.ready)
	})
}

// hasPassed tells whether the one exec has passed, and why not.
func (l *latch) hasPassed() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed, l.err
}

// exitStatus is the status of an announced exit.
func (l *latch) exitStatus() (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status, l.announced
}

// became tells whether the exec that passed has succeeded by now, or the process's first thread has ended.
func (l *latch) became() (success, ended bool) {
	now := programOf(uint32(l.leader.Load()))
	l.mu.Lock()
	defer l.mu.Unlock()
	return now != "" && now != l.program, now == ""
}

// programOf is the file that a process runs; "" when it has ended.
func programOf(pid uint32) string {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return link
}

func (l *latch) close() error {
	l.mu.Lock()
	l.closed = true
	fd := l.fd
	l.mu.Unlock()
	err := l.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if fd != nil {
		if cerr := fd.Close(); cerr != nil && !errors.Is(cerr, os.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	l.settle(false, errors.New("the runner was closed"))
	return err
}

func (l *latch) serve() {
	fd, err := l.receive()
	if err == nil {
		err = l.answerAll(fd)
	}
	if err != nil {
		l.settle(false, err)
	}
}

// receive takes the descriptor that runc sends when it has loaded the filter.
func (l *latch) receive() (*os.File, error) {
	c, err := l.listener.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("wait for the seccomp descriptor: %w", err)
	}
	defer c.Close()
	text, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := c.ReadMsgUnix(text, oob)
	if err != nil {
		return nil, fmt.Errorf("receive the seccomp descriptor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, fmt.Errorf("receive the seccomp descriptor: %w", err)
	}
	var fds []int
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, fmt.Errorf("receive the seccomp descriptor: %w", err)
		}
		fds = append(fds, got...)
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			err = errors.Join(err, unix.Close(fd))
		}
		return nil, errors.Join(fmt.Errorf("receive the seccomp descriptor: %d came, one was expected", len(fds)), err)
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that the runtime's poller waits for it, not a thread
		return nil, errors.Join(fmt.Errorf("prepare the seccomp descriptor: %w", err), unix.Close(fds[0]))
	}
	file := os.NewFile(uintptr(fds[0]), "seccomp announcements")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(net.ErrClosed, file.Close())
	}
	l.fd = file
	return file, nil
}

// announcement and reply are the kernel's struct seccomp_notif and struct seccomp_notif_resp.
type announcement struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type reply struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

const (
	ioctlReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	flagContinue = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// answerAll answers until the runner has ended or was too loud.
func (l *latch) answerAll(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for announcements: %w", err)
	}
	for range maxAnnouncements {
		var a announcement
		var ended bool
		var ioErr error
		err := raw.Read(func(fd uintptr) bool {
			a, ended, ioErr = next(int(fd))
			return ended || ioErr != nil || a.id != 0
		})
		if err != nil || ended {
			return err // closed: the runner has ended
		}
		if ioErr != nil {
			return ioErr
		}
		if err := l.answer(raw, a); err != nil {
			return err
		}
	}
	return file.Close() // the kernel refuses the rest
}

// next takes one announcement if there is one. The kernel's own call would block.
func next(fd int) (a announcement, ended bool, err error) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return a, false, fmt.Errorf("wait for announcements: %w", err)
	}
	if n <= 0 {
		return a, false, nil
	}
	if poll[0].Revents&unix.POLLIN == 0 {
		return a, true, nil // hung up: no process has this filter any more
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlReceive, uintptr(unsafe.Pointer(&a)))
	switch errno {
	case 0:
		return a, false, nil
	case unix.ENOENT, unix.EINTR: // the caller was killed meanwhile
		return announcement{}, false, nil
	}
	return announcement{}, false, fmt.Errorf("take an announcement: %w", errno)
}

// judge decides on one announcement; pass tells that this is the exec which makes the strategy.
func (l *latch) judge(a announcement) (r reply, pass bool) {
	r = reply{id: a.id, flags: flagContinue}
	refused := reply{id: a.id, errno: -int32(unix.EPERM)}
	switch int(a.nr) {
	case unix.SYS_EXECVE:
		passed, err := l.hasPassed()
		if err != nil || int32(a.pid) != l.leader.Load() {
			return refused, false
		}
		if passed {
			// A signal that interrupts the caller makes the kernel ask again for the same call, and it may come when an answer is already on
			// its way (a start was refused like that once; inferred, not reproduced). Until the process is another program than it was,
			// nothing of the strategy has run.
			if success, ended := l.became(); success || ended {
				return refused, false
			}
			return r, false
		}
		l.mu.Lock()
		l.program = programOf(a.pid)
		l.mu.Unlock()
		if err := l.before(int(a.pid)); err != nil {
			l.settle(false, err)
			return refused, false
		}
		return r, true
	case unix.SYS_EXIT, unix.SYS_EXIT_GROUP:
		if a.nr == unix.SYS_EXIT && int32(a.pid) != l.leader.Load() {
			return r, false // one thread ends, the program goes on
		}
		l.mu.Lock()
		l.status, l.announced = int(a.args[0]&0xff), true
		l.mu.Unlock()
		return r, false
	}
	return refused, false // the same calls by the numbers of another table (x32)
}

func (l *latch) answer(raw interface{ Control(func(uintptr)) error }, a announcement) error {
	r, pass := l.judge(a)
	var errno unix.Errno
	err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, ioctlSend, uintptr(unsafe.Pointer(&r)))
	})
	if err == nil && errno != 0 && errno != unix.ENOENT { // ENOENT: the caller was killed meanwhile
		err = errno
	}
	if err != nil {
		return fmt.Errorf("answer an announcement: %w", err)
	}
	if pass && errno == 0 {
		l.settle(true, nil)
	}
	return nil
}
