package guard

import "github.com/msup/msup/ipc"

// Kind names what one ladder counts: violations of one limit, or broken promises of one sort (SB-7, LN-7).
type Kind string

// The kinds of violations. Late, faulted and killed answers, rejects and refusals have ladders of their own beside these.
const (
	Memory     Kind = "memory"
	CPU        Kind = "cpu"
	Threads    Kind = "threads"
	Files      Kind = "files" // open descriptors
	Disk       Kind = "disk"  // /tmp and the size of one file
	Calls      Kind = "calls" // what the sandbox forbids
	Log        Kind = "log"
	Telemetry  Kind = "telemetry"
	Intents    Kind = "intents" // per event, second, run and instance; cancels per second
	Timers     Kind = "timers"
	Messages   Kind = "messages" // size, depth and form of what the runner sends
	Quality    Kind = "quality"  // flawed market events: the input's fault, not the strategy's (CB-1)
	SLOLatency Kind = "slo_latency"
	SLODrops   Kind = "slo_drops"
	SLOCPU     Kind = "slo_cpu"
)

// Violations are the kinds whose ladder a descriptor may set; the ladders of the objectives are set with them.
var Violations = []Kind{Memory, CPU, Threads, Files, Disk, Calls, Log, Telemetry, Intents, Timers, Messages, Quality}

// Objectives are the kinds of broken promises (LN-6).
var Objectives = []Kind{SLOLatency, SLODrops, SLOCPU}

var kinds = map[ipc.ReasonCode]Kind{
	ipc.ReasonRunnerOOM:           Memory,
	ipc.ReasonSandboxMemory:       Memory,
	ipc.ReasonSandboxCPU:          CPU,
	ipc.ReasonSandboxPIDs:         Threads,
	ipc.ReasonSandboxFiles:        Files,
	ipc.ReasonSandboxTmp:          Disk,
	ipc.ReasonSandboxFileSize:     Disk,
	ipc.ReasonSandboxCall:         Calls,
	ipc.ReasonLogCeiling:          Log,
	ipc.ReasonTelemetryUndeclared: Telemetry,
	ipc.ReasonIntentsPerEvent:     Intents,
	ipc.ReasonIntentsPerSecond:    Intents,
	ipc.ReasonIntentsPerRun:       Intents,
	ipc.ReasonIntentsPerInstance:  Intents,
	ipc.ReasonCancelsPerSecond:    Intents,
	ipc.ReasonNameCeiling:         Intents,
	ipc.ReasonTimerCeiling:        Timers,
	ipc.ReasonFrameTooLarge:       Messages,
	ipc.ReasonAnswerMalformed:     Messages,
	ipc.ReasonAnswerTwice:         Messages,
	ipc.ReasonAnswerWrongSeq:      Messages,
	ipc.ReasonWasmReturnInvalid:   Messages,
	ipc.ReasonQualityStale:        Quality,
	ipc.ReasonQualityGap:          Quality,
	ipc.ReasonQualityDup:          Quality,
	ipc.ReasonQualityOutOfOrder:   Quality,
	ipc.ReasonQualityClockSkew:    Quality,
	ipc.ReasonSLOLatency:          SLOLatency,
	ipc.ReasonSLODrops:            SLODrops,
	ipc.ReasonSLOCPU:              SLOCPU,
}

// KindOf says on which ladder a reason counts; false for reasons that are no violation of a limit.
func KindOf(reason ipc.ReasonCode) (Kind, bool) {
	k, ok := kinds[reason]
	return k, ok
}
