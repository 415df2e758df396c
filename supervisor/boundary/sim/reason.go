package sim

import "github.com/msup/msup/ipc"

// Reason codes that I gives, from the common catalogue.
const (
	ReasonEpochUnknown   = ipc.ReasonEpochUnknown   // an epoch that no hello has announced
	ReasonNoHello        = ipc.ReasonNoHello        // the connection has not announced the instance
	ReasonCursorAhead    = ipc.ReasonCursorAhead    // M knows more reports than I: I has lost its state
	ReasonDigestMismatch = ipc.ReasonDigestMismatch // the intent's bytes do not sum to the digest offered with them
	ReasonTombstoned     = ipc.ReasonTombstoned     // barred before it was seen
	ReasonInvalidIntent  = ipc.ReasonInvalidIntent  // not an instruction that can be carried out
	ReasonTooManyOrders  = ipc.ReasonTooManyOrders  // the instance has as many open orders as a snapshot can hold
)

// Reasons of execution reports: what the simulated venue says of an order.
const (
	reasonNoQuote      = "NO_QUOTE"
	reasonHalted       = "HALTED"
	reasonPostOnly     = "POST_ONLY"
	reasonReduceOnly   = "REDUCE_ONLY"
	reasonIOC          = "IOC"
	reasonFOK          = "FOK"
	reasonDayEnd       = "DAY_END"
	reasonCanceled     = "CANCELED"
	reasonReplaced     = "REPLACED"
	reasonAtTarget     = "AT_TARGET"
	reasonUnknownOrder = "UNKNOWN_ORDER"
	reasonOverflow     = "POSITION_OVERFLOW"
)
