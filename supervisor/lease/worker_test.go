package lease

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// The tests with real processes start this binary again as an owner that does what it is told, line by line.
const workerEnv = "MSUP_TEST_LEASE_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// order is one line to a worker.
type order struct {
	Op       string // acquire, renew, lost, release, child, slip
	Dir      string
	State    string // its state directory: the file "epoch" in it
	Key      string
	TTL      time.Duration
	Takeover bool
	Nonce    ipc.Nonce
	Wait     time.Duration
}

// reply is its answer.
type reply struct {
	OK    bool
	Epoch ipc.Epoch
	Kind  string // of the error: held, hung, unknown, lost
	Err   string
	PID   int // of a child
}

func addressOf(key string) ipc.Address {
	return ipc.Address{Bot: "bot", Strategy: "strategy", Instance: ipc.InstanceID(key)}
}

// work is the life of a worker: a supervisor reduced to its lease and its count of epochs.
func work(in io.Reader, out io.Writer) error {
	leases := map[string]*Lease{}
	keepers := map[string]*Keeper{}
	lines, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := lines.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil // killed or done: nothing is given back in order
			}
			return err
		}
		r, err := obey(o, leases, keepers)
		if err != nil {
			r.Err, r.Kind = err.Error(), kindOf(err)
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
}

func kindOf(err error) string {
	for kind, name := range map[error]string{ErrHeld: "held", ErrHung: "hung", ErrUnknown: "unknown", ErrLost: "lost"} {
		if errors.Is(err, kind) {
			return name
		}
	}
	return "other"
}

func obey(o order, leases map[string]*Lease, keepers map[string]*Keeper) (r reply, err error) {
	l := leases[o.Key]
	switch o.Op {
	case "acquire":
		k := keepers[o.Key]
		if k == nil {
			if k, err = Open(Options{Dir: o.Dir, TTL: o.TTL, Nonce: o.Nonce, Takeover: o.Takeover, Logger: quiet()}); err != nil {
				return r, err
			}
			keepers[o.Key] = k
		}
		if l, err = k.Acquire(context.Background(), addressOf(o.Key)); err != nil {
			return r, err
		}
		leases[o.Key] = l
		r.Epoch, err = goLive(l, o.State)
	case "renew":
		r.Epoch = l.Epoch()
		err = l.renewNow()
	case "lost":
		select {
		case <-l.Lost():
			r.OK = true
		case <-time.After(o.Wait):
		}
		return r, l.Err()
	case "release":
		r.Epoch = l.Epoch()
		err = l.Release()
		delete(leases, o.Key)
	case "child": // as a child that was forked from the owner and keeps all it inherited
		c := exec.Command("sleep", "600")
		var fd int
		if fd, err = syscall.Dup(l.file.fd); err != nil {
			return r, err
		}
		c.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "lease")}
		if err = c.Start(); err == nil {
			r.PID = c.Process.Pid
		}
		// The duplicate stays open here: closing it would give the lock back.
	case "slip": // as a library that reads the file and closes it: the kernel gives the lock back
		_, err = os.ReadFile(l.file.path)
	default:
		err = fmt.Errorf("unknown order %q", o.Op)
	}
	r.OK = err == nil
	return r, err
}

// renewNow is a heartbeat at once.
func (l *Lease) renewNow() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	return l.write()
}

// goLive counts like a supervisor: above its own state directory and the lease, durable in both.
func goLive(l *Lease, state string) (ipc.Epoch, error) {
	file := filepath.Join(state, "epoch")
	var own uint64
	text, err := os.ReadFile(file)
	if err == nil {
		own, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	next := max(ipc.Epoch(own), l.Epoch()) + 1
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n", next), 0o600); err != nil {
		return 0, err
	}
	return next, l.Raise(next)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// worker is a started owner.
type worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	mu    sync.Mutex
	in    io.WriteCloser
	out   *bufio.Reader
	nonce ipc.Nonce
	dir   string // of the leases
	state string
	ttl   time.Duration
}

var nonces struct {
	sync.Mutex
	next byte
	high byte
}

func newNonce() ipc.Nonce {
	nonces.Lock()
	defer nonces.Unlock()
	if nonces.next++; nonces.next == 0 {
		nonces.high++
	}
	return ipc.Nonce{nonces.next, nonces.high, 1}
}

func startWorker(t testing.TB, dir, state string, ttl time.Duration) *worker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, cmd: exec.Command(self), nonce: newNonce(), dir: dir, state: state, ttl: ttl}
	w.cmd.Env = append(os.Environ(), workerEnv+"=1", "GORACE=atexit_sleep_ms=0")
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	return w
}

// do gives an order and waits for the answer; false when the worker has died over it.
func (w *worker) do(o order) (r reply, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.Dir, o.State, o.TTL, o.Nonce = w.dir, w.state, w.ttl, w.nonce
	line, err := json.Marshal(o)
	if err != nil {
		w.t.Error(err)
		return r, false
	}
	if _, err := w.in.Write(append(line, '\n')); err != nil {
		return r, false
	}
	answer, err := w.out.ReadBytes('\n')
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		w.t.Errorf("answer %q: %v", answer, err)
		return r, false
	}
	return r, true
}

// must is do where the worker has to live and the answer has to be of a kind; "" = no error.
func (w *worker) must(o order, kind string) reply {
	w.t.Helper()
	r, ok := w.do(o)
	if !ok {
		w.t.Fatalf("%s: the worker has died", o.Op)
	}
	if r.Kind != kind {
		w.t.Fatalf("%s of process %d: %q (%s), want %q", o.Op, w.cmd.Process.Pid, r.Kind, r.Err, kind)
	}
	return r
}

func (w *worker) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Errorf("signal %s: %v", s, err)
	}
}

// kill ends the worker without warning and waits.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // done already, perhaps
	_ = w.in.Close()
	_ = w.cmd.Wait() // killed: an error by nature
}

func (w *worker) running() bool {
	start, ended, err := processStat(w.cmd.Process.Pid)
	return err == nil && !ended && start > 0
}
