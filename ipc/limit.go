package ipc

// Limits of the wire, checked before anything is allocated.
const (
	MaxFrameBytes     = 16 << 20 // any frame, the length prefix not counted
	MaxAnswerBytes    = 64 << 10 // Answer and BatchAnswer; also HealthReport, Hello
	MaxChunkBytes     = 1 << 20  // data of one Chunk
	MaxStateBytes     = 16 << 20 // a strategy's state
	MaxDepth          = 16       // nesting of arrays and maps
	MaxBatchEvents    = 4096
	MaxIntents        = 256 // of one answer, before the descriptor's ceiling
	MaxTimers         = 256 // of one answer
	MaxComputes       = 64  // of one answer
	MaxTelemetry      = 64  // of one answer
	MaxDeltaEntries   = 1024
	MaxLevels         = 65536 // a side of a book
	MaxRows           = 65536 // instruments of an Init; positions, orders, keys of an event
	MaxHooks          = 64
	MaxTagBytes       = 64       // codes, hints, telemetry tags, timer ids, reasons
	MaxTextBytes      = 4 << 10  // a string among Values, the why of a change
	MaxMessageBytes   = 1024     // a fault's message
	MaxTracebackBytes = 16 << 10 // a fault's traceback
	MaxConfigEntries  = 1024

	maxChunkFrameBytes = MaxChunkBytes + 64
)

// Direction says who sent a frame; it decides which messages are legal and how long a frame may be.
type Direction uint8

// The directions.
const (
	FromAnyone     Direction = 0 // what M itself has stored: every message is legal
	FromRunner     Direction = 1 // runner → supervisor
	FromSupervisor Direction = 2 // supervisor → runner
	FromM          Direction = 3 // M → H, I, J/E
	FromPeer       Direction = 4 // H, I, J/E → M
)

// String returns the name used in error messages and vectors.
func (d Direction) String() string {
	switch d {
	case FromRunner:
		return "runner"
	case FromSupervisor:
		return "supervisor"
	case FromM:
		return "m"
	case FromPeer:
		return "peer"
	}
	return "anyone"
}

// Allows reports whether a message of type t may come from this side.
func (d Direction) Allows(t MessageType) bool {
	switch t {
	case TypeHello, TypeAnswer, TypeBatchAnswer, TypeHealthReport:
		return d == FromRunner || d == FromAnyone
	case TypeInit, TypeDeliver, TypeBatch, TypeCheckpointRequest, TypeHealthcheck, TypeStop:
		return d == FromSupervisor || d == FromAnyone
	case TypeChunk:
		return d == FromRunner || d == FromSupervisor || d == FromAnyone
	case TypeBoundaryHello, TypeOffer, TypeQuery, TypeTombstone, TypeResume, TypeSnapshotRequest, TypeApprovalRequest, TypeSync:
		return d == FromM || d == FromAnyone
	case TypeWelcome, TypeRefused, TypeStatus, TypeLastStep, TypeEvent, TypeApproval:
		return d == FromPeer || d == FromAnyone
	case TypeAck:
		return d == FromM || d == FromPeer || d == FromAnyone
	}
	return false
}

// MaxFrame returns the largest frame of type t that this side may send, in bytes without the length prefix.
func (d Direction) MaxFrame(t MessageType) int {
	switch {
	case d != FromRunner:
		return MaxFrameBytes
	case t == TypeChunk:
		return maxChunkFrameBytes
	}
	return MaxAnswerBytes
}
