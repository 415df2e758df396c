package ipc

import "fmt"

var messageNames = map[MessageType]string{
	TypeHello: "hello", TypeInit: "init", TypeAnswer: "answer", TypeDeliver: "deliver", TypeBatch: "batch",
	TypeBatchAnswer: "batch_answer", TypeCheckpointRequest: "checkpoint_request", TypeChunk: "chunk",
	TypeHealthcheck: "healthcheck", TypeHealthReport: "health_report", TypeStop: "stop",
	TypeBoundaryHello: "boundary_hello", TypeWelcome: "welcome", TypeRefused: "refused", TypeOffer: "offer",
	TypeQuery: "query", TypeStatus: "status", TypeTombstone: "tombstone", TypeLastStep: "last_step", TypeEvent: "event",
	TypeAck: "ack", TypeResume: "resume", TypeSnapshotRequest: "snapshot_request",
	TypeApprovalRequest: "approval_request", TypeApproval: "approval", TypeSync: "sync",
}

// String returns the name of PROTOCOL.md.
func (t MessageType) String() string {
	if name, ok := messageNames[t]; ok {
		return name
	}
	return fmt.Sprintf("message(%d)", uint8(t))
}

var eventNames = map[EventKind]string{
	KindQuote: "quote", KindTrade: "trade", KindTradeAggregate: "trade_aggregate", KindBookDelta: "book_delta",
	KindBookSnapshot: "book_snapshot", KindBar: "bar", KindQuoteBar: "quote_bar", KindTradingStatus: "trading_status",
	KindExecution: "execution", KindExecutionSnapshot: "execution_snapshot", KindRisk: "risk", KindSafety: "safety",
	KindTimer: "timer", KindManualSignal: "manual_signal", KindComputeResult: "compute_result",
	KindComputeUnavailable: "compute_unavailable", KindConfigUpdate: "config_update", KindRecovered: "recovered",
	KindEventSkipped: "event_skipped", KindIntentsDiscarded: "intents_discarded", KindShutdown: "shutdown",
}

// String returns the name of PROTOCOL.md, used in descriptors, metrics and logs.
func (k EventKind) String() string {
	if name, ok := eventNames[k]; ok {
		return name
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// EventKindByName finds the kind that a descriptor or a feed names.
func EventKindByName(name string) (EventKind, bool) {
	for kind, n := range eventNames {
		if n == name {
			return kind, true
		}
	}
	return 0, false
}

// IntentKindByName finds the kind that a descriptor names.
func IntentKindByName(name string) (IntentKind, bool) {
	for kind := IntentOrder; kind <= IntentRiskHint; kind++ {
		if kind.String() == name {
			return kind, true
		}
	}
	return 0, false
}
