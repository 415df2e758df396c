package process

import (
	"errors"

	"golang.org/x/sys/unix"
)

// hungUp tells whether the other end of a pipe is gone. A signal that arrives meanwhile, Go's own for a thread that is to make room, ends the
// look with EINTR although nothing has happened: seen on a slow machine, where a start failed because "the supervisor is gone".
func hungUp(fd int) (bool, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}
