package sandbox

import (
	"fmt"
	"syscall"

	"github.com/msup/msup/ipc"
)

// Wall is one wall of a sandbox on this host, for `msup doctor`, health and metrics.
type Wall struct {
	Name     string `json:"name"` // "memory", "seccomp", "landlock" …
	Standing bool   `json:"standing"`
	Detail   string `json:"detail"`           // how it stands ("cgroup v1 memory"), or why it does not
	Remedy   string `json:"remedy,omitempty"` // what an operator can do about it; "" when it stands
}

// The names of walls, so that a host policy can demand them.
const (
	WallUserNamespace = "user_namespace"
	WallNamespaces    = "namespaces"
	WallRoot          = "root"
	WallSeccomp       = "seccomp"
	WallLandlock      = "landlock"
	WallCapabilities  = "capabilities"
	WallUserID        = "user_id"
	WallMemory        = "memory"
	WallCPU           = "cpu"
	WallPIDs          = "pids"
	WallLaneWeight    = "lane_weight"
	WallKill          = "kill"
	WallRlimits       = "rlimits"
	WallProc          = "proc"
	WallRefusals      = "refusals" // not a wall but an ear: what the others refuse is heard of
)

// Missing returns the walls that do not stand.
func Missing(walls []Wall) []Wall {
	var out []Wall
	for _, w := range walls {
		if !w.Standing {
			out = append(out, w)
		}
	}
	return out
}

// ViolationKind names the limit that was violated (SB-7); a ladder per kind counts them.
type ViolationKind string

// The kinds that a sandbox itself observes. The supervisor adds those of deadline, intents and protocol.
const (
	ViolationMemory ViolationKind = "memory"
	ViolationPIDs   ViolationKind = "pids"
	ViolationDisk   ViolationKind = "disk"
	ViolationLog    ViolationKind = "log"
	ViolationCPU    ViolationKind = "cpu"
	ViolationSignal ViolationKind = "signal"
	ViolationExit   ViolationKind = "exit"
	ViolationSetup  ViolationKind = "setup"
	ViolationCalls  ViolationKind = "calls" // system calls that no honest program asks for
)

// Violation is a limit that was reached, as a value: never an error, never only a log line (SB-7, SB-8).
type Violation struct {
	Kind     ViolationKind
	Limit    int64  // in Unit
	Observed int64  // in Unit
	Unit     string // "bytes", "lines", "processes", "signal", "status", "calls of socket, fork"
	Reason   ReasonCode
}

// String returns one line for a log.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s limit %d %s, observed %d", v.Reason, v.Kind, v.Limit, v.Unit, v.Observed)
}

// Since derives the violations between two looks at a runner that lives: what the kernel or the log's limiter refused meanwhile (SB-7). All
// refused system calls together are one, which names them.
func Since(was, is Usage, printed, prints LogStats) []Violation {
	var out []Violation
	if refused := is.PIDsRefused - max(0, was.PIDsRefused); refused > 0 {
		out = append(out, Violation{Kind: ViolationPIDs, Observed: refused, Unit: "refused processes", Reason: ReasonPIDs})
	}
	if refused := is.Refused.Since(was.Refused); refused.Total() > 0 {
		out = append(out, Violation{Kind: ViolationCalls, Observed: refused.Total(), Unit: "calls of " + refused.Names(), Reason: ipc.ReasonSandboxCall})
	}
	if dropped := prints.DroppedLines - printed.DroppedLines; dropped > 0 {
		out = append(out, Violation{Kind: ViolationLog, Observed: dropped, Unit: "dropped lines", Reason: ReasonLogCeiling})
	} else if dropped := prints.DroppedBytes - printed.DroppedBytes; dropped > 0 { // of lines that were cut: an endless one is a flood like any other
		out = append(out, Violation{Kind: ViolationLog, Observed: dropped, Unit: "dropped bytes", Reason: ReasonLogCeiling})
	}
	return out
}

// Blame is the reason that an exit gives, more precisely where the signal says which limit it was.
func (e Exit) Blame() ReasonCode {
	if e.Cause != CauseSignaled {
		return e.Reason
	}
	switch syscall.Signal(e.Signal) {
	case syscall.SIGSYS:
		return ipc.ReasonSandboxCall
	case syscall.SIGXFSZ:
		return ipc.ReasonSandboxFileSize
	case syscall.SIGXCPU:
		return ipc.ReasonSandboxCPU
	}
	return e.Reason
}

// Violations derives the typed violations from how a runner ended and what it printed, under the limits it had.
func Violations(limits Limits, exit Exit, logs LogStats) []Violation {
	var out []Violation
	if exit.OOM {
		out = append(out, Violation{ViolationMemory, limits.MemoryBytes, max(exit.Usage.MemoryPeakBytes, limits.MemoryBytes), "bytes", ReasonOOM})
	}
	if n := exit.Usage.Refused.Total(); n > 0 {
		out = append(out, Violation{ViolationCalls, 0, n, "calls of " + exit.Usage.Refused.Names(), ipc.ReasonSandboxCall})
	}
	if exit.Usage.PIDsRefused > 0 {
		out = append(out, Violation{ViolationPIDs, limits.PIDs, limits.PIDs + exit.Usage.PIDsRefused, "processes", ReasonPIDs})
	}
	switch {
	case logs.DroppedLines > 0:
		out = append(out, Violation{ViolationLog, logs.Lines, logs.Lines + logs.DroppedLines, "lines", ReasonLogCeiling})
	case logs.DroppedBytes > 0: // of lines that were cut: an endless one is a flood like any other
		out = append(out, Violation{ViolationLog, logs.Bytes, logs.Bytes + logs.DroppedBytes, "bytes", ReasonLogCeiling})
	}
	if exit.Reason == ReasonDisk {
		out = append(out, Violation{ViolationDisk, exit.DiskLimit, exit.DiskBytes, "bytes", ReasonDisk})
	}
	switch exit.Cause {
	case CauseExited:
		if exit.Code != 0 {
			reason := exit.Reason // a Wasm runner knows more than the status
			if reason == "" {
				reason = ReasonExited
			}
			out = append(out, Violation{ViolationExit, 0, int64(exit.Code), "status", reason})
		}
	case CauseSignaled:
		out = append(out, Violation{ViolationSignal, 0, int64(exit.Signal), "signal", ReasonSignaled})
	case CauseSetupFailed:
		out = append(out, Violation{ViolationSetup, 0, int64(exit.Code), "status", ReasonSetupFailed})
	}
	return out
}
