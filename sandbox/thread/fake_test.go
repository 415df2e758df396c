package thread

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/syscalls"
	"golang.org/x/sys/unix"
)

// bound is the time in which something has to happen that takes less than a ms on an idle machine.
const bound = 20 * time.Second

// fakeBox starts nothing: the test plays the processes.
type fakeBox struct {
	mu      sync.Mutex
	fails   []error // of the next starts
	started []*fakeProcess
}

func (b *fakeBox) Name() string                                 { return "fake" }
func (b *fakeBox) Level() sandbox.Level                         { return sandbox.L1 }
func (b *fakeBox) Walls() []sandbox.Wall                        { return []sandbox.Wall{{Name: "fake", Standing: true}} }
func (b *fakeBox) Reap(context.Context) (sandbox.Reaped, error) { return sandbox.Reaped{Dirs: 7}, nil }
func (b *fakeBox) Close() error                                 { return nil }
func (b *fakeBox) last() *fakeProcess {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started[len(b.started)-1]
}
func (b *fakeBox) Start(_ context.Context, s sandbox.Spec) (sandbox.Runner, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.fails) > 0 {
		err := b.fails[0]
		b.fails = b.fails[1:]
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &fakeProcess{spec: s, done: make(chan struct{})}
	for i, c := range []*net.Conn{&p.theirs, &p.ours} {
		f := os.NewFile(uintptr(pair[i]), "pair")
		conn, err := net.FileConn(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		*c = conn
	}
	b.started = append(b.started, p)
	return p, nil
}

// fakeProcess is a runner whose end of the connection the test holds.
type fakeProcess struct {
	spec         sandbox.Spec
	theirs, ours net.Conn
	once         sync.Once
	mu           sync.Mutex
	refused      syscalls.Counts
	exit         sandbox.Exit
	done         chan struct{}
}

func (p *fakeProcess) Conn(context.Context) (net.Conn, error) { return p.theirs, nil }
func (p *fakeProcess) PID() int                               { return os.Getpid() }
func (p *fakeProcess) Done() <-chan struct{}                  { return p.done }
func (p *fakeProcess) Exit() sandbox.Exit                     { return p.exit }
func (p *fakeProcess) Usage() (sandbox.Usage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sandbox.Usage{MemoryBytes: 42, Refused: p.refused}, nil
}
func (p *fakeProcess) Logs() sandbox.LogStats { return sandbox.LogStats{} }

func (p *fakeProcess) Kill() error {
	p.end(sandbox.Exit{Cause: sandbox.CauseKilled, Code: -1, Signal: 9, Reason: sandbox.ReasonKilled, Detail: "killed"})
	return nil
}

func (p *fakeProcess) end(e sandbox.Exit) {
	p.once.Do(func() {
		p.exit = e
		close(p.done)
	})
}

// orders takes n orders, and closes what comes with them but for the sockets.
func (p *fakeProcess) orders(t *testing.T, n int) (ids []uint64, sockets []*os.File) {
	t.Helper()
	for range n {
		text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(3*4))
		size, most, _, _, err := p.ours.(*net.UnixConn).ReadMsgUnix(text, rights)
		if err != nil {
			t.Fatal(err)
		}
		var o order
		if err := json.Unmarshal(text[:size], &o); err != nil {
			t.Fatalf("order %q: %v", text[:size], err)
		}
		messages, err := unix.ParseSocketControlMessage(rights[:most])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d control messages, %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 3 {
			t.Fatalf("descriptors %v, %v", fds, err)
		}
		if err := errors.Join(unix.Close(fds[1]), unix.Close(fds[2])); err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, os.NewFile(uintptr(fds[0]), "socket"))
		ids = append(ids, o.ID)
	}
	t.Cleanup(func() {
		for _, s := range sockets {
			if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return ids, sockets
}

func (p *fakeProcess) say(t *testing.T, lines string) {
	t.Helper()
	w := bufio.NewWriter(p.ours)
	if _, err := w.WriteString(lines); err != nil && !errors.Is(err, unix.EPIPE) {
		t.Fatal(err)
	}
	// Who hears what it cannot understand may be gone before the end of it.
	if err := w.Flush(); err != nil && !errors.Is(err, unix.EPIPE) {
		t.Fatal(err)
	}
}

// faked opens a sandbox over a fake one.
func faked(t *testing.T, change func(*Config)) (*Sandbox, *fakeBox) {
	t.Helper()
	fake := &fakeBox{}
	cfg := Config{Process: fake, KillGrace: 20 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	box, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range fake.started {
			if err := p.ours.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return box, fake
}

func threadSpec(name string) sandbox.Spec {
	return sandbox.Spec{Address: ipc.Address{Bot: "bot", Strategy: "s", Instance: ipc.InstanceID(name)}, Lane: ipc.LaneLL, Argv: []string{"/python"}, NeedSocket: true}
}

func started(t *testing.T, box *Sandbox, name string) sandbox.Runner {
	t.Helper()
	r, err := box.Start(t.Context(), threadSpec(name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ended(t *testing.T, r sandbox.Runner) sandbox.Exit {
	t.Helper()
	select {
	case <-r.Done():
		return r.Exit()
	case <-time.After(bound):
		t.Fatal("the instance does not end")
		return sandbox.Exit{}
	}
}
