package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"github.com/msup/msup/sandbox/endpoint"
	"github.com/msup/msup/sandbox/folder"
	"github.com/msup/msup/sandbox/refusal"
	"github.com/msup/msup/sandbox/userid"
	"golang.org/x/sys/unix"
)

// killTimeout bounds how long the kernel may take to end killed processes before that is an error.
const killTimeout = 10 * time.Second

// drainTimeout bounds the reading of what is left in the pipes of a dead runner.
const drainTimeout = 2 * time.Second

type runner struct {
	box      *Sandbox
	spec     sandbox.Spec
	checked  func() error // before it gets its orders; nil = a probe, which has nothing to read
	id       string
	uid      int           // on the host
	ids      *userid.Claim // under root only
	record   *record
	group    *cgroup.Group
	endpoint *endpoint.Endpoint // nil unless spec.NeedSocket
	proc     *os.Process
	inside   bool // it began inside its group
	pidfd    int  // open until done is closed, under mu
	report   report
	refusals *refusal.Listener // nil where nobody counts
	logs     *sandbox.LogLimiter
	pipes    []*os.File
	pumps    sync.WaitGroup
	killed   atomic.Bool
	disk     atomic.Pointer[folder.Breach] // set before the kill that it causes

	mu      sync.Mutex
	ended   bool
	usage   sandbox.Usage
	exit    sandbox.Exit
	cleanUp error
	done    chan struct{}
}

var _ sandbox.Runner = (*runner)(nil)

func (r *runner) PID() int               { return r.proc.Pid }
func (r *runner) Done() <-chan struct{}  { return r.done }
func (r *runner) Logs() sandbox.LogStats { return r.logs.Stats() }

func (r *runner) Exit() sandbox.Exit {
	select {
	case <-r.done:
		return r.exit
	default:
		return sandbox.Exit{}
	}
}

// pump starts reading one output pipe.
func (r *runner) pump(stream sandbox.Stream, pipe *os.File) {
	r.pipes = append(r.pipes, pipe)
	r.pumps.Go(func() {
		if err := r.logs.Pump(stream, pipe); err != nil {
			r.box.log.Warn("reading the runner's output failed", "instance", r.spec.Address.String(), "error", err)
		}
	})
}

// drain waits for the pumps. All writers are dead, so the pipes end; the deadline is for a kernel that disagrees.
func (r *runner) drain() {
	for _, p := range r.pipes {
		if err := p.SetReadDeadline(time.Now().Add(drainTimeout)); err != nil {
			r.box.log.Warn("setting a deadline on the runner's output failed", "instance", r.spec.Address.String(), "error", err)
		}
	}
	r.pumps.Wait()
	for _, p := range r.pipes {
		if err := p.Close(); err != nil {
			r.box.log.Warn("closing the runner's output failed", "instance", r.spec.Address.String(), "error", err)
		}
	}
}

// signalKill sends SIGKILL to PID 1 of the runner's pid namespace, with which the kernel ends everything in it.
func (r *runner) signalKill() error {
	err := unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
	if err == nil || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("kill runner %d: %w", r.proc.Pid, err)
}

// Kill ends the runner and returns when it is gone.
func (r *runner) Kill() error {
	r.mu.Lock()
	var err error
	if !r.ended {
		r.killed.Store(true)
		err = r.signalKill()
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.cleanUp
	case <-time.After(2 * killTimeout):
		return fmt.Errorf("kill runner %d of %s: not gone after %s; it may hang in the kernel", r.proc.Pid, r.spec.Address, 2*killTimeout)
	}
}

// withoutGroup fills in what the kernel tells of an ended process where no control group counted it. Its largest resident set is not among that:
// a process that was forked carries its parent's over an exec, so the number would be the supervisor's own size.
func withoutGroup(usage sandbox.Usage, state *os.ProcessState) sandbox.Usage {
	if state != nil && usage.CPU < 0 {
		usage.CPU = state.UserTime() + state.SystemTime()
	}
	return usage
}

// supervise waits for the end, reads the counters, and removes what is left.
func (r *runner) supervise() {
	state, waitErr := r.proc.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	errs := []error{waitErr, r.group.Kill(ctx)}
	usage, err := r.group.Usage() // before the group is removed: the out-of-memory counter is in it
	errs = append(errs, err)
	usage = withoutGroup(usage, state)
	usage.Refused = r.refusals.Counts()
	errs = append(errs, r.group.Remove(ctx))
	r.drain()
	errs = append(errs, r.refusals.Close())
	if r.endpoint != nil {
		errs = append(errs, r.endpoint.Close())
	}
	errs = append(errs, r.handBack())
	if r.ids != nil {
		errs = append(errs, r.ids.Release())
	}
	exit := r.explain(state, usage)
	errs = append(errs, r.record.remove())
	if r.endpoint != nil {
		r.endpoint.End(&sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: "connect to " + r.spec.Address.String(),
			Err: fmt.Errorf("the runner ended first: %s", exit), Remedy: "see its log: " + exit.Stderr})
	}
	r.mu.Lock()
	r.ended, r.usage = true, usage
	errs = append(errs, unix.Close(r.pidfd))
	r.exit, r.cleanUp = exit, errors.Join(errs...)
	r.mu.Unlock()
	if r.cleanUp != nil {
		r.box.log.Error("cleaning up after a runner failed", "instance", r.spec.Address.String(), "error", r.cleanUp)
	}
	r.box.mu.Lock()
	delete(r.box.runners, r)
	r.box.mu.Unlock()
	close(r.done)
}

// explain tells how the runner ended.
func (r *runner) explain(state *os.ProcessState, usage sandbox.Usage) sandbox.Exit {
	e := sandbox.Exit{Code: -1, OOM: usage.OOMKills > 0, Stderr: r.logs.StderrTail(), At: time.Now(), Usage: usage}
	if state == nil {
		e.Cause, e.Reason, e.Detail = sandbox.CauseSetupFailed, sandbox.ReasonSetupFailed, "the kernel did not tell how it ended"
		return e
	}
	ws, _ := state.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		e.Signal = int(ws.Signal())
	}
	switch {
	case ws.Exited():
		e.Cause, e.Code, e.Reason = sandbox.CauseExited, ws.ExitStatus(), sandbox.ReasonExited
		e.Detail = fmt.Sprintf("it exited by itself with status %d", e.Code)
	case e.OOM && ws.Signal() == syscall.SIGKILL:
		e.Cause, e.Reason = sandbox.CauseOOM, sandbox.ReasonOOM
		e.Detail = fmt.Sprintf("it wanted more than its memory limit of %d bytes; raise the limit or use less", r.spec.Limits.MemoryBytes)
	case r.disk.Load() != nil && ws.Signal() == syscall.SIGKILL:
		breach := r.disk.Load()
		e.Cause, e.Reason, e.DiskBytes, e.DiskLimit = sandbox.CauseKilled, sandbox.ReasonDisk, breach.Bytes, breach.Limit
		e.Detail = fmt.Sprintf("it wrote %d bytes to %s, more than the %d allowed", breach.Bytes, breach.Target, breach.Limit)
	case r.killed.Load() && ws.Signal() == syscall.SIGKILL:
		e.Cause, e.Reason, e.Detail = sandbox.CauseKilled, sandbox.ReasonKilled, "the supervisor killed it"
	default:
		e.Cause, e.Reason = sandbox.CauseSignaled, sandbox.ReasonSignaled
		e.Detail = fmt.Sprintf("signal %d (%s) ended it, which the supervisor did not send; see its last lines", e.Signal, ws.Signal())
	}
	return e
}

// Usage reads the counters.
func (r *runner) Usage() (sandbox.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return r.usage, nil
	}
	u, err := r.group.Usage()
	u.Refused = r.refusals.Counts()
	if err != nil || (u.CPU >= 0 && u.MemoryBytes >= 0) {
		return u, err
	}
	// What no control group counts, the process itself tells: it cannot have children. It may have just ended.
	if u.CPU < 0 {
		if u.CPU, err = cpuTime(r.proc.Pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return u, err
		}
	}
	if u.MemoryBytes < 0 {
		if u.MemoryBytes, err = residentBytes(r.proc.Pid); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return u, err
		}
	}
	return u, nil
}

// cpuTime reads the processor time of a process with all its threads, those that ended too. Its id is not recycled before Wait.
func cpuTime(pid int) (time.Duration, error) {
	const perProcess = 2 // CPUCLOCK_SCHED: the clock of the whole process, in ns
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcess), &t); err != nil {
		if errors.Is(err, unix.EINVAL) { // how the kernel says that there is no such process
			err = unix.ESRCH
		}
		return -1, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// residentBytes reads how much memory a process holds.
func residentBytes(pid int) (int64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return -1, err
	}
	const rss = 21 // in pages
	pages, err := strconv.ParseInt(fields[rss], 10, 64)
	if err != nil {
		return -1, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
