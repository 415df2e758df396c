package thread

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// nice is a thread's nice value as the kernel has it.
func nice(t *testing.T, tid int) int {
	t.Helper()
	value, err := niceOf(tid)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// aThread is a thread of this process, which plays the shared one, until the test ends.
func aThread(t *testing.T) int {
	t.Helper()
	tid, end := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: its nice value ends with it
		tid <- unix.Gettid()
		<-end
	}()
	t.Cleanup(func() { close(end) })
	return <-tid
}

// begins tells what the process reports of an instance, and waits until it was taken.
func begins(t *testing.T, p *fakeProcess, r sandbox.Runner, id uint64, tid int) {
	t.Helper()
	p.say(t, fmt.Sprintf(`{"id":%d,"event":"began","thread":%d}`+"\n", id, tid))
	for deadline := time.Now().Add(bound); r.(*instance).thread.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its thread is not known")
		}
	}
	r.(*instance).niceMu.Lock() // which began holds meanwhile
	defer r.(*instance).niceMu.Unlock()
}

// A lowered instance is one thread with another nice value, its neighbour's thread keeps its own; it is given back, and saying it twice is saying
// it once. An instance that has not begun begins with it.
//
// Proves: LN-7, SB-L0
func TestALoweredInstanceIsALoweredThread(t *testing.T) {
	if err := mayGiveBack(); err != nil {
		t.Fatalf("these tests need what msup has as root: %v", err)
	}
	for _, more := range []int{0, 5} { // its process may stand behind others itself: the compute lane does, and so does all of `nice msup run`
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			own := behind(t, more)
			lowered := min(own+niceLowered, niceMost)
			box, fake := faked(t, nil)
			a, b := started(t, box, "a"), started(t, box, "b")
			ids, _ := fake.last().orders(t, 2)
			threads := map[uint64]int{ids[0]: aThread(t), ids[1]: aThread(t)}
			first, second := byID(t, ids[0], a, b).(*instance), byID(t, ids[1], a, b).(*instance)
			begins(t, fake.last(), first, ids[0], threads[ids[0]])
			neighbours := nice(t, threads[ids[1]])
			for _, step := range []struct {
				lowered bool
				want    int
			}{{true, lowered}, {true, lowered}, {false, own}, {false, own}, {true, lowered}} {
				if err := first.SetLowered(step.lowered); err != nil {
					t.Fatal(err)
				}
				if got, other := nice(t, threads[ids[0]]), nice(t, threads[ids[1]]); got != step.want || other != neighbours {
					t.Fatalf("lowered %v: nice %d, want %d; its neighbour %d, want %d", step.lowered, got, step.want, other, neighbours)
				}
			}
			if err := second.SetLowered(true); err != nil {
				t.Fatal(err)
			}
			begins(t, fake.last(), second, ids[1], threads[ids[1]])
			if got := nice(t, threads[ids[1]]); got != lowered {
				t.Errorf("it was lowered before it began, and has nice %d, want %d", got, lowered)
			}
		})
	}
}

// behind lets the first thread of this process, which plays the shared one, stand behind others until the test ends.
func behind(t *testing.T, more int) (own int) {
	t.Helper()
	was := nice(t, os.Getpid())
	own = min(was+more, niceMost)
	if err := unix.Setpriority(unix.PRIO_PROCESS, os.Getpid(), own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setpriority(unix.PRIO_PROCESS, os.Getpid(), was); err != nil {
			t.Error(err)
		}
	})
	return own
}

// A number that is none of the process's own threads is nobody's: whoever reports it changes no foreign process.
//
// Proves: LN-7, SB-L0
func TestOnlyThreadsOfTheProcessAreLowered(t *testing.T) {
	box, fake := faked(t, nil)
	r := started(t, box, "a").(*instance)
	ids, _ := fake.last().orders(t, 1)
	begins(t, fake.last(), r, ids[0], unix.Getppid())
	before := nice(t, unix.Getppid())
	if err := r.SetLowered(true); err != nil {
		t.Errorf("a thread that has ended is an error: %v", err)
	}
	if now := nice(t, unix.Getppid()); now != before {
		t.Errorf("the nice value of a foreign process went from %d to %d", before, now)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.SetLowered(true); err != nil {
		t.Errorf("an instance that has ended is an error: %v", err)
	}
}

// Who could not take a nice value back does not give it, and says what is missing.
//
// Proves: LN-7, SB-L0
func TestWithoutTheRightToGiveBackNothingIsLowered(t *testing.T) {
	was := mayGiveBack
	defer func() { mayGiveBack = was }()
	mayGiveBack = func() error { return tryToGiveBack(dropSysNice) }
	box, fake := faked(t, nil)
	r := started(t, box, "a").(*instance)
	ids, _ := fake.last().orders(t, 1)
	tid := aThread(t)
	begins(t, fake.last(), r, ids[0], tid)
	before := nice(t, tid)
	if err := r.SetLowered(true); err == nil || !strings.Contains(err.Error(), "CAP_SYS_NICE") || !strings.Contains(err.Error(), "bot/s/a") {
		t.Errorf("it is lowered without a way back: %v", err)
	}
	if got := nice(t, tid); got != before {
		t.Errorf("nice %d, it had %d", got, before)
	}
}

// dropSysNice takes the capability from this thread alone.
func dropSysNice() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_NICE
	data[0].Permitted &^= 1 << unix.CAP_SYS_NICE
	return unix.Capset(&header, &data[0])
}

// In a real shared process one instance is lowered, which is its own thread and no other; its successor in the same process is not.
//
// Proves: LN-7, SB-L0
func TestARealThreadIsLowered(t *testing.T) {
	dir, err := os.MkdirTemp("", "tn")
	if err != nil {
		t.Fatal(err)
	}
	box, err := open(dir, sandboxtest.CgroupParent(t), func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(box.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	spec := sandboxtest.SharedProgram(t, interpreter(t))("echo")
	spec.Lane, spec.NeedSocket = ipc.LaneLL, true
	start := func(name string) *instance {
		spec.Address = ipc.Address{Bot: "b", Strategy: "s", Instance: ipc.InstanceID(name)}
		r, err := box.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := r.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // the instance's end may have closed it
		return r.(*instance)
	}
	a, b := start("a"), start("b")
	if a.PID() != b.PID() {
		t.Fatalf("they are in processes %d and %d", a.PID(), b.PID())
	}
	if err := a.SetLowered(true); err != nil {
		t.Fatal(err)
	}
	own := nice(t, a.PID())
	values := func() (lowered []int64) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", a.PID()))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range threads {
			tid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			id, _, err := readThread(dir)
			if err != nil {
				continue // it has ended
			}
			switch got := nice(t, tid); got {
			case own:
			case min(own+niceLowered, niceMost):
				lowered = append(lowered, id)
			default:
				t.Errorf("thread %d has nice %d", tid, got)
			}
		}
		return lowered
	}
	if got := values(); len(got) != 1 || got[0] != a.thread.Load() {
		t.Errorf("threads %v are lowered, want %d", got, a.thread.Load())
	}
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	next := start("a")
	if next.PID() != b.PID() {
		t.Fatalf("its successor is in process %d", next.PID())
	}
	old := a.thread.Load()
	if old == next.thread.Load() {
		t.Fatalf("thread %d is used again", old)
	}
	for deadline := time.Now().Add(bound); ; time.Sleep(time.Millisecond) {
		got := values()
		if len(got) == 0 {
			break
		}
		if len(got) > 1 || got[0] != old || time.Now().After(deadline) { // one that has told its end is still there for a moment
			t.Fatalf("threads %v are lowered after the end of %d", got, old)
		}
	}
}
