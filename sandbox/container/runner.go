package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"github.com/msup/msup/sandbox/endpoint"
	"github.com/msup/msup/sandbox/folder"
	"github.com/msup/msup/sandbox/userid"
	"golang.org/x/sys/unix"
)

const (
	// drainTimeout bounds the reading of what is left in the FIFOs of a dead runner.
	drainTimeout = 2 * time.Second
	// statusTimeout bounds the wait for the exit status after the process has ended. A containerd that was killed and
	// started again needs about 100 ms to know its tasks.
	statusTimeout = 5 * time.Second
)

type runner struct {
	box       *Sandbox
	spec      sandbox.Spec
	id        string
	ids       *userid.Claim
	record    *record
	group     *cgroup.Group
	latch     *latch
	shim      string             // name of the shared one; "" = its own
	inShim    bool               // a task was made in the shared one
	shimAt    string             // the shim's socket, where it is known
	endpoint  *endpoint.Endpoint // nil unless spec.NeedSocket
	asked     bool               // containerd was asked to make the container
	container client.Container
	task      client.Task
	pid       int
	fds       *fifos
	logs      atomic.Pointer[sandbox.LogLimiter]
	pumps     sync.WaitGroup
	killed    atomic.Bool
	disk      atomic.Pointer[folder.Breach] // set before the kill that it causes

	pidfdMu sync.Mutex
	pidfd   *os.File
	gone    chan struct{} // closed when the process has ended

	mu      sync.Mutex
	ended   bool
	usage   sandbox.Usage
	exit    sandbox.Exit
	cleanUp error
	done    chan struct{}
}

var _ sandbox.Runner = (*runner)(nil)

func (r *runner) PID() int               { return r.pid }
func (r *runner) Done() <-chan struct{}  { return r.done }
func (r *runner) Logs() sandbox.LogStats { return r.logs.Load().Stats() }

// uid is the strategy's user id on the host.
func (r *runner) uid() int { return r.ids.First + innerID }

func (r *runner) Exit() sandbox.Exit {
	select {
	case <-r.done:
		return r.exit
	default:
		return sandbox.Exit{}
	}
}

// Usage reads the counters.
func (r *runner) Usage() (sandbox.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return r.usage, nil
	}
	usage, err := r.group.Usage()
	usage.Refused = r.latch.refusals.Counts()
	return usage, err
}

// hold opens the pidfd of the task's first process and watches it. The process is one of the task's as long as its shim
// has not waited for it, which the control group tells after the pidfd is held.
func (r *runner) hold() error {
	fd, err := unix.PidfdOpen(r.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("hold process %d: %w", r.pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		return errors.Join(fmt.Errorf("hold process %d: %w", r.pid, err), file.Close())
	}
	r.pidfd = file
	go func() {
		defer close(r.gone)
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil {
			r.box.log.Error("watching a runner failed", "instance", r.spec.Address.String(), "error", err)
		}
	}()
	return nil
}

// signal sends a signal to PID 1 of the runner's pid namespace; 0 asks whether it lives.
func (r *runner) signal(s unix.Signal) error {
	r.pidfdMu.Lock()
	defer r.pidfdMu.Unlock()
	if r.pidfd == nil {
		return unix.ESRCH
	}
	raw, err := r.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("signal runner %d: %w", r.pid, err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return fmt.Errorf("signal runner %d: %w", r.pid, err)
	}
	return sent
}

// Kill ends the runner and returns when it is gone. It asks nothing of the strategy, nor of containerd: the kernel ends
// everything in a pid namespace with its first process, and the control group is killed besides.
func (r *runner) Kill() error {
	r.mu.Lock()
	var err error
	if !r.ended {
		select {
		case <-r.gone: // it ended before
		default:
			r.killed.Store(true)
		}
		if err = r.signal(unix.SIGKILL); errors.Is(err, unix.ESRCH) {
			err = nil
		}
	}
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("kill runner %d of %s: %w", r.pid, r.spec.Address, err)
	}
	limit := 2*killTimeout + statusTimeout + 2*r.box.engine.cfg.CallTimeout
	select {
	case <-r.done:
		return r.cleanUp
	case <-time.After(limit):
		return fmt.Errorf("kill runner %d of %s: not gone after %s; it may hang in the kernel", r.pid, r.spec.Address, limit)
	}
}

// ending is what is known of how a process ended.
type ending struct {
	known  bool
	status syscall.WaitStatus
}

// await returns when the process has ended, with how as far as anybody knows.
func (r *runner) await() ending {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan ending, 1)
	go func() { told <- r.ask(ctx) }()
	select {
	case e := <-told:
		if e.known {
			<-r.gone
			return e
		}
		<-r.gone // containerd has lost it
	case <-r.gone:
		select {
		case e := <-told:
			if e.known {
				return e
			}
		case <-time.After(statusTimeout):
		}
	}
	return r.askKernel()
}

// ask waits for containerd's answer, through its restarts.
func (r *runner) ask(ctx context.Context) ending {
	for ctx.Err() == nil {
		var status client.ExitStatus
		c, err := r.task.Wait(ctx)
		if err == nil {
			status = <-c
			err = errgrpc.ToNative(status.Error())
		}
		if err == nil {
			return r.decode(int(status.ExitCode()))
		}
		if errdefs.IsNotFound(err) {
			return ending{} // its shim is gone
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return ending{}
}

// decode turns containerd's status into the kernel's. It has one number for both an exit and a signal (128 + n); an exit
// with such a number was announced to the latch.
func (r *runner) decode(code int) ending {
	if status, ok := r.latch.exitStatus(); code < exitStatusHigh || ok && status == code {
		return ending{known: true, status: syscall.WaitStatus(code << 8)}
	}
	return ending{known: true, status: syscall.WaitStatus(code - exitStatusHigh)}
}

// askKernel asks without containerd. A process that nobody has waited for is still in /proc. The orphan of a killed shim is not for long: it
// belongs to the init, which waits for it at once. How that one ended is told through its pidfd since Linux 6.15; before, nobody knows, and
// nothing is guessed.
func (r *runner) askKernel() ending {
	raw, err := r.pidfd.SyscallConn()
	if err != nil {
		return ending{}
	}
	deadline := time.Now().Add(time.Second)
	for {
		// The number is still this process's if the process is there after it was read.
		if status, ok := zombieStatus(r.pid); ok && r.signal(0) == nil {
			return ending{known: true, status: status}
		}
		var e ending
		var supported bool
		if err := raw.Control(func(fd uintptr) { e.status, e.known, supported = pidfdExit(int(fd)) }); err != nil {
			return ending{}
		}
		if e.known || !supported || time.Now().After(deadline) {
			return e
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// supervise waits for the end, reads the counters, and removes what is left.
func (r *runner) supervise() {
	end := r.await()
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	errs := []error{r.group.Kill(ctx)}
	usage, err := r.group.Usage() // before the task is deleted: the out-of-memory counter goes with its group
	usage.Refused = r.latch.refusals.Counts()
	errs = append(errs, err)
	exit := r.explain(end, usage) // what was printed last follows once the FIFOs are drained
	errs = append(errs, r.remove(context.Background()))
	exit.Stderr = r.logs.Load().StderrTail()
	if r.endpoint != nil {
		r.endpoint.End(&sandbox.Error{Reason: sandbox.ReasonNoConnection, Op: "connect to " + r.spec.Address.String(),
			Err: fmt.Errorf("the runner ended first: %s", exit), Remedy: "see its log: " + exit.Stderr})
	}
	r.mu.Lock()
	r.ended, r.usage = true, usage
	r.exit, r.cleanUp = exit, errors.Join(errs...)
	r.mu.Unlock()
	if r.cleanUp != nil {
		r.box.log.Error("cleaning up after a runner failed", "instance", r.spec.Address.String(), "error", r.cleanUp)
	}
	r.box.forget(r)
	close(r.done)
}

// explain tells how the runner ended.
func (r *runner) explain(end ending, usage sandbox.Usage) sandbox.Exit {
	e := sandbox.Exit{Code: -1, OOM: usage.OOMKills > 0, At: time.Now(), Usage: usage}
	ws := end.status
	byKill := end.known && ws.Signaled() && ws.Signal() == syscall.SIGKILL
	if end.known && ws.Signaled() {
		e.Signal = int(ws.Signal())
	}
	switch {
	case end.known && ws.Exited():
		e.Cause, e.Code, e.Reason = sandbox.CauseExited, ws.ExitStatus(), sandbox.ReasonExited
		e.Detail = fmt.Sprintf("it exited by itself with status %d", e.Code)
	case e.OOM && (byKill || !end.known):
		e.Cause, e.Reason, e.Signal = sandbox.CauseOOM, sandbox.ReasonOOM, int(syscall.SIGKILL)
		e.Detail = fmt.Sprintf("it wanted more than its memory limit of %d bytes; raise the limit or use less", r.spec.Limits.MemoryBytes)
	case r.disk.Load() != nil && (byKill || !end.known):
		breach := r.disk.Load()
		e.Cause, e.Reason, e.Signal, e.DiskBytes, e.DiskLimit = sandbox.CauseKilled, sandbox.ReasonDisk, int(syscall.SIGKILL), breach.Bytes, breach.Limit
		e.Detail = fmt.Sprintf("it wrote %d bytes to %s, more than the %d allowed", breach.Bytes, breach.Target, breach.Limit)
	case r.killed.Load() && (byKill || !end.known):
		e.Cause, e.Reason, e.Signal, e.Detail = sandbox.CauseKilled, sandbox.ReasonKilled, int(syscall.SIGKILL), "the supervisor killed it"
	case !end.known:
		e.Cause, e.Reason = sandbox.CauseSetupFailed, sandbox.ReasonSetupFailed
		e.Detail = "its process is gone, and containerd lost it before it could tell how: somebody may have killed its shim or containerd's state"
	default:
		e.Cause, e.Reason = sandbox.CauseSignaled, sandbox.ReasonSignaled
		e.Detail = fmt.Sprintf("signal %d (%s) ended it, which the supervisor did not send; see its last lines", e.Signal, ws.Signal())
	}
	return e
}
