package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/execution"
)

const (
	simStartWait  = 5 * time.Second
	simStopWait   = 5 * time.Second
	maxSocketPath = 107      // the kernel's sun_path, less its zero
	publishBuffer = 64 << 10 // bytes of market events that wait for the next offer or sync
)

// simulated is the simulated I: a child process of this same program, and the connection to it. It is the Sink and the Tee of a run.
type simulated struct {
	log    *slog.Logger
	child  *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{}
	client *execution.Client
	dir    string // to be removed with the socket; "" = none

	mu      sync.Mutex
	frames  []byte // market events not sent yet; I needs them only before it judges
	members map[ipc.Address]*supervisor.Instance

	lost atomic.Pointer[context.CancelCauseFunc] // told when I goes away under a run

	external bool // a real I, which has its market elsewhere
}

// startSimulated starts the simulated I on a state folder and connects to it.
func startSimulated(ctx context.Context, a *app, dir string, log *slog.Logger) (*simulated, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making its state folder: %w", err)
	}
	socket, sockets, err := simSocket(dir)
	if err != nil {
		return nil, err
	}
	s := &simulated{log: log, dir: sockets, exited: make(chan struct{}), members: map[ipc.Address]*supervisor.Instance{}}
	s.child = exec.Command(self, "sim", "--socket", socket, "--dir", dir, "--exit-when-idle")
	s.child.Stderr = &s.stderr
	// Ctrl-C belongs to the supervisor; when the supervisor dies, I must not stay behind.
	s.child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.child.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s sim: %w", self, err), s.removeDir())
	}
	go func() {
		_ = s.child.Wait() // what it has to say is in its stderr and exit code
		close(s.exited)
	}()
	if s.client, err = s.connect(ctx, socket); err != nil {
		return nil, errors.Join(err, s.close())
	}
	// There is one connection and it stands: without its name nothing is left behind when this process is killed.
	if err := os.RemoveAll(sockets); err != nil {
		return nil, errors.Join(fmt.Errorf("removing the folder of its socket: %w", err), s.close())
	}
	return s, nil
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
func (s *simulated) connect(ctx context.Context, socket string) (*execution.Client, error) {
	deadline := time.Now().Add(simStartWait)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return execution.New(conn, execution.Options{Logger: s.log}), nil
		}
		select {
		case <-s.exited:
			return nil, fmt.Errorf("it ended at once: %s", bytes.TrimSpace(s.stderr.Bytes()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("it does not listen on %s after %s", socket, simStartWait)
		}
	}
}

// route makes an instance hear what I says of it.
func (s *simulated) route(p *supervisor.Instance) { s.members[p.Address()] = p }

// Hello announces an instance; from then on its Instance hears what I says.
func (s *simulated) Hello(ctx context.Context, h ipc.BoundaryHello) (ipc.Welcome, error) {
	w, err := s.client.Hello(ctx, execution.Announcement{Address: h.Address, Lineage: h.Lineage, Epoch: h.Epoch, Owner: h.Owner,
		OldestOpenStep: h.OldestOpenStep}, &hearing{s: s, instance: s.members[h.Address]})
	if err != nil {
		return ipc.Welcome{}, err
	}
	return *w, nil
}

// Offer hands an intent to I, behind every market event published so far.
func (s *simulated) Offer(o *ipc.Offer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(context.Background()); err != nil {
		return err
	}
	_, err := s.client.Offer(o)
	return err
}

// Query asks what I knows of a key.
func (s *simulated) Query(ctx context.Context, q ipc.Query) (ipc.StatusReport, error) {
	return status(s.client.Query(ctx, q.Address, q.Epoch, q.Key))
}

// Tombstone bars a key at I.
func (s *simulated) Tombstone(ctx context.Context, t ipc.Tombstone) (ipc.StatusReport, error) {
	return status(s.client.Tombstone(ctx, t.Address, t.Epoch, t.Key))
}

func status(r *ipc.StatusReport, err error) (ipc.StatusReport, error) {
	if err != nil {
		return ipc.StatusReport{}, err
	}
	return *r, nil
}

// RequestSnapshot asks for positions and open orders.
func (s *simulated) RequestSnapshot(a ipc.Address) error {
	_, err := s.client.RequestSnapshot(a)
	return err
}

// Ack tells I what is durable here.
func (s *simulated) Ack(a ipc.Address, c ipc.Cursor) error { return s.client.Ack(a, c) }

// Publish gives I a market event. It leaves with the next offer or sync, or when enough have come together: I looks at the market only when
// it judges, or when an order rests with it.
func (s *simulated) Publish(e ipc.MarketEvent) error {
	if s.external {
		return nil
	}
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
	err := s.client.PublishFrame(ctx, s.frames)
	s.frames = s.frames[:0]
	return err
}

// Sync returns when I has worked off everything, and the instances have heard of it.
func (s *simulated) Sync(ctx context.Context) error {
	s.mu.Lock()
	err := s.flush(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.client.Sync(ctx)
}

// close ends the connection and the child; both have written what they had.
func (s *simulated) close() error {
	var err error
	if s.client != nil {
		err = s.client.Close()
	}
	select {
	case <-s.exited:
	case <-time.After(simStopWait):
		err = errors.Join(err, fmt.Errorf("the simulated I did not end within %s and was killed", simStopWait), s.child.Process.Kill())
		<-s.exited
	}
	return errors.Join(err, s.removeDir())
}

func (s *simulated) removeDir() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// hearing passes on what I says of one instance.
type hearing struct {
	s        *simulated
	instance *supervisor.Instance
}

func (h *hearing) Event(e *ipc.SourceEvent)   { h.instance.Arrive(e) }
func (h *hearing) Status(r *ipc.StatusReport) { h.instance.Report(r) }
func (h *hearing) Refused(r *ipc.Refused) {
	h.s.log.Error("I refuses an instance", "instance", r.Address, "reason", r.Reason, "epoch", r.Epoch)
	h.s.gone(&execution.RefusedError{Address: r.Address, Reason: r.Reason, Epoch: r.Epoch})
}

// Lost is the last call; that of a handler which a second Hello has replaced means nothing.
func (h *hearing) Lost(cause error) {
	if !errors.Is(cause, execution.ErrNotAnnounced) {
		h.s.gone(cause)
	}
}

func (s *simulated) gone(cause error) {
	if lost := s.lost.Load(); lost != nil {
		(*lost)(exit(exitBoundary, "%s is gone: %w", s.name(), cause))
	}
}
