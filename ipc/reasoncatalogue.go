package ipc

import "slices"

// catalogue is the only list of reasons.
var catalogue = slices.Concat(generalReasons, limitReasons, serviceReasons, operatorReasons)

// generalReasons are in the order of the constants.
var generalReasons = []Reason{
	{
		ReasonDeadlineSoft, ReasonDegrade, "An answer came after the soft deadline; it was recorded as late and none of its intents were sent.",
		"Look at the step's duration with msup inspect; make the callback faster or raise resources.deadline_soft_ms in strategy.toml.",
	},
	{
		ReasonDeadlineHard, ReasonHalt, "No answer came before the hard deadline, so the runner was killed.",
		"Find the endless loop or blocking call in the last lines of msup logs; only then raise resources.deadline_hard_ms in strategy.toml.",
	},
	{
		ReasonAnswerLate, ReasonWarn, "The intents of a late answer were discarded, and the strategy was told so.",
		"Nothing was sent for that step. If it repeats, make the strategy faster or subscribe it to fewer events.",
	},
	{
		ReasonAnswerMalformed, ReasonHalt, "The runner sent bytes that break the protocol, so it was killed and the answer was not used.",
		"Use the SDK's own return types; the log names the field and the byte. With an SDK of your own, run ipc/vectors against it.",
	},
	{
		ReasonAnswerTwice, ReasonHalt, "The runner sent more than the one answer it was asked for, so it was killed.",
		"Do not write to the runner's socket from strategy code or a thread; return values are the only way out.",
	},
	{
		ReasonAnswerWrongSeq, ReasonHalt, "The runner answered another question than the one that was open, so it was killed.",
		"Use the SDK's session loop; with an SDK of your own, repeat the seq and step of the question.",
	},
	{
		ReasonFrameTooLarge, ReasonHalt, "The runner announced a frame above its limit; it was killed before the bytes were read.",
		"Return fewer intents, shorter telemetry or a smaller delta; move large state into checkpoints.",
	},
	{
		ReasonMessageMemory, ReasonHalt, "All runners together held as much of their messages and states as the supervisor gives them, and nothing came free in time; the runner was restarted.",
		"Look for instances that send states near their limit at the same moment (msup inspect): lower state.checkpoint_steps, or keep less in the state.",
	},
	{
		ReasonHandshakeFailed, ReasonRefuse, "The runner connected but did not complete the handshake in time, or its first frame was not a hello.",
		"Read the runner's output with msup logs; usually the import of the strategy takes too long or fails.",
	},
	{
		ReasonABIMismatch, ReasonRefuse, "The SDK in the package speaks another version of the protocol than this supervisor.",
		"Build the package again with the SDK that belongs to this msup, or run the msup that the package was built for.",
	},
	{
		ReasonPackageHashMismatch, ReasonRefuse, "The code that was about to run is not the code that was admitted: its hash differs.",
		"Build the package again with msup build. If nobody changed it, treat the package store as tampered with.",
	},
	{
		ReasonStrategyException, ReasonDegrade, "A callback of the strategy raised an exception; the step's intents were not sent.",
		"Read the traceback with msup logs and fix the strategy; the runner goes on with the next event until the breaker opens.",
	},
	{
		ReasonStrategyFault, ReasonDegrade, "The strategy answered with a typed fault other than an exception; the step's intents were not sent.",
		"The fault's kind is in msup inspect: bad_return, config, state, memory or determinism. Fix what it names.",
	},
	{
		ReasonStrategyUnwell, ReasonWarn, "The strategy's own on_healthcheck says that it is degraded or failing; nothing was restricted for it.",
		"The log has the tag that it gave; halt the instance if the strategy should not go on.",
	},
	{
		ReasonImportFailed, ReasonRefuse, "The strategy's code could not be loaded.",
		"Read the traceback in msup logs; check entry in strategy.toml and that requirements.lock lists every package.",
	},
	{
		ReasonInitFailed, ReasonRefuse, "The strategy's on_init failed, so the instance was not started.",
		"Read the traceback in msup logs; on_init sees only the configuration and the instruments, never market data.",
	},
	{
		ReasonIntentDuringInit, ReasonWarn, "The answer to on_init held intents; they were refused.",
		"Return intents from event callbacks only; set a timer in on_init to act soon after the start.",
	},
	{
		ReasonRunnerExited, ReasonDegrade, "The runner process ended on its own while the session was open.",
		"Remove calls that end the process, such as sys.exit, from the strategy; the exit code is in msup logs.",
	},
	{
		ReasonRunnerSignaled, ReasonDegrade, "The runner process was ended by a signal that the supervisor did not send.",
		"Signal 11 or 6 points at a native library, 31 at a forbidden system call; the signal is in msup logs.",
	},
	{
		ReasonRunnerOOM, ReasonDegrade, "The kernel killed the runner because it used more memory than its limit.",
		"Find the growth with msup inspect, or raise resources.memory_mb in strategy.toml if the need is real.",
	},
	{
		ReasonRunnerRestartsExhausted, ReasonHalt, "The runner failed more often within its window than restarts are allowed; the instance was halted.",
		"Fix the cause of the last failure, shown by msup inspect, then run msup resume; resources.restarts_per_hour is the ceiling.",
	},
	{
		ReasonPoisonEvent, ReasonDegrade, "An event killed the runner and was skipped in its place; the strategy was told with event_skipped.",
		"Replay the instance with msup replay to see the step that fails, and fix the strategy.",
	},
	{
		ReasonExecutionSkipped, ReasonHalt, "An execution or risk event killed the runner. Skipping it would leave the strategy with wrong positions, so it was halted.",
		"Compare the positions in msup inspect with the venue, fix the strategy, then run msup resume.",
	},
	{
		ReasonDiverged, ReasonHalt, "Replay gave another answer than the recorded one: the strategy is not deterministic.",
		"msup replay names the first step and field that differ. Take time and random numbers from ctx only, and nothing from outside.",
	},
	{
		ReasonSandboxSetupFailed, ReasonRefuse, "The sandbox could not be built, so the runner was not started.",
		"Run msup doctor: it names the missing kernel feature, permission or file.",
	},
	{
		ReasonSandboxOOM, ReasonRefuse, "The memory limit is too small even to start the runner.",
		"Raise resources.memory_mb in strategy.toml above what msup doctor shows for an idle runner.",
	},
	{
		ReasonSocketPathTooLong, ReasonRefuse, "The path of a socket is longer than the kernel allows (107 bytes).",
		"Choose a shorter runtime directory (XDG_RUNTIME_DIR) or shorter ids.",
	},
	{
		ReasonStateTooLarge, ReasonDegrade, "The strategy's state is larger than its limit; the checkpoint was refused and the previous one stays.",
		"Keep less in the state, or raise resources.state_bytes in strategy.toml, up to 16 MiB.",
	},
	{
		ReasonMetadataMissing, ReasonWarn, "An intent lacked mandatory metadata and was discarded.",
		"Make intents with the helpers of ctx, which fill it in; the discarded field is in msup intents.",
	},
	{
		ReasonMetadataWrong, ReasonWarn, "An intent carried the metadata of another bot, strategy, instance, run or step and was discarded.",
		"Make a new intent for each answer with the helpers of ctx; never keep and reuse old ones.",
	},
	{
		ReasonCapabilityMissing, ReasonWarn, "The strategy sent a kind of intent that its descriptor does not declare; the intent was discarded.",
		"Add the kind to capabilities in strategy.toml, and have the change reviewed.",
	},
	{
		ReasonKeyDuplicate, ReasonInfo, "An intent repeated a key with the same content; it was sent once only.",
		"Nothing needs doing: named keys are meant for this.",
	},
	{
		ReasonKeyConflict, ReasonDegrade, "An intent repeated a key with other content; it was refused, as one key means one decision for ever.",
		"Use a new name for a new decision; do not build names from values that repeat.",
	}, {
		ReasonNameCeiling, ReasonWarn, "The instance has used as many intent names as can be remembered; the intent with a new one was refused.",
		"Name only intents that must not happen twice across steps: a name is remembered for ever. To begin anew, let the strategy trade under a new instance id.",
	},

	{
		ReasonKeyWrong, ReasonWarn, "An intent's idempotency key is not the one that its step, ordinal or name gives; the intent was discarded.",
		"Let the helpers of ctx make the key, and keep the order of intents as they were made.",
	},
	{
		ReasonModeNoTrade, ReasonInfo, "The intent was refused because the instance may not trade now.",
		"msup inspect shows which restriction says so, since when, and what releases it.",
	},
	{
		ReasonModeReduceOnly, ReasonInfo, "The intent was refused or cut because the instance may only reduce its exposure now.",
		"msup inspect shows which restriction says so, since when, and what releases it.",
	},
	{
		ReasonModeLimitOnly, ReasonInfo, "The order was refused because the instance may send limit orders only now.",
		"Send limit orders, or see in msup inspect what releases the restriction.",
	},
	{
		ReasonSizeReduced, ReasonInfo, "The part of an order that increases risk was made smaller by a restriction's size factor.",
		"msup inspect shows which restriction sets the factor and what releases it.",
	},
	{
		ReasonPriceRounded, ReasonInfo, "A price was rounded to the instrument's tick, to the side that does not increase risk.",
		"Nothing needs doing; round to the tick in the strategy to choose the side yourself.",
	},
	{
		ReasonQuantityRounded, ReasonInfo, "A quantity was rounded down to the instrument's lot.",
		"Nothing needs doing; compute quantities in whole lots to avoid it.",
	},
	{
		ReasonQuantityTooSmall, ReasonWarn, "The quantity is below the instrument's minimum, or zero after rounding; the intent was discarded.",
		"Send larger orders, or correct min_quantity and lot in instruments.toml.",
	},
	{
		ReasonQuantityTooLarge, ReasonWarn, "The quantity is above the instrument's maximum; the intent was discarded, not split.",
		"Send smaller orders, or correct max_quantity in instruments.toml.",
	},
	{
		ReasonNotionalTooSmall, ReasonWarn, "Price times quantity is below the instrument's minimum notional; the intent was discarded.",
		"Send larger orders, or correct min_notional in instruments.toml.",
	},
	{
		ReasonInstrumentUnknown, ReasonWarn, "An intent or event names an instrument that the instance does not have.",
		"Add it to instruments.toml and to the strategy's subscriptions, or correct the name.",
	},
	{
		ReasonPriceMissing, ReasonWarn, "The order needs a price that is not there: its own, or a market price to value it with.",
		"Give limit_price or stop_price, or wait for the first quote of the instrument.",
	},
	{
		ReasonPriceInvalid, ReasonWarn, "A price is zero, negative or not representable where the instrument does not allow that.",
		"Check the computation of the price; msup intents shows the value.",
	},
	{
		ReasonIntentsPerEvent, ReasonDegrade, "One answer held more intents than the descriptor allows; the surplus was discarded.",
		"Send fewer intents, or raise resources.intents_per_event in strategy.toml.",
	},
	{
		ReasonIntentsPerRun, ReasonDegrade, "The strategy has sent as many intents in this run as the descriptor allows; the surplus was discarded.",
		"Look why it trades so much; raise resources.intents_per_run in strategy.toml if it is meant to.",
	},
	{
		ReasonIntentsPerSecond, ReasonDegrade, "The strategy sent more intents in a second than the descriptor allows; the surplus was discarded.",
		"Send fewer intents, or raise resources.intents_per_second in strategy.toml.",
	},
	{
		ReasonIntentsPerInstance, ReasonDegrade, "The instance has sent as many intents as it may from start to stop; the surplus was discarded.",
		"Look for a loop of orders in msup intents; raise resources.intents_per_run in strategy.toml if the need is real.",
	},
	{
		ReasonCancelsPerSecond, ReasonDegrade, "The strategy sent more cancels in a second than the ceiling for cancels; the surplus was discarded.",
		"Cancel each order once and wait for the report; raise resources.cancels_per_second in strategy.toml if the need is real.",
	},
	{
		ReasonTargetUnknown, ReasonWarn, "A cancel or amend names a key under which no order is open; it was discarded.",
		"The order may be filled or rejected already: look the key up with msup intents.",
	},
	{
		ReasonValidUntilPassed, ReasonWarn, "The intent was not sent within the delay that its risk context tolerates, and was withdrawn.",
		"Raise max_delay in the risk context if later is still good; otherwise find what was slow with msup inspect.",
	},
	{
		ReasonRestrictedBeforeOffer, ReasonInfo, "A restriction came between the gate and the sending; the intent was withdrawn.",
		"Nothing needs doing; msup inspect shows the restriction.",
	},
	{
		ReasonEpochPassed, ReasonHalt, "I knows a higher epoch of this instance: a later start exists, or the state directory is an older backup or copy.",
		"msup inspect shows the owners of the last epochs; stop one of the two processes. If no other runs, put the newest state directory back, or msup reconcile --above EPOCH.",
	},
	{
		ReasonApprovalDenied, ReasonInfo, "The external approver denied the intent; it was withdrawn.",
		"Ask the approver; its reason is in msup intents.",
	},
	{
		ReasonApprovalTimeout, ReasonWarn, "No approval came before valid_until; the intent expired.",
		"Check that the approver is connected with msup doctor, or allow it more time with max_delay in the risk context.",
	},
	{
		ReasonPositionUnknown, ReasonDegrade, "The position is not known for certain, so only cancels pass.",
		"A snapshot from the execution side ends this by itself; if it does not come, check the connection to the execution side.",
	},
	{
		ReasonExecutionGap, ReasonDegrade, "Execution reports are missing: their numbers have a gap. A snapshot was asked for.",
		"Nothing needs doing if the snapshot comes; else check the execution side and its connection.",
	},
	{
		ReasonSinkUnavailable, ReasonDegrade, "The execution side is not connected; intents wait, and expire when their time is over.",
		"Start the execution process or correct its socket in msup.toml; msup doctor tests the connection.",
	},
	{
		ReasonSinkRefused, ReasonWarn, "The execution side refused an intent.",
		"Its own reason is in msup intents; correct the order, the instrument or the account there.",
	},
	{
		ReasonSinkForgot, ReasonHalt, "The execution side knows less than it did: its memory is gone or older, so an old key would be a second order there.",
		"Put its own store back, or compare positions and open orders with the venue by hand; then msup resume: nothing decided before is offered to it any more.",
	},
	{
		ReasonRiskUnavailable, ReasonWarn, "The risk or safety side is not connected: no restriction or command of it can arrive, and no approval.",
		"Start the risk process or correct its socket in msup.toml; intents that need an approval expire meanwhile, everything else goes on.",
	},
	{
		ReasonMarketUnavailable, ReasonWarn, "The market source is not connected, so no events arrive; it is tried again by itself.",
		"Start the source or correct its socket in msup.toml; the first event after the pause is flagged as following a gap.",
	},
	{
		ReasonPersistFailed, ReasonHalt, "The ledger could not be written, so nothing of that batch was sent; the instance went back to the last durable input.",
		"Look at the disk: space, errors, permissions of the state directory. The instance goes on by itself when it heals.",
	},
	{
		ReasonLedgerFull, ReasonHalt, "The disk or quota of the state directory is full; nothing is sent any more.",
		"Free space in the state directory's file system. The instance goes on by itself.",
	},
	{
		ReasonLedgerCorrupt, ReasonHalt, "A row of the ledger has a wrong checksum or breaks the hash chain; the files were copied to the evidence folder.",
		"Do not delete anything. Restore the state directory from a backup, or start under a new instance id after comparing positions with the venue.",
	},
	{
		ReasonRowsLost, ReasonHalt, "The ledger ends before the high-water mark, or before what I has seen: rows that were once durable are gone, or this is an older backup or copy.",
		"Keep the evidence folder. Put the newest state directory back if this is an older one; else check the disk, compare with msup reconcile and the venue, and go on under a new instance id.",
	},
	{
		ReasonCheckpointCorrupt, ReasonWarn, "The newest checkpoint failed its check; the older one was used with a longer replay.",
		"Nothing needs doing at once; check the disk if it happens again.",
	},
	{
		ReasonCheckpointFailed, ReasonWarn, "A checkpoint could not be made or verified; the previous ones stay valid.",
		"Read the fault in msup logs: the state must be serialisable and below its limit.",
	},
	{
		ReasonStateSchemaIncompatible, ReasonRefuse, "The saved state has another state_schema_version than the package, and the package has no way to migrate it.",
		"Give the strategy a migrate function, run the version that wrote the state, or start with fresh state.",
	},
	{
		ReasonBreakerTimeouts, ReasonDegrade, "Too many answers in the window were late; the breaker opened and the instance is muted.",
		"It is tried again by itself after the cool-down; make the strategy faster meanwhile.",
	},
	{
		ReasonBreakerFaults, ReasonDegrade, "Too many steps in the window ended with a fault; the breaker opened and the instance is muted.",
		"It is tried again by itself after the cool-down; fix the fault shown in msup logs.",
	},
	{
		ReasonBreakerIntents, ReasonDegrade, "Too many intents in the window were refused by the gate; the breaker opened and the instance may not trade.",
		"Read the refusals in msup intents: the strategy asks again and again for what it may not have.",
	},
	{
		ReasonBreakerRejects, ReasonDegrade, "Too many orders in the window were rejected; the breaker opened and the instance is muted.",
		"Read the rejections in msup intents: usually margin, prices or permissions at the venue.",
	},
	{
		ReasonBreakerThrottled, ReasonDegrade, "The venue throttled too many orders in the window; the breaker opened.",
		"Lower the strategy's ceilings for intents and cancels below the venue's limits.",
	},
	{
		ReasonCooldownOver, ReasonInfo, "The cool-down of a restriction is over, and the restriction was released.",
		"Nothing needs doing.",
	},
	{
		ReasonConditionMet, ReasonInfo, "The condition that a restriction waited for is met, and the restriction was released.",
		"Nothing needs doing.",
	},
	{
		ReasonQueueCeiling, ReasonDegrade, "More events wait for the strategy than its mailbox holds: it is slower than its input.",
		"Make on_event faster, subscribe to fewer instruments or events, or play the feed more slowly with --speed; resources.queue_events only bridges bursts.",
	},
	{
		ReasonQualityStale, ReasonDegrade, "Market data is older than its source promises.",
		"Check the source and the network; [ladders] quality in strategy.toml says how many such events are borne.",
	},
	{
		ReasonQualityGap, ReasonDegrade, "Market data is missing: sequence numbers have a gap.",
		"Check the source for losses; books wait for a snapshot by themselves.",
	},
	{
		ReasonQualityDup, ReasonDegrade, "The same market event came twice.",
		"Nothing needs doing; check the source if it is frequent.",
	},
	{
		ReasonQualityOutOfOrder, ReasonDegrade, "A market event came after a later one.",
		"Check how the source merges its streams; sort recorded feeds by their time of reception.",
	},
	{
		ReasonQualityClockSkew, ReasonDegrade, "The venue's time and the time of reception cannot both be right.",
		"Check the clock of this machine (NTP), then the source's time zone and unit.",
	},
	{
		ReasonClockJump, ReasonWarn, "The wall clock jumped. Windows and expiries do not use it, so nothing lapsed.",
		"Check NTP on this machine; slew the clock, never step it, while trading.",
	},
	{
		ReasonWarmup, ReasonInfo, "The strategy is being fed history; its intents are suppressed and counted.",
		"Nothing needs doing; it goes live when the warm-up of strategy.toml is complete.",
	},
	{
		ReasonRecovering, ReasonInfo, "The instance is replaying its log or asking the execution side about open intents; nothing new is sent yet.",
		"Nothing needs doing; msup inspect shows how far it is. If it waits for the execution side, check that connection.",
	},
	{
		ReasonComputeStale, ReasonInfo, "A result of the compute part came after its ttl and was discarded.",
		"Raise the ttl of the request if late results are still good, or make the task smaller.",
	},
	{
		ReasonComputeCongested, ReasonWarn, "A compute request was not taken: as many as the descriptor allows wait or are under way.",
		"Ask less often, make the tasks smaller, or raise queue or runners in [compute] of strategy.toml.",
	},
	{
		ReasonComputeLost, ReasonWarn, "A compute request was under way when the supervisor stopped or its log went back; nobody knows whether it was carried out, and it is not repeated.",
		"Ask again from the strategy if the answer is still wanted; for an external service, look there first whether the first one took effect.",
	},
	{
		ReasonComputeUnavailable, ReasonWarn, "A compute request will not be answered: the compute part is busy, failed or missing.",
		"Handle compute_unavailable in the strategy; see msup inspect for the compute runner's state.",
	},
	{
		ReasonLeaseHeld, ReasonRefuse, "Another running process holds the lease of this instance, or its state directory.",
		"msup lease list shows who it is. Stop it; or run this one as another bot, under --bot.",
	},
	{
		ReasonLeaseHung, ReasonRefuse, "The process that holds the lease of this instance runs, but has been silent for longer than the ttl.",
		"Look at that process, which msup lease show names: it may be stopped or starved. Start with --takeover to have it killed and replaced.",
	},
	{
		ReasonLeaseLost, ReasonHalt, "The supervisor lost the lease of this instance, or could not renew it, and stopped the runner before another may start.",
		"Find what removed, replaced or filled up the lease directory, or who took over (msup lease show), then start the instance again.",
	},
	{
		ReasonLeaseUnusable, ReasonRefuse, "The directory or the file of the lease cannot be used, so nobody could be kept from starting the instance twice.",
		"The message names the path and what is wrong with it; mend it, or name another directory with --lease-dir, the same one for all starts on this host.",
	},
	{
		ReasonSecondOwner, ReasonRefuse, "The execution side knows another owner of this instance under the same epoch.",
		"Two processes claim the instance: stop one, then start the other again, which raises the epoch.",
	},
	{
		ReasonShutdownRequested, ReasonInfo, "The supervisor was asked to stop; the instance was checkpointed and stopped in order.",
		"Nothing needs doing.",
	},
	{
		ReasonFeedEnded, ReasonInfo, "The feed has no more records; the run ends.",
		"Nothing needs doing.",
	},
	{
		ReasonFeedMalformed, ReasonWarn, "The feed is cut off or holds a record that cannot be read; everything before it was played, and the run ended there.",
		"The message names file, line and cause; correct or cut the file. A truncated last line is usual for recordings.",
	},
	{
		ReasonConfigInvalid, ReasonRefuse, "A configuration does not fit its schema; the old one stays in force.",
		"The finding names file, line, value and what is allowed. Correct it and apply it again.",
	},
	{
		ReasonDescriptorInvalid, ReasonRefuse, "strategy.toml does not describe a strategy that can be run.",
		"msup build lists all findings with line and remedy.",
	},
	{
		ReasonRunnerKilled, ReasonInfo, "The supervisor ended the runner; the line before says why.",
		"Nothing, unless it repeats: then look up the reason it was killed for.",
	},
	{
		ReasonSandboxDisk, ReasonRefuse, "A build job wrote more than its output folder may hold.",
		"Look for a dependency that is far larger than expected; split the strategy or drop the dependency.",
	},
	{
		ReasonSandboxSpecInvalid, ReasonRefuse, "What was to be started is described wrongly: a path, a limit or an environment entry makes no sense.",
		"The message names the field; correct it in strategy.toml or in the deployment.",
	},
	{
		ReasonSandboxHelperLost, ReasonHalt, "The helper that keeps root for the sandboxes is gone: its runners ended with it, and no other can be started.",
		"Stop the run and start it again; look for what killed the helper (the kernel's log, the host's memory). The next run takes up where the ledger ends.",
	},
	{
		ReasonSandboxHelperRefused, ReasonRefuse, "The helper that keeps root was asked for something that this run may not have: another program, other walls, another socket.",
		"A supervisor that is itself does not do that: take it for compromised, stop it, and keep its state directory and binary for an examination.",
	},
	{
		ReasonPrivilegesKept, ReasonRefuse, "msup cannot give up root here: its own user cannot reach something that the run needs.",
		"The message names the place: let everybody pass through the folders above it (chmod o+x), name another, or run as a user who may with --user.",
	},
	{
		ReasonImageInvalid, ReasonRefuse, "The file given as an image is not there, is no image, is cut off or damaged, or holds what an image may not.",
		"The message names the place; save the image anew (docker save, skopeo copy … oci-archive:FILE) and copy it whole; msup image inspect FILE checks it.",
	},
	{
		ReasonImageArchitecture, ReasonRefuse, "The image, or the Python in it, is for another architecture than this machine's.",
		"Build it for this machine: docker build --platform linux/amd64, or linux/arm64.",
	},
	{
		ReasonImageNoPython, ReasonRefuse, "The image has no Python that can be used: none at all, one before 3.11, or a script in its place.",
		"Build it on an image with Python 3.11 or later, such as python:3.11-slim, or use the one of msup image build.",
	},
	{
		ReasonImageNoSDK, ReasonRefuse, "The Python of the image does not have the msup SDK.",
		"Add to the image's recipe: pip install msup.",
	},
	{
		ReasonImageBuildFailed, ReasonRefuse, "The base image could not be made: Debian, its mirror, pip, or the folder of images is not as needed.",
		"The message names the step and what to do; --image host runs containers on this host's Python meanwhile.",
	},
	{
		ReasonImageDiskFull, ReasonRefuse, "The disk was full while an image was made or copied; nothing half was left.",
		"Make room (a base image needs about 300 MB while it is built), remove old images with msup image prune, or name another folder with MSUP_IMAGES.",
	},
	{
		ReasonWasmInvalid, ReasonRefuse, "The Wasm module is broken, too large, asks for what does not exist here, or lacks what msup calls.",
		"The message names section, byte and cause; usually the crate msup is of another version, or the build was not for wasm32-wasip1.",
	},
	{
		ReasonWasmCompileFailed, ReasonRefuse, "The Wasm module could not be compiled within the time and memory that compiling may take.",
		"Read the last line of the message; a module that is valid but huge needs a smaller build (strip, opt-level) or a higher ceiling.",
	},
	{
		ReasonWasmTrap, ReasonDegrade, "The strategy's Wasm code trapped: a panic, an access outside its memory, or a stack that is too deep.",
		"Read the panic message and the trace in msup logs and fix the strategy; its memory is discarded, so it starts again from its checkpoint.",
	},
	{
		ReasonWasmReturnInvalid, ReasonDegrade, "The strategy's Wasm module returned an address, a length or frames that cannot be true.",
		"Use msup's crate as it is; with a guest of your own, follow the guest ABI: whole frames inside the memory, valid until the next call.",
	},
	{
		ReasonEpochUnknown, ReasonRefuse, "I was addressed under an epoch that no hello has announced to it.",
		"Start the instance again; if it repeats, two supervisors share a connection to I.",
	},
	{
		ReasonNoHello, ReasonRefuse, "I was addressed for an instance that this connection has not announced.",
		"Start the instance again; with an I of your own, keep announcements per connection.",
	},
	{
		ReasonCursorAhead, ReasonHalt, "M has taken more reports than I remembers: I has lost its state, or its state directory was exchanged.",
		"Stop trading, compare positions with the venue, then restore I's state or start I under a higher source epoch with a snapshot.",
	},
	{
		ReasonDigestMismatch, ReasonHalt, "The bytes of an intent do not sum to the digest that was offered with them, so I refused it.",
		"Do not trade on this path until it is found: something between M and I alters bytes.",
	},
	{
		ReasonTombstoned, ReasonInfo, "The key was barred at I before I had seen it: the intent was given up by a recovery and will never be executed.",
		"Nothing; the strategy was told that the intent was discarded.",
	},
	{
		ReasonInvalidIntent, ReasonWarn, "I cannot carry out the intent as it stands: a price, a quantity or a target makes no sense to it.",
		"Compare instruments.toml with what I knows of the instrument.",
	},
	{
		ReasonTooManyOrders, ReasonDegrade, "The instance has as many open orders at I as a snapshot can hold; I refused another.",
		"Cancel what is no longer wanted; lower the number of orders that the strategy keeps open.",
	},
	{
		ReasonDescriptorFile, ReasonRefuse, "The file is missing, unreadable, empty, too large, or not UTF-8.",
		"The message names the file; msup new NAME writes one that works.",
	},
	{
		ReasonDescriptorSyntax, ReasonRefuse, "The file is not TOML.",
		"The message names line and column.",
	},
	{
		ReasonDescriptorUnknown, ReasonRefuse, "The file has a key that does not exist.",
		"The message names the line and, where it can guess, the key that was meant; msup schema descriptor lists them all.",
	},
	{
		ReasonDescriptorMissing, ReasonRefuse, "A required key is absent.",
		"Add the key that the message names; docs/strategy-toml.md shows an example of each.",
	},
	{
		ReasonDescriptorType, ReasonRefuse, "A value has another type than its key.",
		"Write it in the form that the message shows.",
	},
	{
		ReasonDescriptorRange, ReasonRefuse, "A value lies outside its range, or is not one of the choices.",
		"Choose a value within the range that the message names.",
	},
	{
		ReasonDescriptorFormat, ReasonRefuse, "A value has the right type and the wrong form: a version, an id, a glob, a decimal or a unit.",
		"Write it in the form that the message shows.",
	},
	{
		ReasonDescriptorDuplicate, ReasonRefuse, "The same thing is said twice.",
		"Remove one of the two places that the message names.",
	},
	{
		ReasonDescriptorConflict, ReasonRefuse, "Two things that the files or the code say cannot both be true.",
		"Make them agree; where the code declares it, remove it from the file.",
	},
	{
		ReasonPolicyExceeded, ReasonRefuse, "A strategy or deployment asks for more than the host policy allows.",
		"Ask for less, or have the owner of the host raise the policy in msup.toml.",
	},
	{
		ReasonSecretValue, ReasonRefuse, "A secret stands in a file as a value.",
		"Move it to the environment or to a file with mode 0600, and write { env = \"NAME\" } or { file = \"PATH\" }. Change the secret: it was in a file.",
	},
	{
		ReasonPackageInvalid, ReasonRefuse, "The folder of a strategy holds what a package may not: a link, a device, a name that is not UTF-8, too many or too large files.",
		"Remove what the message names from the folder.",
	},
}
