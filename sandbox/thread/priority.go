package thread

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

var _ sandbox.Prioritised = (*instance)(nil)

// niceLowered is added to the nice value of the process. It gives a thread a tenth of its neighbours' weight, as a lowered control group has
// against its own.
//
// It is what a thread can have, and less than a group: whoever holds the interpreter's lock is not waited for less because it goes behind. Measured
// with nice 19 on two processors with other work, beside two to four threads in C code: what the lowered thread computes falls to a third, a neighbour
// that needs the lock every 2 ms comes through more often, its p95 stays, its latest moment goes from 1-7 ms to 4-28.
const niceLowered = 10

// SetLowered lets the other threads of the process go first, by the nice value of the instance's own thread (LN-7). The process's group stays: it is
// the neighbours', too. A thread that the strategy starts has what its maker had then.
func (r *instance) SetLowered(lowered bool) error {
	r.niceMu.Lock()
	defer r.niceMu.Unlock()
	select {
	case <-r.ended:
		return nil
	default:
	}
	if err := mayGiveBack(); err != nil {
		return fmt.Errorf("lower the thread of %s: %w", r.spec.Address, err)
	}
	was := r.lowered
	r.lowered = lowered
	err := r.renice()
	if err != nil {
		r.lowered = was
	}
	return err
}

// began takes the number of the instance's thread, which begins with what it was told before.
func (r *instance) began(thread int64) {
	r.niceMu.Lock()
	defer r.niceMu.Unlock()
	r.thread.Store(thread)
	if !r.lowered {
		return
	}
	if err := r.renice(); err != nil {
		r.p.box.log.Warn("lowering a thread failed", "instance", r.spec.Address.String(), "error", err)
	}
}

// renice gives the thread the value that it should have, once it is there: its process's, or one behind it.
func (r *instance) renice() error {
	thread := r.thread.Load()
	if thread == 0 {
		return nil
	}
	tid, err := r.p.hostThread(thread)
	if tid == 0 || err != nil {
		return err
	}
	value := r.p.nice
	if r.lowered {
		value = min(value+niceLowered, niceMost)
	}
	if err = r.p.niceErr; err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, tid, value)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended
	}
	if err != nil {
		return fmt.Errorf("set the nice value of thread %d of %s: %w", tid, r.spec.Address, err)
	}
	return nil
}

// niceMost is the largest nice value there is.
const niceMost = 19

// niceOf is a thread's nice value.
func niceOf(tid int) (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	return 20 - raw, err // the system call counts down from 40, so that nothing is negative
}

// hostThread finds a thread of the process by its id in the process's own pid namespace; 0 when it has ended. Whatever the process says is looked
// for among its own threads only.
func (p *sharedProcess) hostThread(thread int64) (tid int, err error) {
	dir := fmt.Sprintf("/proc/%d/task", p.inner.PID())
	threads, err := os.ReadDir(dir)
	if err != nil {
		return 0, unlessGone(err)
	}
	for _, t := range threads {
		id, _, err := readThread(filepath.Join(dir, t.Name()))
		if unlessGone(err) != nil {
			return 0, err
		}
		if err == nil && id == thread {
			return strconv.Atoi(t.Name())
		}
	}
	return 0, nil
}

// mayGiveBack tells why a nice value could not be taken back, which it is asked before it is given: a thread would stay behind for ever. Without
// CAP_SYS_NICE the kernel lets nobody lower a nice value, and no rlimit of the runner's allows it. It is tried once, on a thread of this process's own.
var mayGiveBack = sync.OnceValue(func() error { return tryToGiveBack(func() error { return nil }) })

// tryToGiveBack tries it after the preparation of the thread.
func tryToGiveBack(prepare func() error) error {
	tried := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := prepare()
		for _, value := range []int{1, 0} {
			if err == nil {
				err = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), value)
			}
		}
		tried <- err
	}()
	if err := <-tried; err != nil {
		return fmt.Errorf("this process may not take a thread's nice value back (%w): it needs CAP_SYS_NICE, which msup has when it is begun as root", err)
	}
	return nil
}
