package thread

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

const (
	// drainTimeout bounds the reading of what is left in the pipes of an instance whose thread has left.
	drainTimeout = 2 * time.Second
	// killTimeout bounds how long the end of a killed process may take.
	killTimeout = 20 * time.Second
)

// instance is one thread of a shared process.
type instance struct {
	p     *sharedProcess
	id    uint64
	spec  sandbox.Spec
	conn  net.Conn
	logs  *sandbox.LogLimiter
	pipes [2]*os.File // stdout, stderr
	pumps sync.WaitGroup

	thread atomic.Int64 // its id in the process's pid namespace; 0 until it has begun
	cpu    atomic.Int64 // ns, the last known
	killed atomic.Bool

	niceMu  sync.Mutex
	lowered bool // what its thread has, or begins with

	peerMu sync.Mutex
	peer   int // the process's end of the socket as well, to end it whoever holds ours; -1 when closed

	sent, over bool // whether it was handed over, or ended before; guarded by p.mu

	settled  chan struct{} // closed when it has connected, or never will
	settling sync.Once
	connErr  error

	ending  sync.Once
	ended   chan struct{} // closed when the end begins
	exit    sandbox.Exit
	cleanUp error
	done    chan struct{}
}

var _ sandbox.Runner = (*instance)(nil)

// handed is what the process gets of an instance: socket, stdout, stderr.
type handed [3]int

func (h handed) close() error {
	var errs []error
	for _, fd := range h {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// newInstance makes both ends of what connects an instance with this process.
func newInstance(p *sharedProcess, spec sandbox.Spec) (_ *instance, _ handed, err error) {
	var open []int
	defer func() {
		if err == nil {
			return
		}
		for _, fd := range open {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, handed{}, fmt.Errorf("make the instance's socket: %w", err)
	}
	open = append(open, pair[0], pair[1])
	given := handed{pair[1]}
	peer, err := unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, handed{}, fmt.Errorf("make the instance's socket: %w", err)
	}
	open = append(open, peer)
	var reading [2]int
	for i := range reading {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, handed{}, fmt.Errorf("make the instance's output: %w", err)
		}
		open = append(open, pipe[0], pipe[1])
		if err := unix.SetNonblock(pipe[0], true); err != nil { // ours; the instance's own end blocks
			return nil, handed{}, fmt.Errorf("make the instance's output: %w", err)
		}
		reading[i], given[1+i] = pipe[0], pipe[1]
	}
	r := &instance{p: p, spec: spec, peer: peer, logs: sandbox.NewLogLimiter(spec.Limits, spec.Log), settled: make(chan struct{}), ended: make(chan struct{}), done: make(chan struct{})}
	file := os.NewFile(uintptr(pair[0]), "socket")
	r.conn, err = net.FileConn(file) // of a duplicate
	if err != nil {
		return nil, handed{}, fmt.Errorf("make the instance's socket: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, handed{}, errors.Join(fmt.Errorf("make the instance's socket: %w", err), r.conn.Close())
	}
	for i, fd := range reading {
		r.pipes[i] = os.NewFile(uintptr(fd), "output")
	}
	return r, given, nil
}

// pump starts reading what the instance prints.
func (r *instance) pump() {
	for i, stream := range [2]sandbox.Stream{sandbox.Stdout, sandbox.Stderr} {
		r.pumps.Go(func() {
			if err := r.logs.Pump(stream, r.pipes[i]); err != nil {
				r.p.box.log.Warn("reading the runner's output failed", "instance", r.spec.Address.String(), "error", err)
			}
		})
	}
}

// discard closes this side of an instance that never was.
func (r *instance) discard() error {
	return errors.Join(r.conn.Close(), r.letGo(), r.pipes[0].Close(), r.pipes[1].Close())
}

// hangUp ends the instance's socket, for the thread as for who holds the other end.
func (r *instance) hangUp() error {
	r.peerMu.Lock()
	defer r.peerMu.Unlock()
	if r.peer < 0 {
		return nil
	}
	if err := unix.Shutdown(r.peer, unix.SHUT_RDWR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("end the instance's socket: %w", err)
	}
	return nil
}

// letGo closes this side's copy of the process's end, so that the other end sees it closed.
func (r *instance) letGo() error {
	r.peerMu.Lock()
	defer r.peerMu.Unlock()
	if r.peer < 0 {
		return nil
	}
	err := unix.Close(r.peer)
	r.peer = -1
	return err
}

// PID is that of the shared process.
func (r *instance) PID() int               { return r.p.inner.PID() }
func (r *instance) Done() <-chan struct{}  { return r.done }
func (r *instance) Logs() sandbox.LogStats { return r.logs.Stats() }

func (r *instance) Exit() sandbox.Exit {
	select {
	case <-r.done:
		return r.exit
	default:
		return sandbox.Exit{}
	}
}

// Conn waits until the instance takes its socket.
func (r *instance) Conn(ctx context.Context) (net.Conn, error) {
	timeout := time.NewTimer(r.spec.Limits.ConnectTimeout)
	defer timeout.Stop()
	fail := func(err error) (net.Conn, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: "connect to " + r.spec.Address.String(), Err: err,
			Remedy: "see what the strategy does before it connects"}
	}
	select {
	case <-r.settled:
		if r.connErr != nil {
			return nil, r.connErr
		}
		return r.conn, nil
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-timeout.C:
		return fail(fmt.Errorf("no connection within %s", r.spec.Limits.ConnectTimeout))
	}
}

// settle answers Conn, once.
func (r *instance) settle(err error) (first bool) {
	r.settling.Do(func() {
		r.connErr, first = err, true
		close(r.settled)
	})
	return first
}

// Usage is the process's, but for the processor time, which is the thread's.
func (r *instance) Usage() (sandbox.Usage, error) {
	select {
	case <-r.done:
		return r.exit.Usage, nil
	default:
	}
	u, err := r.p.inner.Usage()
	if err != nil {
		return u, err
	}
	stats, err := r.p.threadStats()
	if err != nil {
		return u, err
	}
	if t, ok := stats[r.thread.Load()]; ok {
		r.cpu.Store(int64(t.ran))
	}
	u.CPU = time.Duration(r.cpu.Load())
	u.Refused = r.p.attributed(u, r.p.neighbours()).Refused
	return u, nil
}

// left takes the report that the instance's thread has ended.
func (r *instance) left(said report) {
	r.cpu.Store(max(said.CPUNS, r.cpu.Load()))
	usage, err := r.p.inner.Usage()
	if err != nil {
		r.p.box.log.Warn("reading the counters of a shared process failed", "instance", r.spec.Address.String(), "error", err)
		usage = sandbox.UnknownUsage()
	}
	usage = r.p.attributed(usage, r.p.neighbours())
	go r.finish(func() sandbox.Exit {
		e := sandbox.Exit{Cause: sandbox.CauseExited, Code: int(said.Status), Reason: sandbox.ReasonExited, Usage: usage,
			Detail: fmt.Sprintf("it exited by itself with status %d", said.Status)}
		if r.killed.Load() {
			e.Cause, e.Code, e.Reason, e.Detail = sandbox.CauseKilled, -1, sandbox.ReasonKilled, "the supervisor ended it; its thread left by itself"
		}
		return e
	})
}

// finish tells the end, once: how it was is asked when all output is read.
func (r *instance) finish(how func() sandbox.Exit) {
	r.ending.Do(func() {
		close(r.ended)
		r.p.mu.Lock()
		r.over = true
		r.p.mu.Unlock()
		errs := []error{r.letGo()}
		for _, pipe := range r.pipes {
			errs = append(errs, pipe.SetReadDeadline(time.Now().Add(drainTimeout)))
		}
		r.pumps.Wait()
		errs = append(errs, r.pipes[0].Close(), r.pipes[1].Close())
		e := how()
		e.At, e.Stderr = time.Now(), tail(r.logs.StderrTail()+e.Stderr)
		e.Usage.CPU = time.Duration(r.cpu.Load())
		errs = append(errs, r.p.leave(r))
		r.exit, r.cleanUp = e, errors.Join(errs...)
		if r.settle(&sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: "connect to " + r.spec.Address.String(),
			Err: fmt.Errorf("the runner ended first: %s", e), Remedy: "see its log: " + e.Stderr}) {
			r.cleanUp = errors.Join(r.cleanUp, r.conn.Close()) // nobody got it
		}
		if r.cleanUp != nil {
			r.p.box.log.Error("cleaning up after a runner failed", "instance", r.spec.Address.String(), "error", r.cleanUp)
		}
		close(r.done)
	})
}

// tail keeps the end of what was printed.
func tail(text string) string {
	return text[max(0, len(text)-sandbox.StderrTailBytes):]
}

// Kill ends the instance and returns when it is gone. Its thread is asked first: one that does not leave takes the process along.
func (r *instance) Kill() error {
	select {
	case <-r.done:
		return r.cleanUp
	default:
	}
	r.killed.Store(true)
	r.p.mu.Lock()
	unsent := !r.sent
	r.over = r.over || unsent
	r.p.mu.Unlock()
	switch {
	case unsent:
		go r.finish(func() sandbox.Exit {
			return sandbox.Exit{Cause: sandbox.CauseKilled, Code: -1, Reason: sandbox.ReasonKilled, Detail: "the supervisor ended it before it began", Usage: sandbox.UnknownUsage()}
		})
	case r.p.neighbours() == 1:
		r.p.kill(&verdict{by: r, culprit: r, why: "the supervisor killed it"})
	default:
		r.evict()
	}
	select {
	case <-r.done:
		return r.cleanUp
	case <-time.After(2 * killTimeout):
		return fmt.Errorf("kill %s in shared process %d: not gone after %s; it may hang in the kernel", r.spec.Address, r.PID(), 2*killTimeout)
	}
}

// evict asks the thread to leave by the end of its socket, and ends the process when it has not left in time.
func (r *instance) evict() {
	began, before := time.Now(), r.p.measure()
	if err := r.hangUp(); err != nil {
		r.p.box.log.Warn("hanging up on an instance failed", "instance", r.spec.Address.String(), "error", err)
	}
	select {
	case <-r.done:
	case <-time.After(r.p.box.cfg.KillGrace):
		r.p.kill(r.p.judge(r, before, r.p.measure(), time.Since(began)))
	}
}
