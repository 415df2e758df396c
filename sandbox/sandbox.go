package sandbox

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/msup/msup/sandbox/syscalls"
)

// Level is an isolation level (SB-L0 … SB-L3); a higher one is stronger.
type Level uint8

// The levels, as in the specification's section 5.
const (
	L0 Level = iota // a thread in a shared runner process
	L1              // an own process with namespaces, Landlock, seccomp, cgroup and rlimits
	L2              // Wasm inside an L1 process
	L3              // a container
)

// String returns the name used in descriptors, metrics and messages.
func (l Level) String() string { return fmt.Sprintf("L%d", uint8(l)) }

// Sandbox starts runners at one isolation level (NN-2).
type Sandbox interface {
	// Name is the implementation's name in messages and metrics, for example "process".
	Name() string
	// Level is the isolation that a runner of this sandbox gets.
	Level() Level
	// Start starts a runner. It returns an *Error when the host or the spec does not allow it; then nothing is left
	// behind. ctx bounds the start only, not the life of the runner.
	Start(ctx context.Context, spec Spec) (Runner, error)
	// Reap removes what supervisors that died without cleaning up have left: processes, cgroups, socket directories.
	// It never touches a runner whose supervisor is alive.
	Reap(ctx context.Context) (Reaped, error)
	// Walls tells which walls stand on this host for every runner of this sandbox.
	Walls() []Wall
	// Close kills every runner that is still alive and releases what the sandbox holds.
	Close() error
}

// Runner is one started instance. Its methods may be called from any goroutine.
type Runner interface {
	// Conn waits for the runner's connection: exactly one verified peer. Later calls return the same error or the
	// same connection. It returns an *Error when the runner ends first or the spec did not ask for a socket.
	Conn(ctx context.Context) (net.Conn, error)
	// PID is the process id of the runner's first process, as the supervisor's namespace sees it. It is for messages
	// only: never signal it, use Kill.
	PID() int
	// Kill ends the runner unconditionally and returns when every process of it is gone and its leftovers are
	// removed. It may be called any number of times.
	Kill() error
	// Done is closed when the runner has ended, its output is drained, and its leftovers are removed.
	Done() <-chan struct{}
	// Exit tells how the runner ended. It is the zero Exit until Done is closed.
	Exit() Exit
	// Usage reads the runner's counters from the kernel. After the end it returns the last ones.
	Usage() (Usage, error)
	// Logs tells how much was printed, passed on and dropped.
	Logs() LogStats
}

// Cause tells who or what ended a runner.
type Cause uint8

// The causes.
const (
	CauseNone        Cause = iota // still running
	CauseExited                   // it exited by itself; Code holds the status
	CauseSignaled                 // a signal that the supervisor did not send; Signal holds it
	CauseOOM                      // the kernel killed it for memory
	CauseKilled                   // Kill, Close or the end of the supervisor
	CauseSetupFailed              // it never became strategy code: the sandbox could not be built
)

// String returns the name used in logs and metrics.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "running"
	case CauseExited:
		return "exited"
	case CauseSignaled:
		return "signaled"
	case CauseOOM:
		return "oom"
	case CauseKilled:
		return "killed_by_supervisor"
	case CauseSetupFailed:
		return "setup_failed"
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Exit tells how a runner ended (SB-8).
type Exit struct {
	Cause  Cause
	Code   int  // exit status when Cause is CauseExited or CauseSetupFailed, else -1
	Signal int  // signal number when a signal ended it, else 0
	OOM    bool // the kernel's out-of-memory killer struck inside the runner, whatever Cause says
	Reason ReasonCode
	Detail string // one sentence for an operator: what happened and what to do
	Stderr string // the last lines on stderr, sanitised, at most StderrTailBytes
	At     time.Time
	Usage  Usage // the last counters
	// DiskBytes is what the host folder of a Writable held when it broke its DiskLimit (Reason is then ReasonDisk).
	DiskBytes, DiskLimit int64
}

// String returns one line for a log.
func (e Exit) String() string {
	switch e.Cause {
	case CauseExited, CauseSetupFailed:
		return fmt.Sprintf("%s with status %d", e.Cause, e.Code)
	case CauseSignaled:
		return fmt.Sprintf("%s by signal %d", e.Cause, e.Signal)
	}
	return e.Cause.String()
}

// StderrTailBytes bounds Exit.Stderr.
const StderrTailBytes = 4 << 10

// Usage holds a runner's counters. A field that the host cannot count is -1 (no cgroup, for example).
type Usage struct {
	CPU             time.Duration // processor time, user and system
	Throttled       time.Duration // time stopped by the CPU quota
	MemoryBytes     int64
	MemoryPeakBytes int64 // of the whole runner; only a control group counts it
	PIDs            int64 // processes and threads
	OOMKills        int64 // how often the kernel's out-of-memory killer struck
	PIDsRefused     int64 // how often the pids ceiling refused a thread or process
	// Refused counts the system calls that were refused and that no honest program asks for (SB-7). All zero where nobody counts: WallRefusals.
	Refused syscalls.Counts
}

// UnknownUsage is a Usage in which nothing could be counted.
func UnknownUsage() Usage {
	return Usage{CPU: -1, Throttled: -1, MemoryBytes: -1, MemoryPeakBytes: -1, PIDs: -1, OOMKills: -1, PIDsRefused: -1}
}

// Reaped counts what Reap removed.
type Reaped struct {
	Processes int
	Cgroups   int
	Mounts    int
	Dirs      int
	Details   []string // one line per leftover, for the log
}

// Empty tells that there was nothing to remove.
func (r Reaped) Empty() bool {
	return r.Processes == 0 && r.Cgroups == 0 && r.Mounts == 0 && r.Dirs == 0
}
