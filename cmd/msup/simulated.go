package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/execution"
)

const (
	simStartWait  = 5 * time.Second
	simStopWait   = 5 * time.Second
	maxSocketPath = 107      // the kernel's sun_path, less its zero
	publishBuffer = 64 << 10 // bytes of market events that wait for the next offer or sync
)

// simulated is I as a run sees it: somebody else's, or the simulated one, a child process of this same program. It is the Sink and the Tee
// of the run.
type simulated struct {
	*execution.Link
	log   *slog.Logger
	child *child // nil: somebody else's I, which has its market elsewhere

	mu     sync.Mutex
	frames []byte // market events not sent yet; I needs them only before it judges
}

// child starts the simulated I, and again when it has died: what it must not forget is in its folder.
type child struct {
	self, dir string
	log       *slog.Logger

	mu     sync.Mutex
	market map[marketKey]ipc.MarketEvent // the last of each kind: a new process knows no market
	run    *simProcess
}

type marketKey struct {
	kind       ipc.EventKind
	instrument ipc.InstrumentID
}

// simProcess is one life of the simulated I.
type simProcess struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	exited  chan struct{}
	sockets string // folder to be removed with the socket; "" = none
}

// startSimulated starts the simulated I on a state folder and connects to it.
func startSimulated(ctx context.Context, _ *app, dir string, log *slog.Logger) (*simulated, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	if unix.Access(self, unix.X_OK) != nil { // whoever gave up root may not get to it by its name
		self = "/proc/self/exe"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making its state folder: %w", err)
	}
	c := &child{self: self, dir: dir, log: log, market: map[marketKey]ipc.MarketEvent{}}
	link, err := execution.Connect(ctx, c.dial, execution.LinkOptions{Logger: log})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return &simulated{Link: link, log: log, child: c}, nil
}

// dial starts a process, and tells it where the market stands.
func (c *child) dial(ctx context.Context) (*execution.Client, error) {
	if err := c.close(); err != nil { // what is left of the last one
		c.log.Warn("ending the simulated I failed", "err", err)
	}
	socket, sockets, err := simSocket(c.dir)
	if err != nil {
		return nil, err
	}
	p := &simProcess{exited: make(chan struct{}), sockets: sockets}
	p.cmd = exec.Command(c.self, "sim", "--socket", socket, "--dir", c.dir, "--exit-when-idle")
	p.cmd.Stderr = &p.stderr
	// Ctrl-C belongs to the supervisor; when the supervisor dies, I must not stay behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s sim: %w", c.self, err), p.removeSockets())
	}
	c.mu.Lock()
	c.run = p
	c.mu.Unlock()
	conn, err := p.connect(ctx, socket)
	if err != nil {
		return nil, err
	}
	client := execution.New(conn, execution.Options{Logger: c.log})
	// There is one connection and it stands: without its name nothing is left behind when this process is killed.
	if err := errors.Join(p.removeSockets(), c.tell(ctx, client)); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// start starts the process on an operating-system thread that lives as long as it: the kernel sends PDEATHSIG when the thread that forked ends.
// On one of the scheduler's, I died with the private containerd, whose own thread had been that one before (found by killing containerd).
func (p *simProcess) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, after the child
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // what it has to say is in its stderr and exit code
			close(p.exited)
		}
	}()
	return <-started
}

// tell publishes the last market event of each kind and instrument; books are complete again with their next snapshot.
func (c *child) tell(ctx context.Context, client *execution.Client) error {
	c.mu.Lock()
	events := slices.SortedFunc(maps.Values(c.market), func(a, b ipc.MarketEvent) int { return cmp.Compare(a.Header().RecvTS, b.Header().RecvTS) })
	c.mu.Unlock()
	for _, e := range events {
		if err := client.Publish(ctx, e); err != nil {
			return fmt.Errorf("telling the simulated I where the market stands: %w", err)
		}
	}
	return nil
}

func (c *child) saw(e ipc.MarketEvent) {
	if e.Kind() == ipc.KindBookDelta {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.market[marketKey{e.Kind(), e.Header().Instrument}] = e
}

// close waits for the process to end, which it does when nobody is connected.
func (c *child) close() error {
	c.mu.Lock()
	p := c.run
	c.run = nil
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	var err error
	select {
	case <-p.exited:
		if text := bytes.TrimSpace(p.stderr.Bytes()); p.cmd.ProcessState.ExitCode() > 0 && len(text) > 0 {
			c.log.Warn("the simulated I ended", "state", p.cmd.ProcessState, "stderr", string(text))
		}
	case <-time.After(simStopWait):
		err = errors.Join(fmt.Errorf("the simulated I did not end within %s and was killed", simStopWait), p.cmd.Process.Kill())
		<-p.exited
	}
	return errors.Join(err, p.removeSockets())
}

// simSocket is a path for I's socket: in its state folder, or, where that lies too deep for the 107 bytes of a socket path, in a short folder
// of its own, which close removes.
func simSocket(dir string) (socket, remove string, err error) {
	if socket = filepath.Join(dir, "s"); len(socket) <= maxSocketPath {
		return socket, "", nil
	}
	if remove, err = os.MkdirTemp("", "msup-i-"); err != nil {
		return "", "", fmt.Errorf("making a folder for its socket: %w", err)
	}
	if socket = filepath.Join(remove, "s"); len(socket) > maxSocketPath {
		return "", "", errors.Join(fmt.Errorf("%s: a socket path of %d bytes, the kernel allows %d; set TMPDIR to a shorter folder", ipc.ReasonSocketPathTooLong,
			len(socket), maxSocketPath), os.RemoveAll(remove))
	}
	return socket, remove, nil
}

// connect waits until the child listens.
func (p *simProcess) connect(ctx context.Context, socket string) (net.Conn, error) {
	deadline := time.Now().Add(simStartWait)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn, nil
		}
		select {
		case <-p.exited:
			return nil, fmt.Errorf("it ended at once: %s", bytes.TrimSpace(p.stderr.Bytes()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("it does not listen on %s after %s", socket, simStartWait)
		}
	}
}

func (p *simProcess) removeSockets() error {
	if p.sockets == "" {
		return nil
	}
	return os.RemoveAll(p.sockets)
}

// Offer hands an intent to I, behind every market event published so far.
func (s *simulated) Offer(o *ipc.Offer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(context.Background()); err != nil {
		return err
	}
	return s.Link.Offer(o)
}

// Publish gives I a market event. It leaves with the next offer or sync, or when enough have come together: I looks at the market only when
// it judges, or when an order rests with it.
func (s *simulated) Publish(e ipc.MarketEvent) error {
	if s.child == nil {
		return nil
	}
	s.child.saw(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := e.Header()
	frames, err := ipc.AppendFrame(s.frames, &ipc.SourceEvent{Cursor: ipc.Cursor{Source: h.Source, Epoch: 1, Seq: h.Seq}, RecvTS: h.RecvTS, Event: e})
	if err != nil {
		return err
	}
	if s.frames = frames; len(s.frames) < publishBuffer {
		return nil
	}
	return s.flush(context.Background())
}

func (s *simulated) flush(ctx context.Context) error {
	if len(s.frames) == 0 {
		return nil
	}
	err := s.PublishFrame(ctx, s.frames)
	s.frames = s.frames[:0]
	return err
}

// FollowsFeed reports whether I's time is that of the feed.
func (s *simulated) FollowsFeed() bool { return s.child != nil }

// Sync returns when I has worked off everything, and the instances have heard of it.
func (s *simulated) Sync(ctx context.Context) error {
	s.mu.Lock()
	err := s.flush(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Link.Sync(ctx)
}

// close ends the connection, and the child, when there is one; both have written what they had.
func (s *simulated) close() error {
	err := s.Link.Close()
	if s.child != nil {
		err = errors.Join(err, s.child.close())
	}
	return err
}
