package gate

import "github.com/msup/msup/ipc"

// ObligationKind is something that M itself must do (CB-2). Values are stored in the ledger and fixed for ever.
type ObligationKind uint8

// The obligations. Both go with [NoTrade] for the strategy: cancel first, await what is final, then, for a hedge, close the worst case.
const (
	CancelAll   ObligationKind = 1
	HedgeToFlat ObligationKind = 2
)

// Obligation is one of them, from its cause to its end. Its number and attempt are part of the keys of its intents
// ([ipc.Owner.ObligationKey]), so that an attempt that was interrupted is repeated under the same keys.
type Obligation struct {
	No      uint64 // per instance, from 1
	Kind    ObligationKind
	Reason  ipc.ReasonCode
	Attempt uint64    // from 1; the next one only after everything of the previous one is final
	Since   ipc.Nanos // core_ts
}
