package ipc

import "slices"

// ReasonCode says why something was restricted, dropped, refused, killed or halted (SB-8, CB-4, DM-2).
type ReasonCode string

// ReasonSeverity says what a reason does to the instance.
type ReasonSeverity string

// The severities, from the least.
const (
	ReasonInfo    ReasonSeverity = "info"    // for the record
	ReasonWarn    ReasonSeverity = "warn"    // something was dropped or is suspicious
	ReasonDegrade ReasonSeverity = "degrade" // the instance goes on with restrictions, or may come to them
	ReasonHalt    ReasonSeverity = "halt"    // the runner is killed or the instance stopped
	ReasonRefuse  ReasonSeverity = "refuse"  // a start or change is not carried out
)

// Reason is one entry of the catalogue, from which msup explain and the documentation are made.
type Reason struct {
	Code     ReasonCode     `json:"code"`
	Severity ReasonSeverity `json:"severity"`
	Meaning  string         `json:"meaning"`
	Remedy   string         `json:"remedy"` // what the operator should do
}

// The reason codes. A code is never reused for another meaning.
const (
	// The runner and its answers.
	ReasonDeadlineSoft            ReasonCode = "DEADLINE_SOFT"
	ReasonDeadlineHard            ReasonCode = "DEADLINE_HARD"
	ReasonAnswerLate              ReasonCode = "ANSWER_LATE"
	ReasonAnswerMalformed         ReasonCode = "ANSWER_MALFORMED"
	ReasonAnswerTwice             ReasonCode = "ANSWER_TWICE"
	ReasonAnswerWrongSeq          ReasonCode = "ANSWER_WRONG_SEQ"
	ReasonFrameTooLarge           ReasonCode = "FRAME_TOO_LARGE"
	ReasonMessageMemory           ReasonCode = "MESSAGE_MEMORY"
	ReasonHandshakeFailed         ReasonCode = "HANDSHAKE_FAILED"
	ReasonABIMismatch             ReasonCode = "ABI_MISMATCH"
	ReasonPackageHashMismatch     ReasonCode = "PACKAGE_HASH_MISMATCH"
	ReasonStrategyException       ReasonCode = "STRATEGY_EXCEPTION"
	ReasonStrategyFault           ReasonCode = "STRATEGY_FAULT"
	ReasonStrategyUnwell          ReasonCode = "STRATEGY_UNWELL"
	ReasonImportFailed            ReasonCode = "IMPORT_FAILED"
	ReasonInitFailed              ReasonCode = "INIT_FAILED"
	ReasonIntentDuringInit        ReasonCode = "INTENT_DURING_INIT"
	ReasonRunnerExited            ReasonCode = "RUNNER_EXITED"
	ReasonRunnerSignaled          ReasonCode = "RUNNER_SIGNALED"
	ReasonRunnerOOM               ReasonCode = "RUNNER_OOM"
	ReasonRunnerRestartsExhausted ReasonCode = "RUNNER_RESTARTS_EXHAUSTED"
	ReasonPoisonEvent             ReasonCode = "POISON_EVENT"
	ReasonExecutionSkipped        ReasonCode = "EXECUTION_SKIPPED"
	ReasonDiverged                ReasonCode = "DIVERGED"

	// The sandbox.
	ReasonSandboxSetupFailed  ReasonCode = "SANDBOX_SETUP_FAILED"
	ReasonSandboxOOM          ReasonCode = "SANDBOX_OOM"
	ReasonSocketPathTooLong   ReasonCode = "SOCKET_PATH_TOO_LONG"
	ReasonLogCeiling          ReasonCode = "LOG_CEILING"
	ReasonTelemetryUndeclared ReasonCode = "TELEMETRY_UNDECLARED"
	ReasonTimerCeiling        ReasonCode = "TIMER_CEILING"
	ReasonTimerStorm          ReasonCode = "TIMER_STORM"
	ReasonSandboxCPU          ReasonCode = "SANDBOX_CPU"
	ReasonSandboxMemory       ReasonCode = "SANDBOX_MEMORY"
	ReasonSandboxFiles        ReasonCode = "SANDBOX_FILES"
	ReasonSandboxTmp          ReasonCode = "SANDBOX_TMP"
	ReasonSandboxFileSize     ReasonCode = "SANDBOX_FILE_SIZE"
	ReasonSandboxCall         ReasonCode = "SANDBOX_CALL"
	ReasonStateTooLarge       ReasonCode = "STATE_TOO_LARGE"

	// The gate.
	ReasonMetadataMissing       ReasonCode = "METADATA_MISSING"
	ReasonMetadataWrong         ReasonCode = "METADATA_WRONG"
	ReasonCapabilityMissing     ReasonCode = "CAPABILITY_MISSING"
	ReasonKeyDuplicate          ReasonCode = "KEY_DUPLICATE"
	ReasonKeyConflict           ReasonCode = "KEY_CONFLICT"
	ReasonNameCeiling           ReasonCode = "NAME_CEILING"
	ReasonKeyWrong              ReasonCode = "KEY_WRONG"
	ReasonModeNoTrade           ReasonCode = "MODE_NO_TRADE"
	ReasonModeReduceOnly        ReasonCode = "MODE_REDUCE_ONLY"
	ReasonModeLimitOnly         ReasonCode = "MODE_LIMIT_ONLY"
	ReasonSizeReduced           ReasonCode = "SIZE_REDUCED"
	ReasonPriceRounded          ReasonCode = "PRICE_ROUNDED"
	ReasonQuantityRounded       ReasonCode = "QUANTITY_ROUNDED"
	ReasonQuantityTooSmall      ReasonCode = "QUANTITY_TOO_SMALL"
	ReasonQuantityTooLarge      ReasonCode = "QUANTITY_TOO_LARGE"
	ReasonNotionalTooSmall      ReasonCode = "NOTIONAL_TOO_SMALL"
	ReasonInstrumentUnknown     ReasonCode = "INSTRUMENT_UNKNOWN"
	ReasonPriceMissing          ReasonCode = "PRICE_MISSING"
	ReasonPriceInvalid          ReasonCode = "PRICE_INVALID"
	ReasonIntentsPerEvent       ReasonCode = "INTENTS_PER_EVENT"
	ReasonIntentsPerRun         ReasonCode = "INTENTS_PER_RUN"
	ReasonIntentsPerSecond      ReasonCode = "INTENTS_PER_SECOND"
	ReasonIntentsPerInstance    ReasonCode = "INTENTS_PER_INSTANCE"
	ReasonCancelsPerSecond      ReasonCode = "CANCELS_PER_SECOND"
	ReasonTargetUnknown         ReasonCode = "TARGET_UNKNOWN"
	ReasonValidUntilPassed      ReasonCode = "VALID_UNTIL_PASSED"
	ReasonRestrictedBeforeOffer ReasonCode = "RESTRICTED_BEFORE_OFFER"
	ReasonEpochPassed           ReasonCode = "EPOCH_PASSED"
	ReasonApprovalDenied        ReasonCode = "APPROVAL_DENIED"
	ReasonApprovalTimeout       ReasonCode = "APPROVAL_TIMEOUT"

	// Positions, sinks and the ledger.
	ReasonPositionUnknown         ReasonCode = "POSITION_UNKNOWN"
	ReasonExecutionGap            ReasonCode = "EXECUTION_GAP"
	ReasonSinkUnavailable         ReasonCode = "SINK_UNAVAILABLE"
	ReasonSinkRefused             ReasonCode = "SINK_REFUSED"
	ReasonSinkForgot              ReasonCode = "SINK_FORGOT"
	ReasonRiskUnavailable         ReasonCode = "RISK_UNAVAILABLE"
	ReasonMarketUnavailable       ReasonCode = "MARKET_UNAVAILABLE"
	ReasonPersistFailed           ReasonCode = "PERSIST_FAILED"
	ReasonLedgerFull              ReasonCode = "LEDGER_FULL"
	ReasonLedgerCorrupt           ReasonCode = "LEDGER_CORRUPT"
	ReasonRowsLost                ReasonCode = "ROWS_LOST"
	ReasonCheckpointCorrupt       ReasonCode = "CHECKPOINT_CORRUPT"
	ReasonCheckpointFailed        ReasonCode = "CHECKPOINT_FAILED"
	ReasonStateSchemaIncompatible ReasonCode = "STATE_SCHEMA_INCOMPATIBLE"

	// The operator, risk and safety.
	ReasonOperatorHalt        ReasonCode = "OPERATOR_HALT"
	ReasonOperatorResume      ReasonCode = "OPERATOR_RESUME"
	ReasonOperatorMode        ReasonCode = "OPERATOR_MODE"
	ReasonOperatorCancelAll   ReasonCode = "OPERATOR_CANCEL_ALL"
	ReasonOperatorHedgeToFlat ReasonCode = "OPERATOR_HEDGE_TO_FLAT"
	ReasonOperatorAbandon     ReasonCode = "OPERATOR_ABANDON"
	ReasonSafetyFreeze        ReasonCode = "SAFETY_FREEZE"
	ReasonSafetyCancelAll     ReasonCode = "SAFETY_CANCEL_ALL"
	ReasonSafetyHedgeToFlat   ReasonCode = "SAFETY_HEDGE_TO_FLAT"
	ReasonSafetyHalt          ReasonCode = "SAFETY_HALT"
	ReasonRiskRestriction     ReasonCode = "RISK_RESTRICTION"

	// Guards.
	ReasonBreakerTimeouts    ReasonCode = "BREAKER_TIMEOUTS"
	ReasonBreakerFaults      ReasonCode = "BREAKER_FAULTS"
	ReasonBreakerIntents     ReasonCode = "BREAKER_INTENTS"
	ReasonBreakerRejects     ReasonCode = "BREAKER_REJECTS"
	ReasonBreakerThrottled   ReasonCode = "BREAKER_THROTTLED"
	ReasonCooldownOver       ReasonCode = "COOLDOWN_OVER"
	ReasonConditionMet       ReasonCode = "CONDITION_MET"
	ReasonQueueCeiling       ReasonCode = "QUEUE_CEILING"
	ReasonQualityStale       ReasonCode = "QUALITY_STALE"
	ReasonQualityGap         ReasonCode = "QUALITY_GAP"
	ReasonQualityDup         ReasonCode = "QUALITY_DUP"
	ReasonQualityOutOfOrder  ReasonCode = "QUALITY_OUT_OF_ORDER"
	ReasonQualityClockSkew   ReasonCode = "QUALITY_CLOCK_SKEW"
	ReasonClockJump          ReasonCode = "CLOCK_JUMP"
	ReasonWarmup             ReasonCode = "WARMUP"
	ReasonRecovering         ReasonCode = "RECOVERING"
	ReasonSLOLatency         ReasonCode = "SLO_LATENCY"
	ReasonSLODrops           ReasonCode = "SLO_DROPS"
	ReasonSLOCPU             ReasonCode = "SLO_CPU"
	ReasonNoProgress         ReasonCode = "NO_PROGRESS"
	ReasonMute               ReasonCode = "MUTE"
	ReasonComputeStale       ReasonCode = "COMPUTE_STALE"
	ReasonComputeCongested   ReasonCode = "COMPUTE_CONGESTED"
	ReasonComputeLost        ReasonCode = "COMPUTE_LOST"
	ReasonComputeUnavailable ReasonCode = "COMPUTE_UNAVAILABLE"

	// External services and proposals.
	ReasonServiceNotAllowed      ReasonCode = "SERVICE_NOT_ALLOWED"
	ReasonServiceSchemaUnsafe    ReasonCode = "SERVICE_SCHEMA_UNSAFE"
	ReasonServiceRequestInvalid  ReasonCode = "SERVICE_REQUEST_INVALID"
	ReasonServiceRate            ReasonCode = "SERVICE_RATE"
	ReasonServiceUnreachable     ReasonCode = "SERVICE_UNREACHABLE"
	ReasonServiceTimeout         ReasonCode = "SERVICE_TIMEOUT"
	ReasonServiceTooLarge        ReasonCode = "SERVICE_TOO_LARGE"
	ReasonServiceRedirected      ReasonCode = "SERVICE_REDIRECTED"
	ReasonServiceStatus          ReasonCode = "SERVICE_STATUS"
	ReasonServiceMalformed       ReasonCode = "SERVICE_MALFORMED"
	ReasonServiceResponseInvalid ReasonCode = "SERVICE_RESPONSE_INVALID"
	ReasonServiceProxyLost       ReasonCode = "SERVICE_PROXY_LOST"
	ReasonProposalMissing        ReasonCode = "PROPOSAL_MISSING"
	ReasonProposalExceeded       ReasonCode = "PROPOSAL_EXCEEDED"
	ReasonProposalRefused        ReasonCode = "PROPOSAL_REFUSED"

	// Starts, stops and feeds.
	ReasonLeaseHeld         ReasonCode = "LEASE_HELD"
	ReasonLeaseHung         ReasonCode = "LEASE_HUNG"
	ReasonLeaseLost         ReasonCode = "LEASE_LOST"
	ReasonLeaseUnusable     ReasonCode = "LEASE_UNUSABLE"
	ReasonSecondOwner       ReasonCode = "SECOND_OWNER"
	ReasonShutdownRequested ReasonCode = "SHUTDOWN_REQUESTED"
	ReasonFeedEnded         ReasonCode = "FEED_ENDED"
	ReasonFeedMalformed     ReasonCode = "FEED_MALFORMED"
	ReasonConfigInvalid     ReasonCode = "CONFIG_INVALID"
	ReasonDescriptorInvalid ReasonCode = "DESCRIPTOR_INVALID"
	// A sandbox's own refusals, and what it did by itself.
	ReasonRunnerKilled         ReasonCode = "RUNNER_KILLED"
	ReasonSandboxPIDs          ReasonCode = "SANDBOX_PIDS"
	ReasonSandboxDisk          ReasonCode = "SANDBOX_DISK"
	ReasonSandboxSpecInvalid   ReasonCode = "SANDBOX_SPEC_INVALID"
	ReasonSandboxHelperLost    ReasonCode = "SANDBOX_HELPER_LOST"
	ReasonSandboxHelperRefused ReasonCode = "SANDBOX_HELPER_REFUSED"
	ReasonPrivilegesKept       ReasonCode = "PRIVILEGES_KEPT"

	// The images of containers.
	ReasonImageInvalid      ReasonCode = "IMAGE_INVALID"
	ReasonImageArchitecture ReasonCode = "IMAGE_ARCHITECTURE"
	ReasonImageNoPython     ReasonCode = "IMAGE_NO_PYTHON"
	ReasonImageNoSDK        ReasonCode = "IMAGE_NO_SDK"
	ReasonImageBuildFailed  ReasonCode = "IMAGE_BUILD_FAILED"
	ReasonImageDiskFull     ReasonCode = "IMAGE_DISK_FULL"

	// The Wasm runner.
	ReasonWasmInvalid       ReasonCode = "WASM_INVALID"
	ReasonWasmCompileFailed ReasonCode = "WASM_COMPILE_FAILED"
	ReasonWasmTrap          ReasonCode = "WASM_TRAP"
	ReasonWasmReturnInvalid ReasonCode = "WASM_RETURN_INVALID"

	// What I says.
	ReasonEpochUnknown   ReasonCode = "EPOCH_UNKNOWN"
	ReasonNoHello        ReasonCode = "NO_HELLO"
	ReasonCursorAhead    ReasonCode = "CURSOR_AHEAD"
	ReasonDigestMismatch ReasonCode = "DIGEST_MISMATCH"
	ReasonTombstoned     ReasonCode = "TOMBSTONED"
	ReasonInvalidIntent  ReasonCode = "INVALID_INTENT"
	ReasonTooManyOrders  ReasonCode = "TOO_MANY_ORDERS"

	// Findings in files that people write.
	ReasonDescriptorFile      ReasonCode = "DESCRIPTOR_FILE"
	ReasonDescriptorSyntax    ReasonCode = "DESCRIPTOR_SYNTAX"
	ReasonDescriptorUnknown   ReasonCode = "DESCRIPTOR_UNKNOWN"
	ReasonDescriptorMissing   ReasonCode = "DESCRIPTOR_MISSING"
	ReasonDescriptorType      ReasonCode = "DESCRIPTOR_TYPE"
	ReasonDescriptorRange     ReasonCode = "DESCRIPTOR_RANGE"
	ReasonDescriptorFormat    ReasonCode = "DESCRIPTOR_FORMAT"
	ReasonDescriptorDuplicate ReasonCode = "DESCRIPTOR_DUPLICATE"
	ReasonDescriptorConflict  ReasonCode = "DESCRIPTOR_CONFLICT"
	ReasonPolicyExceeded      ReasonCode = "POLICY_EXCEEDED"
	ReasonSecretValue         ReasonCode = "SECRET_VALUE"
	ReasonPackageInvalid      ReasonCode = "PACKAGE_INVALID"
)

var byCode = func() map[ReasonCode]Reason {
	m := make(map[ReasonCode]Reason, len(catalogue))
	for _, r := range catalogue {
		m[r.Code] = r
	}
	return m
}()

// Reasons returns the whole catalogue.
func Reasons() []Reason { return slices.Clone(catalogue) }

// Lookup finds the entry of a code; false for codes that are not in the catalogue, such as those that peers invent.
func Lookup(code ReasonCode) (Reason, bool) {
	r, ok := byCode[code]
	return r, ok
}
