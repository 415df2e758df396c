package sandbox

import (
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
)

// SocketPath is where a runner finds its socket, and SocketEnv the environment variable that tells it.
const (
	SocketDir  = "/run/msup"
	SocketPath = SocketDir + "/s"
	SocketEnv  = "MSUP_SOCKET"
)

// ProgramPrefix marks an Argv[0] that names a program built into msup instead of a path: a runner that needs no file of the
// host and no exec, such as the Wasm runner (SB-L2).
const ProgramPrefix = "msup:"

// Spec says what to run and within which walls. The zero value of a limit means its default (DefaultLimits).
type Spec struct {
	Address ipc.Address
	Lane    ipc.Lane
	Argv    []string // Argv[0] is an absolute path inside the sandbox, or the name of a built-in program (ProgramPrefix)
	// Env is the complete environment as KEY=value; nothing is inherited. MSUP_SOCKET is added, and HOME=/tmp in a container that is given none.
	Env   []string
	Dir   string // working directory inside; "" means "/"
	Binds []Bind
	// Writable is for one-shot jobs such as `msup build`; a strategy has only its /tmp.
	Writable []Writable
	Limits   Limits
	// Log receives what the runner prints, line by line, from one goroutine per stream; it must not block for long,
	// because the runner blocks with it. Nil discards the lines (they are still counted).
	Log func(LogLine)
	// NeedSocket asks for a socket at SocketPath; one-shot jobs such as build and schema leave it false.
	NeedSocket bool
	// BuildJob lets a one-shot job start processes of its own and execute what it writes into its Writable host folders, as a
	// compiler with its linker and build scripts must. Limits.PIDs bounds them, and all of them end with the first. It is
	// refused together with NeedSocket: what can hear the supervisor, a strategy, never gets it (SB-L1). A sandbox that has no
	// profile for jobs grants nothing by it.
	BuildJob bool
}

// Bind shows a host path inside the sandbox: always read-only, nosuid and nodev.
type Bind struct {
	Source string // absolute host path of a file or directory; symbolic links are followed once, by the supervisor
	Target string // absolute path inside; "" means Source
	NoExec bool
	// Optional skips the bind when Source does not exist, for example /lib64 on arm64.
	Optional bool
}

// Writable is a writable folder inside the sandbox: nosuid, nodev, and noexec unless it is the host folder of a BuildJob.
type Writable struct {
	Target string // absolute path inside
	// Source is a host folder owned by the supervisor that receives what the job writes. "" makes a tmpfs of Bytes.
	// Under root it is handed to the runner's user id for the run and handed back, with all it holds, afterwards.
	Source string
	// Bytes is what may be written. The kernel holds a tmpfs to it. A host folder is measured several times a second, and
	// the job is killed with ReasonDisk when it holds more; until then FileSizeBytes bounds each file.
	Bytes int64
}

// Limits are the walls in numbers (SB-2, SB-4). Zero means the default.
type Limits struct {
	MemoryBytes       int64   // RAM and swap together
	CPUQuota          float64 // cores, for example 0.5
	PIDs              int64   // processes and threads
	OpenFiles         uint64
	FileSizeBytes     uint64 // largest file that can be written
	TmpBytes          int64  // size of /tmp
	TmpInodes         int64
	LogLineBytes      int     // longer lines are cut and marked
	LogLinesPerSecond float64 // sustained rate
	LogBurstLines     int
	LogBytesPerRun    int64
	// ConnectTimeout bounds how long Conn waits, besides its context.
	ConnectTimeout time.Duration
}

// DefaultLimits are generous enough for numpy and strict enough for fifty neighbours.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes: 512 << 20, CPUQuota: 1, PIDs: 64, OpenFiles: 256, FileSizeBytes: 64 << 20,
		TmpBytes: 16 << 20, TmpInodes: 1024,
		LogLineBytes: 1024, LogLinesPerSecond: 200, LogBurstLines: 400, LogBytesPerRun: 16 << 20,
		ConnectTimeout: 30 * time.Second,
	}
}

// QueuedSignals is how many signals may wait for a runner. The kernel counts them for the user that made the runner's namespace, too. With all of
// them taken no start of that user comes to its end: Landlock's library reaches threads by such a signal, and does not look whether it was sent.
const QueuedSignals = 256

// OrDefault fills the zero fields from DefaultLimits.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits()
	orDefault(&l.MemoryBytes, d.MemoryBytes)
	orDefault(&l.CPUQuota, d.CPUQuota)
	orDefault(&l.PIDs, d.PIDs)
	orDefault(&l.OpenFiles, d.OpenFiles)
	orDefault(&l.FileSizeBytes, d.FileSizeBytes)
	orDefault(&l.TmpBytes, d.TmpBytes)
	orDefault(&l.TmpInodes, d.TmpInodes)
	orDefault(&l.LogLineBytes, d.LogLineBytes)
	orDefault(&l.LogLinesPerSecond, d.LogLinesPerSecond)
	orDefault(&l.LogBurstLines, d.LogBurstLines)
	orDefault(&l.LogBytesPerRun, d.LogBytesPerRun)
	orDefault(&l.ConnectTimeout, d.ConnectTimeout)
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// The smallest and largest limits that make sense; outside them is a typing error, not a wish.
const (
	minMemoryBytes = 16 << 20 // stage two of the process sandbox itself needs about 10 MiB
	maxOpenFiles   = 960      // above it lies the descriptor that only the first execveat may use (see process)
	minCPUQuota    = 0.01     // 1 ms of 100 ms, the least the kernel takes
	maxLogLine     = 64 << 10
)

// Validate refuses a spec that no sandbox should start. It expects limits after OrDefault.
func (s Spec) Validate() error {
	if err := s.Address.Validate(); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if s.Lane != ipc.LaneLL && s.Lane != ipc.LaneCompute {
		return fmt.Errorf("lane %s: choose ll or compute", s.Lane)
	}
	if len(s.Argv) == 0 || (!path.IsAbs(s.Argv[0]) && !strings.HasPrefix(s.Argv[0], ProgramPrefix)) {
		return fmt.Errorf("argv %q: its first element must be an absolute path inside the sandbox, or the name of a built-in program", s.Argv)
	}
	for _, kv := range append(append([]string(nil), s.Env...), s.Argv...) {
		if strings.ContainsRune(kv, 0) {
			return fmt.Errorf("argv or environment %q holds a zero byte", kv)
		}
	}
	for _, kv := range s.Env {
		if strings.IndexByte(kv, '=') < 1 {
			return fmt.Errorf("environment entry %q: write KEY=value", kv)
		}
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return fmt.Errorf("working directory %q: must be absolute", s.Dir)
	}
	for _, b := range s.Binds {
		if !path.IsAbs(b.Source) || (b.Target != "" && !cleanTarget(b.Target)) {
			return fmt.Errorf("bind %q on %q: both must be absolute, the target clean and none of /, /proc, /dev, /tmp, /run", b.Source, b.Target)
		}
	}
	for _, w := range s.Writable {
		if !cleanTarget(w.Target) || (w.Source != "" && !path.IsAbs(w.Source)) || w.Bytes <= 0 {
			return fmt.Errorf("writable %q from %q with %d bytes: needs an absolute clean target, a size, and an absolute host folder if any", w.Target, w.Source, w.Bytes)
		}
	}
	if err := s.validateJob(); err != nil {
		return err
	}
	return s.Limits.validate()
}

// maxJobPIDs bounds the processes and threads of a build job.
const maxJobPIDs = 4096

// validateJob keeps the right to start processes away from whatever is no one-shot job.
func (s Spec) validateJob() error {
	switch {
	case !s.BuildJob:
		return nil
	case s.NeedSocket:
		return fmt.Errorf("a build job with a socket: only one-shot jobs may start processes, never what talks to the supervisor")
	case s.Lane != ipc.LaneCompute:
		return fmt.Errorf("a build job in lane %s: choose compute", s.Lane)
	case strings.HasPrefix(s.Argv[0], ProgramPrefix):
		return fmt.Errorf("a build job of the built-in program %q: it has a profile of its own", s.Argv[0])
	case s.Limits.PIDs > maxJobPIDs:
		return fmt.Errorf("pids limit %d of a build job: at most %d", s.Limits.PIDs, maxJobPIDs)
	}
	return nil
}

// cleanTarget refuses places that the sandbox itself fills, and paths that climb.
func cleanTarget(p string) bool {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return false
	}
	for _, own := range [...]string{"/proc", "/dev", "/tmp", "/run", "/sys"} {
		if p == own || strings.HasPrefix(p, own+"/") {
			return false
		}
	}
	return true
}

func (l Limits) validate() error {
	switch {
	case l.MemoryBytes < minMemoryBytes:
		return fmt.Errorf("memory limit of %d bytes: at least %d are needed to start anything", l.MemoryBytes, minMemoryBytes)
	case math.IsNaN(l.CPUQuota) || l.CPUQuota < minCPUQuota || l.CPUQuota > 4096:
		return fmt.Errorf("cpu quota of %v cores: choose %v to 4096", l.CPUQuota, minCPUQuota)
	case l.PIDs < 1 || l.PIDs > 1<<20:
		return fmt.Errorf("pids limit %d: choose 1 to %d", l.PIDs, 1<<20)
	case l.OpenFiles < 16 || l.OpenFiles > maxOpenFiles:
		return fmt.Errorf("open files limit %d: choose 16 to %d", l.OpenFiles, maxOpenFiles)
	case l.TmpBytes < 4096 || l.TmpInodes < 2:
		return fmt.Errorf("/tmp of %d bytes and %d inodes: at least 4096 and 2", l.TmpBytes, l.TmpInodes)
	case l.LogLineBytes < 16 || l.LogLineBytes > maxLogLine:
		return fmt.Errorf("log line limit of %d bytes: choose 16 to %d", l.LogLineBytes, maxLogLine)
	case math.IsNaN(l.LogLinesPerSecond) || l.LogLinesPerSecond < 0 || l.LogBurstLines < 0 || l.LogBytesPerRun < 0:
		return fmt.Errorf("log limits must not be negative")
	case l.ConnectTimeout < 0:
		return fmt.Errorf("connect timeout %s: must not be negative", l.ConnectTimeout)
	}
	return nil
}
