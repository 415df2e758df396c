package hostile

import (
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// attacks is the table. What each one does, and why it must fail, stands beside its class in python/.
func attacks() []*attack {
	var all []*attack
	all = append(all, resourceAttacks()...)
	all = append(all, escapeAttacks()...)
	all = append(all, kernelAttacks()...)
	all = append(all, fileAttacks()...)
	all = append(all, quietAttacks()...)
	all = append(all, protocolAttacks()...)
	all = append(all, intentAttacks()...)
	all = append(all, startAttacks()...)
	return append(all, interpreterAttacks()...)
}

func resourceAttacks() []*attack {
	return []*attack{
		// Without control groups RLIMIT_AS stands in: the hog is refused instead of killed.
		killed("resources:MemoryHog", ipc.ReasonRunnerOOM).on(levelNobody, isFaulted(ipc.ReasonStrategyException, ipc.ReasonStrategyFault)),
		killed("resources:ZipBomb", ipc.ReasonRunnerOOM).on(levelNobody, isFaulted(ipc.ReasonStrategyFault, ipc.ReasonStrategyException)),
		faulted("resources:GiantBuffer", ipc.ReasonStrategyFault),
		caught("resources:ForkBomb"),
		caught("resources:ForkInThread"),
		caught("resources:Spawner"),
		refused("resources:ThreadBomb").giving(ipc.ReasonSandboxPIDs).on(levelNobody, isRefused).isApart(),
		refused("resources:FileHog"),
		refused("resources:PipeHoarder"),
		refused("resources:SocketHoarder"),
		refused("resources:TimerHoarder"),
		refused("resources:MappingBomb"),
		refused("resources:DiskFiller"),
		refused("resources:LimitRaiser"),
		refused("resources:Prioritiser"),
		refused("resources:SignalHoarder"), refused("resources:DescriptorHoarder"),
		killed("resources:Recursion", ipc.ReasonRunnerSignaled),
		hangs("resources:LogFlooder").giving(ipc.ReasonLogCeiling),
		hangs("resources:LineFlooder").giving(ipc.ReasonLogCeiling),
		noted("resources:EndlessLine", ipc.ReasonLogCeiling),
		noted("resources:LineBurst", ipc.ReasonLogCeiling),
		harmless("resources:ControlCharacters"),
		harmless("resources:StreamCloser"),
		hangs("resources:Spinner"),
		hangs("resources:BigInteger"),
		hangs("resources:Backtracker"),
		hangs("resources:SignalBlocker"),
		hangs("resources:LeaderExit"),
		harmless("resources:BackgroundSpinner"),
		harmless("resources:Stopper"),
		harmless("resources:Alarmer"),
	}
}

func escapeAttacks() []*attack {
	// Its threads wait for their answers, so all of them are there at a time; as nobody each reserves an arena of its own from the address space.
	latch := caught("escape:LatchFlooder")
	latch.limits = func(l *sandbox.Limits) { l.MemoryBytes = 1 << 30 }
	return []*attack{
		caught("escape:Dialer"), caught("escape:HostCaller"), caught("escape:SocketSquatter"), refused("escape:Inheritor"),
		caught("escape:Tracer"), caught("escape:Mounter"), caught("escape:Namespacer"), refused("escape:Snoop"), refused("escape:HostReader"),
		caught("escape:Killer"), caught("escape:CapabilityGrabber"), caught("escape:FilterLoosener"), caught("escape:CgroupEscaper"),
		caught("escape:Pickler"), caught("escape:MemoryProgram"), latch,
	}
}

func kernelAttacks() []*attack {
	// 32-bit numbers: refused, or the process that tries is killed, or the kernel has none.
	ends := isKilled(ipc.ReasonSandboxCall, ipc.ReasonDeadlineHard)
	ends.hangs = true
	return []*attack{
		caught("kernel:KernelProber"), caught("kernel:BpfLoader"), caught("kernel:UringOpener"), caught("kernel:FaultHandler"),
		caught("kernel:KeyringThief"), caught("kernel:ModuleLoader"), caught("kernel:ClockSetter"), refused("kernel:SharedMemory"),
		refused("kernel:TerminalInjector"), caught("kernel:HandleOpener"), refused("kernel:OtherTables"), caught("kernel:Cloner"),
		caught("kernel:Rebooter"), refused("kernel:MemoryPolicy"),
		refused("kernel:CompatCaller").on(levelContainer, ends),
	}
}

func fileAttacks() []*attack {
	return []*attack{
		caught("files:Linker"), refused("files:Reopener"), refused("files:CodeUnlinker"), refused("files:BytecodePlanter"),
		caught("files:DeviceOpener"), refused("files:ProcWriter"), refused("files:SysWriter"), caught("files:NoExec"),
	}
}

// quietAttacks swallow every refusal.
func quietAttacks() []*attack {
	flood := hangs("swallow:QuietFlooder").giving(ipc.ReasonSandboxCall).isApart()
	flood.want.calls = []string{"ptrace"}
	return []*attack{
		counted("swallow:QuietDialer", "socket"), counted("swallow:QuietForker", "clone"), counted("swallow:QuietTracer", "ptrace"),
		counted("swallow:QuietListener", "bind"), counted("swallow:QuietExecutor", "execve"),
		counted("swallow:QuietMounter", "unshare", "mount", "chroot"), flood,
	}
}

func protocolAttacks() []*attack {
	return []*attack{
		killed("protocol:Garbage", ipc.ReasonAnswerMalformed),
		killed("protocol:LengthBomb", ipc.ReasonFrameTooLarge),
		killed("protocol:DeepBomb", ipc.ReasonAnswerMalformed),
		killed("protocol:Repeater", ipc.ReasonAnswerWrongSeq),
		killed("protocol:Twice", ipc.ReasonAnswerTwice),
		killed("protocol:WrongStep", ipc.ReasonAnswerMalformed),
		killed("protocol:Impostor", ipc.ReasonAnswerMalformed),
		killed("protocol:BadText", ipc.ReasonAnswerMalformed),
		killed("protocol:ManyIntents", ipc.ReasonAnswerMalformed),
		killed("protocol:SocketFlood", ipc.ReasonAnswerWrongSeq),
		killed("protocol:Smuggler", ipc.ReasonAnswerMalformed),
		hangs("protocol:Mute"), hangs("protocol:HalfFrame"), hangs("protocol:Dripper"), hangs("protocol:SlowFlood"), hangs("protocol:HangUp").on(levelRoot, hungUp()).on(levelNobody, hungUp()).on(levelContainer, hungUp()),
		killed("protocol:Quitter", ipc.ReasonRunnerExited),
		killed("protocol:Leaver", ipc.ReasonRunnerExited),
		killed("protocol:Crasher", ipc.ReasonRunnerSignaled),
		killed("protocol:Aborter", ipc.ReasonRunnerSignaled),
		noted("protocol:StateBomb", ipc.ReasonCheckpointFailed),
		noted("protocol:ChunkLiar", ipc.ReasonAnswerMalformed, ipc.ReasonStateTooLarge),
		checkpointHang(),
		noted("protocol:LateStop"),
	}
}

// hungUp: the supervisor sees the end of the stream while the process stays, and kills it.
func hungUp() want { return isKilled(ipc.ReasonRunnerExited, ipc.ReasonDeadlineHard) }

// checkpointHang does not give its state: the runner is killed and the older checkpoint stays.
func checkpointHang() *attack {
	a := noted("protocol:StateMiser", ipc.ReasonDeadlineHard)
	a.want.hangs = true
	return a
}

func intentAttacks() []*attack {
	return []*attack{
		faulted("intents:Eager", ipc.ReasonStrategyException),
		noted("intents:Flood", ipc.ReasonIntentsPerEvent),
		faulted("intents:Giant", ipc.ReasonStrategyFault),
		noted("intents:CancelStorm", ipc.ReasonCancelsPerSecond),
		noted("intents:Forger", ipc.ReasonMetadataWrong),
		noted("intents:KeyForger", ipc.ReasonKeyWrong),
		noted("intents:KeyReuser", ipc.ReasonKeyConflict),
		noted("intents:Quantities", ipc.ReasonQuantityTooLarge),
		noted("intents:Trespasser", ipc.ReasonInstrumentUnknown, ipc.ReasonCapabilityMissing),
		noted("intents:Alerter", ipc.ReasonCapabilityMissing),
		noted("intents:Telemetry", ipc.ReasonTelemetryUndeclared),
		noted("intents:TimerHog", ipc.ReasonTimerCeiling),
		noted("intents:TimerStorm", ipc.ReasonTimerStorm),
		faulted("intents:NotANumber", ipc.ReasonStrategyException, ipc.ReasonStrategyFault),
	}
}

func startAttacks() []*attack {
	return []*attack{
		barred("start:Raiser", ipc.ReasonImportFailed), barred("start:Exiter", ipc.ReasonImportFailed, ipc.ReasonRunnerExited),
		barred("start:Hanger", ipc.ReasonHandshakeFailed).slowStart(),
		barred("start:AbiLiar", ipc.ReasonABIMismatch), barred("start:HashLiar", ipc.ReasonPackageHashMismatch),
		barred("start:FirstWord", ipc.ReasonHandshakeFailed),
		barred("start:Hog", ipc.ReasonRunnerOOM).on(levelNobody, isBarred(ipc.ReasonImportFailed)),
		faulted("start:InitRaiser", ipc.ReasonInitFailed),
		killed("start:InitHanger", ipc.ReasonInitFailed).slowStart(),
		noted("start:InitTrader", ipc.ReasonIntentDuringInit),
		caught("start:Importer"),
	}
}

func interpreterAttacks() []*attack {
	small := harmless("interpreter:Finalizer")
	small.limits = func(l *sandbox.Limits) { l.MemoryBytes = 128 << 20 }
	return []*attack{
		harmless("interpreter:Hooks"), harmless("interpreter:TypeConfuser"), small,
		faulted("interpreter:DeepRecursion", ipc.ReasonStrategyException),
		faulted("interpreter:EvilException", ipc.ReasonStrategyException),
		faulted("interpreter:SystemExiter", ipc.ReasonStrategyException, ipc.ReasonStrategyFault),
		faulted("interpreter:EvilReturn", ipc.ReasonStrategyFault),
		killed("interpreter:SdkSaboteur", ipc.ReasonAnswerMalformed, ipc.ReasonAnswerWrongSeq, ipc.ReasonRunnerExited),
		harmless("interpreter:ExitHanger"), harmless("interpreter:ClockCheat"), harmless("interpreter:DictSaboteur"),
	}
}
