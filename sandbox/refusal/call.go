package refusal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one call whose caller waits: the kernel's struct seccomp_notif.
type Call struct {
	ID         uint64
	PID, Flags uint32 // PID is the thread's, as this process sees it
	Nr         int32
	Arch       uint32
	IP         uint64
	Args       [6]uint64
}

// Answer is what becomes of it: the kernel's struct seccomp_notif_resp.
type Answer struct {
	ID    uint64
	Value int64
	Errno int32 // negative
	Flags uint32
}

// Refuse answers as the filters do with all that is not allowed.
func (c Call) Refuse() Answer { return Answer{ID: c.ID, Errno: -int32(unix.EPERM)} }

// Pass lets the call happen. It must not be used where an argument decided: another thread may have changed what it points to.
func (c Call) Pass() Answer {
	return Answer{ID: c.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
}

// Serve gives every call to judge and tells the kernel its answer, until no process has the filter any more. It closes the file, so that what it
// cannot answer is refused by the kernel; somebody else may close it before, which is an error here. once, when not nil, is called when the
// answer has reached the caller.
func Serve(file *os.File, judge func(Call) (a Answer, once func())) (err error) {
	defer func() {
		if cerr := file.Close(); cerr != nil && !errors.Is(cerr, os.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for refused calls: %w", err)
	}
	var pace pace
	for {
		var c Call
		var ended bool
		var ioErr error
		err := raw.Read(func(fd uintptr) bool {
			c, ended, ioErr = take(int(fd))
			return ended || ioErr != nil || c.ID != 0
		})
		switch {
		case err != nil:
			return fmt.Errorf("wait for refused calls: %w", err)
		case ended || ioErr != nil:
			return ioErr
		}
		if err := answer(raw, c, judge); err != nil {
			return err
		}
		if wait := pace.next(time.Now()); wait > 0 {
			time.Sleep(wait)
		}
	}
}

// answer has one call judged.
func answer(raw syscall.RawConn, c Call, judge func(Call) (Answer, func())) error {
	a, once := judge(c)
	var errno unix.Errno
	err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	})
	switch {
	case err == nil && errno == unix.ENOENT: // the caller was killed, or interrupted by a signal, meanwhile
		return nil
	case err == nil && errno != 0:
		err = errno
	}
	if err != nil {
		return fmt.Errorf("answer a refused call: %w", err)
	}
	if once != nil {
		once()
	}
	return nil
}

// take takes one call if there is one. The kernel's own call would block.
func take(fd int) (c Call, ended bool, err error) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return c, false, fmt.Errorf("wait for refused calls: %w", err)
	}
	if n <= 0 {
		return c, false, nil
	}
	if poll[0].Revents&unix.POLLIN == 0 {
		return c, true, nil // hung up: no process has this filter any more
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&c)))
	switch errno {
	case 0:
		return c, false, nil
	case unix.ENOENT, unix.EINTR: // the caller was killed meanwhile
		return Call{}, false, nil
	}
	return Call{}, false, fmt.Errorf("take a refused call: %w", errno)
}

// What a runner may have answered at once, and how often after that.
const (
	burst = 256
	every = time.Millisecond
)

// pace says how long to wait before the next call is taken.
type pace struct{ due time.Time }

func (p *pace) next(now time.Time) time.Duration {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(every)
	return p.due.Sub(now) - burst*every
}
