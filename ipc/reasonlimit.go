package ipc

// limitReasons are the limits that a strategy runs into while it lives, and what watches over its objectives. Each is counted on a ladder of
// its own (SB-7): the same code at every rung, so that an operator sees which limit it is.
var limitReasons = []Reason{
	{
		ReasonLogCeiling, ReasonDegrade, "The strategy printed more than its budget; further lines are dropped and counted.",
		"Print less, or raise resources.log_lines_per_second or log_bytes_per_run in strategy.toml; numbers belong into declared telemetry.",
	},
	{
		ReasonTelemetryUndeclared, ReasonDegrade, "The strategy reported telemetry under a name that its descriptor does not declare; the value was dropped.",
		"Declare the name under telemetry in strategy.toml.",
	},
	{
		ReasonTimerCeiling, ReasonDegrade, "The strategy has set as many timers as it may have; the new one was refused.",
		"Cancel timers that are no longer needed, reuse their ids, or raise resources.timers in strategy.toml.",
	},
	{
		ReasonTimerStorm, ReasonDegrade, "Timers alone kept the strategy busy, more than 1000 steps within a second of its own time: those that it set then were put off to the next second.",
		"Set the next timer in on_timer with some distance from now, a millisecond or more. A strategy that goes on like that is restricted, then halted.",
	},
	{
		ReasonSandboxCPU, ReasonDegrade, "The strategy wanted more processor time than its quota for a good part of a second; the kernel made it wait.",
		"Make its callbacks and threads cheaper, or raise resources.cpu_cores in strategy.toml.",
	},
	{
		ReasonSandboxMemory, ReasonDegrade, "The strategy asked for more memory than it may have, and was refused: its step failed.",
		"Find the large allocation in the traceback (msup logs), or raise resources.memory_mb in strategy.toml.",
	},
	{
		ReasonSandboxPIDs, ReasonDegrade, "The strategy asked for more processes and threads than resources.threads allows; the kernel refused them.",
		"Use fewer threads (numpy and BLAS are set to one already), or raise resources.threads in strategy.toml.",
	},
	{
		ReasonSandboxFiles, ReasonDegrade, "The strategy has as many files open as it may have; its step failed at the next one.",
		"Close files, or raise resources.open_files in strategy.toml.",
	},
	{
		ReasonSandboxTmp, ReasonDegrade, "The strategy's /tmp is full; its step failed.",
		"Write less and remove what is done with, or raise resources.tmp_mb in strategy.toml; what must survive belongs into the state.",
	},
	{
		ReasonSandboxFileSize, ReasonDegrade, "The strategy wrote a file beyond the largest size that is allowed; the write failed, or a signal ended the runner.",
		"Write smaller files; /tmp is for scratch only.",
	},
	{
		ReasonSandboxCall, ReasonDegrade, "The strategy tried something that its sandbox forbids: a network address, a file of the host, another process, a system call. It was refused.",
		"Read the traceback in msup logs, or the calls that the violation names, and remove the attempt; events come in by callbacks, and answers are the only way out.",
	},
	{
		ReasonSLOLatency, ReasonDegrade, "More than one answer in twenty of a window took longer than slo.p95_ms.",
		"Make the callbacks faster, give the machine fewer instances, or promise less in [slo] of strategy.toml. It ends with a window that keeps the promise.",
	},
	{
		ReasonSLODrops, ReasonDegrade, "A larger part of the market events of a window than slo.drop_rate was dropped.",
		"Make the callbacks faster, subscribe to less, or raise resources.queue_events. It ends with a window that keeps the promise.",
	},
	{
		ReasonSLOCPU, ReasonDegrade, "The strategy used more processor time in a window than slo.cpu_seconds.",
		"Make its callbacks and threads cheaper, or promise less in [slo] of strategy.toml. It ends with a window that keeps the promise.",
	},
	{
		ReasonNoProgress, ReasonDegrade, "Events wait for the strategy and none has been finished for a while, whatever its heartbeat says; it may not trade until one is.",
		"If a callback hangs, the hard deadline ends it: lower resources.deadline_hard_ms in strategy.toml. Else look at what msup logs says the instance waits for.",
	},
	{
		ReasonMute, ReasonDegrade, "A breaker that had opened is being tried again: the strategy runs and is recorded, and sends nothing, until it has made breaker.clean_steps steps without a fault.",
		"Nothing needs doing; what it would have sent is in msup intents.",
	},
}
