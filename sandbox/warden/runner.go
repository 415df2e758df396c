package warden

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// killTimeout bounds how long a killed runner may take to be gone; the sandbox in the helper has bounds of its own below it.
const killTimeout = 60 * time.Second

// runner is one runner of the helper as the supervisor sees it.
type runner struct {
	client  *Client
	number  uint64
	pid     int
	address string
	socket  bool
	timeout time.Duration // for which Conn waits
	drained chan struct{} // closed when every line is handed out
	done    chan struct{}

	connOnce  sync.Once
	connReady chan struct{} // closed when conn or connErr is set
	conn      net.Conn
	connErr   error

	mu      sync.Mutex
	over    bool // exit, logs and cleanUp are final
	exit    sandbox.Exit
	logs    sandbox.LogStats
	cleanUp error
}

var (
	_ sandbox.Runner      = (*runner)(nil)
	_ sandbox.Prioritised = (*runner)(nil)
)

// newRunner makes the runner of a start that succeeded. It is called by the client's one reader, before the next event is looked at.
func newRunner(c *Client, s *sandbox.Spec, a answer) *runner {
	r := &runner{client: c, number: a.Runner, pid: a.PID, address: s.Address.String(), socket: s.NeedSocket, timeout: s.Limits.OrDefault().ConnectTimeout,
		drained: make(chan struct{}), done: make(chan struct{}), connReady: make(chan struct{})}
	if s.Log == nil || a.file == nil {
		close(r.drained)
		return r
	}
	emit, file := s.Log, a.file
	c.waitings.Go(func() {
		defer close(r.drained)
		pipe, err := linesOf(file)
		if err == nil {
			err = errors.Join(readLines(pipe, emit), pipe.Close())
		}
		if err != nil {
			c.log.Warn("reading the runner's output failed", "instance", r.address, "err", err)
		}
	})
	return r
}

// linesOf makes a file of a received pipe that can be read without holding a thread.
func linesOf(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a runner's lines: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("take over a runner's lines: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "lines"), nil
}

// take is told every event of this runner, by the client's one reader.
func (r *runner) take(a answer) error {
	switch a.Event {
	case eventConnected:
		conn, err := connOf(a.file)
		r.connected(conn, err)
		return nil
	case eventNoConn:
		r.connected(nil, a.Err.error())
	case eventEnded:
		delete(r.client.runners, r.number) // whose lock is held
		exit := sandbox.Exit{Cause: sandbox.CauseSetupFailed, Reason: sandbox.ReasonSetupFailed, Code: -1, Usage: sandbox.UnknownUsage()}
		if a.Exit != nil {
			exit = *a.Exit
		}
		var logs sandbox.LogStats
		if a.Logs != nil {
			logs = *a.Logs
		}
		r.end(exit, logs, a.Err.error())
	}
	return closeFile(a.file)
}

// lose is told that the helper is gone: nobody can say how the runner ended.
func (r *runner) lose(cause error) {
	r.mu.Lock()
	logs := r.logs
	r.mu.Unlock()
	r.end(sandbox.Exit{Cause: sandbox.CauseSetupFailed, Code: -1, Reason: ipc.ReasonSandboxHelperLost, At: time.Now(), Usage: sandbox.UnknownUsage(),
		Detail: fmt.Sprintf("the helper that ran it is gone (%v), and no other can be started: stop the run and start it again", cause)}, logs, nil)
}

// end makes the end known once the last line was handed out.
func (r *runner) end(exit sandbox.Exit, logs sandbox.LogStats, cleanUp error) {
	r.connected(nil, refuse(sandbox.ReasonNoConnection, "connect to "+r.address, fmt.Errorf("the runner ended first: %s", exit), "see its log: "+exit.Stderr))
	r.client.waitings.Go(func() {
		<-r.drained
		r.mu.Lock()
		r.over, r.exit, r.logs, r.cleanUp = true, exit, logs, cleanUp
		r.mu.Unlock()
		close(r.done)
	})
}

func (r *runner) connected(conn net.Conn, err error) {
	r.connOnce.Do(func() {
		r.conn, r.connErr = conn, err
		close(r.connReady)
	})
}

func (r *runner) PID() int              { return r.pid }
func (r *runner) Done() <-chan struct{} { return r.done }

func (r *runner) Exit() sandbox.Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit
}

// Conn waits for the runner's connection, which the helper has verified.
func (r *runner) Conn(ctx context.Context) (net.Conn, error) {
	op := "connect to " + r.address
	if !r.socket {
		return nil, refuse(sandbox.ReasonSpec, op, errors.New("it was started without a socket"), "")
	}
	timer := time.NewTimer(r.timeout)
	defer timer.Stop()
	err := error(nil)
	select {
	case <-r.connReady:
		return r.conn, r.connErr
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("no connection within %s", r.timeout)
	}
	return nil, refuse(sandbox.ReasonNoConnection, op, err, "see what the strategy does before it connects")
}

// Kill ends the runner and returns when it is gone.
func (r *runner) Kill() error {
	select {
	case <-r.done:
	default:
		// Where the helper is gone, the runner is, too; that is told by done.
		if _, err := r.client.question(context.Background(), request{Verb: verbKill, Runner: r.number}); err != nil && !isLost(err) {
			return err
		}
	}
	select {
	case <-r.done:
	case <-time.After(killTimeout):
		return fmt.Errorf("kill runner %d of %s: not gone after %s", r.pid, r.address, killTimeout)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cleanUp
}

func isLost(err error) bool {
	typed, ok := errors.AsType[*sandbox.Error](err)
	return ok && typed.Reason == ipc.ReasonSandboxHelperLost
}

// SetLowered lets the runner's neighbours go first, where its sandbox can (LN-7).
func (r *runner) SetLowered(lowered bool) error {
	_, err := r.client.question(context.Background(), request{Verb: verbLower, Runner: r.number, Lower: lowered})
	return err
}

// Usage reads the counters.
func (r *runner) Usage() (sandbox.Usage, error) {
	if u, over := r.finalUsage(); over {
		return u, nil
	}
	a, err := r.client.question(context.Background(), request{Verb: verbUsage, Runner: r.number})
	if err == nil && a.Usage != nil {
		return *a.Usage, nil
	}
	if err != nil && !isLost(err) {
		return sandbox.UnknownUsage(), err
	}
	<-r.done // it has ended: that is on its way
	u, _ := r.finalUsage()
	return u, nil
}

func (r *runner) finalUsage() (sandbox.Usage, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit.Usage, r.over
}

// Logs tells how much was printed; where the helper does not answer, how much it was when it last did.
func (r *runner) Logs() sandbox.LogStats {
	r.mu.Lock()
	logs, over := r.logs, r.over
	r.mu.Unlock()
	if over {
		return logs
	}
	a, err := r.client.question(context.Background(), request{Verb: verbLogs, Runner: r.number})
	if err != nil {
		if !isLost(err) {
			r.client.log.Warn("asking for a runner's log counters failed", "instance", r.address, "err", err)
		}
		return logs
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Logs != nil && !r.over {
		r.logs = *a.Logs
	}
	return r.logs
}
