package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/msup/msup/sandbox/refusal"
	"golang.org/x/sys/unix"
)

// latch answers what the seccomp filter of one runner announces (see seccomp.go): the first execve passes, which turns
// runc's init into the strategy, and every later one is refused; an exit with a status that looks like a signal is noted and
// passes; what no honest program asks for is refused. The kernel stops the caller until the answer, so what is done before
// it is done before the strategy's first instruction. What the strategy is refused counts.
//
// When the descriptor is closed, the kernel answers ENOSYS by itself: a dead supervisor lets nothing pass.
type latch struct {
	listener *net.UnixListener
	path     string
	before   func(pid int) error // runs before the one exec passes
	leader   atomic.Int32        // the runner's first process, as the supervisor sees it
	ready    chan struct{}       // closed when the exec has passed, or never will
	refusals refusal.Tally       // of the strategy, not of runc's init
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
		err = refusal.Serve(fd, l.judge)
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
	file, err := refusal.Pollable(fds[0])
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(net.ErrClosed, file.Close())
	}
	l.fd = file
	return file, nil
}

// judge decides on one announcement; once tells of the exec which makes the strategy, when it has passed.
func (l *latch) judge(c refusal.Call) (a refusal.Answer, once func()) {
	passes, first := l.passes(c)
	if !passes {
		if passed, _ := l.hasPassed(); passed {
			l.refusals.Add(c)
		}
		return c.Refuse(), nil
	}
	if first {
		once = func() { l.settle(true, nil) }
	}
	return c.Pass(), once
}

// passes tells whether a call may happen, and whether it is the one exec.
func (l *latch) passes(c refusal.Call) (passes, first bool) {
	switch int(c.Nr) {
	case unix.SYS_EXECVE:
		passed, err := l.hasPassed()
		if err != nil || int32(c.PID) != l.leader.Load() {
			return false, false
		}
		if passed {
			// A signal that interrupts the caller makes the kernel ask again for the same call, and it may come when an answer is already on
			// its way (a start was refused like that once; inferred, not reproduced). Until the process is another program than it was,
			// nothing of the strategy has run.
			success, ended := l.became()
			return !success && !ended, false
		}
		l.mu.Lock()
		l.program = programOf(c.PID)
		l.mu.Unlock()
		if err := l.before(int(c.PID)); err != nil {
			l.settle(false, err)
			return false, false
		}
		return true, true
	case unix.SYS_EXIT, unix.SYS_EXIT_GROUP:
		if c.Nr == unix.SYS_EXIT && int32(c.PID) != l.leader.Load() {
			return true, false // one thread ends, the program goes on
		}
		l.mu.Lock()
		l.status, l.announced = int(c.Args[0]&0xff), true
		l.mu.Unlock()
		return true, false
	}
	return false, false // what no honest program asks for, and all of these by the numbers of another table (x32)
}
