package refusal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a process behind a filter: "threads calls" that it makes, or until it is killed when there are none.
const childEnv = "MSUP_REFUSAL_CHILD"

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		if err := actBehindFilter(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// actBehindFilter hands the descriptor to the parent, waits for its word, and asks for what is refused. It prints what the kernel said, once.
func actBehindFilter(how string) error {
	listener, err := filtered()
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Sendmsg(3, []byte("x"), unix.UnixRights(listener), nil, 0), unix.Close(listener)); err != nil {
		return fmt.Errorf("hand over the descriptor: %w", err)
	}
	if _, err := unix.Read(3, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the word: %w", err)
	}
	var threads, calls int
	if _, err := fmt.Sscan(how, &threads, &calls); err != nil {
		return fmt.Errorf("read %q: %w", how, err)
	}
	var mu sync.Mutex
	said := map[syscall.Errno]bool{}
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			for n := 0; n < calls || calls == 0; n++ {
				_, _, errno := syscall.Syscall(unix.SYS_PTRACE, 0, 0, 0)
				mu.Lock()
				said[errno] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for errno := range said {
		fmt.Println(int(errno))
	}
	return nil
}

// filtered loads a filter that tells of ptrace and lets everything else pass.
func filtered() (listener int, err error) {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_PTRACE, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}})
	if err != nil {
		return -1, fmt.Errorf("assemble: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("set no_new_privs: %w", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, fmt.Errorf("load the filter: %w", errno)
	}
	return int(fd), nil
}

// child is a process behind a filter.
type child struct {
	*exec.Cmd
	link     int
	listener int
	out      strings.Builder
}

// start starts one; it waits for goOn.
func start(t *testing.T, threads, calls int) *child {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "link")
	c := &child{Cmd: exec.Command("/proc/self/exe"), link: pair[0]}
	c.Env = []string{fmt.Sprintf("%s=%d %d", childEnv, threads, calls), "GORACE=atexit_sleep_ms=0"}
	c.ExtraFiles, c.Stdout, c.Stderr = []*os.File{theirs}, &c.out, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(c.Start(), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	text, space := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(c.link, text, space, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	c.listener = fds[0]
	return c
}

func (c *child) goOn(t *testing.T) {
	t.Helper()
	if _, err := unix.Write(c.link, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

// end waits for its end and returns what the kernel said to it.
func (c *child) end(t *testing.T) []string {
	t.Helper()
	err := c.Wait()
	if _, killed := errors.AsType[*exec.ExitError](err); err != nil && !killed {
		t.Fatal(err)
	}
	if err := unix.Close(c.link); err != nil {
		t.Error(err)
	}
	return strings.Fields(c.out.String())
}

var eperm = strconv.Itoa(int(unix.EPERM))

// Every refused call of every thread counts once, is named, and gets the filters' own errno. When the process has ended the descriptor is closed.
//
// Proves: SB-3, SB-7
func TestEveryRefusalOfEveryThreadCounts(t *testing.T) {
	warm(t)
	before := descriptors(t)
	for _, c := range []struct{ threads, calls int }{{1, 1}, {8, 20}, {3, 200}} {
		p := start(t, c.threads, c.calls)
		l, err := Listen(p.listener)
		if err != nil {
			t.Fatal(err)
		}
		p.goOn(t)
		if said := p.end(t); len(said) != 1 || said[0] != eperm {
			t.Errorf("%+v: the kernel said %v", c, said)
		}
		if got := l.Counts(); got.Of("ptrace") != int64(c.threads*c.calls) || got.Total() != got.Of("ptrace") {
			t.Errorf("%+v: counted %d, %s", c, got.Total(), got.Names())
		}
		<-l.done // by itself
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// A caller that is killed while it waits is no error, whether its call was taken or not, and the listening ends with it.
//
// Proves: SB-7, SB-6
func TestACallerMayDieWhileItWaits(t *testing.T) {
	p := start(t, 4, 1)
	file, err := Pollable(p.listener)
	if err != nil {
		t.Fatal(err)
	}
	served, taken := make(chan error), 0
	go func() {
		served <- Serve(file, func(c Call) (Answer, func()) {
			if taken++; taken == 1 { // so three wait that nobody has taken
				if err := errors.Join(p.Process.Kill(), waitZombie(p.Process.Pid)); err != nil {
					t.Error(err)
				}
			}
			return c.Refuse(), func() { t.Error("a dead caller got an answer") }
		})
	}()
	p.goOn(t)
	if err := <-served; err != nil || taken != 1 {
		t.Errorf("%v after %d calls", err, taken)
	}
	if said := p.end(t); len(said) != 0 {
		t.Errorf("the kernel said %v", said)
	}
	if err := file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the descriptor was still open: %v", err)
	}
}

// waitZombie returns when a process is dead with all its threads, and nobody has waited for it.
func waitZombie(pid int) error {
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		if len(threads) == 1 && strings.HasPrefix(string(text[strings.LastIndexByte(string(text), ')')+1:]), " Z") {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// When nobody listens any more, because a supervisor closed the descriptor or died with it, the kernel refuses, also those that wait already.
//
// Proves: SB-3, SB-7
func TestNobodyListensNothingPasses(t *testing.T) {
	for name, close := range map[string]func(p *child) error{
		"before": func(p *child) error {
			l, err := Listen(p.listener)
			if err != nil {
				return err
			}
			return l.Close()
		},
		"while it waits": func(p *child) error {
			p.goOn(t)
			poll := []unix.PollFd{{Fd: int32(p.listener), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, 20_000); n != 1 {
				return fmt.Errorf("no call came: %w", err)
			}
			return unix.Close(p.listener)
		},
	} {
		p := start(t, 1, 3)
		if err := close(p); err != nil {
			t.Fatal(err)
		}
		if name == "before" {
			p.goOn(t)
		}
		if said := p.end(t); len(said) != 1 || said[0] != strconv.Itoa(int(unix.ENOSYS)) {
			t.Errorf("%s: the kernel said %v", name, said)
		}
	}
}

// A flood from many threads costs a bounded number of answers, whoever floods; the flooder can be killed at any time.
//
// Proves: SB-7, NN-2
func TestAFloodIsPaced(t *testing.T) {
	p := start(t, 8, 0)
	l, err := Listen(p.listener)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.goOn(t)
	for l.Counts().Total() < 2*burst {
		time.Sleep(10 * time.Millisecond)
	}
	n := l.Counts().Total()
	if most := burst + int64(time.Since(began)/every) + 1; n > most {
		t.Errorf("%d answers in %s, at most %d may be", n, time.Since(began), most)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1, 0)
	for n := range burst {
		if wait := p.next(now); wait > 0 {
			t.Fatalf("call %d waits %s", n, wait)
		}
	}
	for n := range 3 {
		if wait := p.next(now); wait != time.Duration(n+1)*every {
			t.Errorf("call %d after the burst waits %s", n, wait)
		}
	}
	if wait := p.next(now.Add(time.Hour)); wait > 0 {
		t.Errorf("after an hour it waits %s", wait)
	}
}

// A descriptor that is none is an error, and what has no number here is counted all the same.
//
// Proves: SB-7
func TestWhatCannotBeListenedTo(t *testing.T) {
	if _, err := Listen(1 << 20); err == nil {
		t.Error("a descriptor that is not open is listened to")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := Serve(r, nil); err == nil || !strings.Contains(err.Error(), "take a refused call") {
		t.Errorf("a pipe is served: %v", err)
	}
	if err := r.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("what cannot be served stays open: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	var none *Listener
	if none.Counts().Total() != 0 || none.Close() != nil {
		t.Error("where nobody listens something was counted")
	}
	var tally Tally
	tally.Add(Call{Nr: unix.SYS_PTRACE, Arch: uint32(arch.X32.ID) + 1})
	if got := tally.Counts(); got.Total() != 1 || got.Of("ptrace") != 0 {
		t.Errorf("a call of another table counts as %s", got.Names())
	}
}

// warm makes the runtime open what it opens once.
func warm(t *testing.T) {
	t.Helper()
	p := start(t, 1, 1)
	l, err := Listen(p.listener)
	if err != nil {
		t.Fatal(err)
	}
	p.goOn(t)
	p.end(t)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
