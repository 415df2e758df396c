package process

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A look for the supervisor's end of the pipe while signals arrive: they are no end.
//
// Proves: SB-6
func TestASignalIsNoEndOfTheSupervisor(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := unix.Tgkill(os.Getpid(), thread, unix.SIGURG); err != nil { // the one that Go itself sends, and ignores
					t.Error(err)
					return
				}
			}
		}
	})
	// Until the kernel has interrupted a bare poll five times, which shows that the signals arrive in the middle.
	interrupted, gone := 0, 0
	for began := time.Now(); interrupted < 5 && time.Since(began) < time.Minute; {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(r.Fd())}}, 0); err == unix.EINTR {
			interrupted++
		}
		if over, err := hungUp(int(r.Fd())); over || err != nil {
			gone++
		}
	}
	close(done)
	wg.Wait()
	if interrupted < 5 || gone > 0 {
		t.Errorf("interrupted %d times, and taken for the end %d times", interrupted, gone)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if over, err := hungUp(int(r.Fd())); !over || err != nil {
		t.Errorf("the end is not seen: %v, %v", over, err)
	}
}
