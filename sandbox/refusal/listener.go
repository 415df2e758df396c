package refusal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/msup/msup/sandbox/syscalls"
	"golang.org/x/sys/unix"
)

// Tally counts the refused calls of one runner. It may be used from any goroutine.
type Tally struct {
	mu     sync.Mutex
	counts syscalls.Counts
}

// Add counts one.
func (t *Tally) Add(c Call) {
	name := nameOf(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Add(name)
}

// Counts are the refusals until now.
func (t *Tally) Counts() syscalls.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// nameOf is "" for a call of another table, such as x32's.
func nameOf(c Call) string {
	info, err := arch.GetInfo(runtime.GOARCH)
	if err != nil || c.Arch != uint32(info.ID) {
		return ""
	}
	return info.SyscallNumbers[int(c.Nr)]
}

// Listener refuses whatever the filter of one runner tells of, and counts it.
type Listener struct {
	file  *os.File
	tally Tally
	done  chan struct{}
	err   error // set before done is closed
}

// Listen takes over the descriptor that a filter with SECCOMP_FILTER_FLAG_NEW_LISTENER has given, whatever it returns.
func Listen(fd int) (*Listener, error) {
	file, err := Pollable(fd)
	if err != nil {
		return nil, err
	}
	l := &Listener{file: file, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.err = Serve(l.file, func(c Call) (Answer, func()) {
			l.tally.Add(c)
			return c.Refuse(), nil
		})
	}()
	return l, nil
}

// Pollable makes a file of a descriptor, for which the runtime's poller waits and not a thread. It closes fd when it fails.
func Pollable(fd int) (*os.File, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the seccomp descriptor: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "seccomp announcements"), nil
}

// Counts are the refusals until now; a nil Listener has none.
func (l *Listener) Counts() syscalls.Counts {
	if l == nil {
		return syscalls.Counts{}
	}
	return l.tally.Counts()
}

// Close ends the listening. From then on the kernel refuses by itself. The error is why the listening ended before, if it failed.
func (l *Listener) Close() error {
	if l == nil {
		return nil
	}
	select {
	case <-l.done:
		return l.err
	default:
	}
	err := l.file.Close()
	<-l.done
	if err == nil || errors.Is(err, os.ErrClosed) { // it may have ended by itself just before
		return nil
	}
	return fmt.Errorf("stop listening for refused calls: %w", err)
}
