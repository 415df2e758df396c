package gate

import "github.com/msup/msup/ipc"

// Outcome is the verdict in one word. Values are stored in the ledger and fixed for ever.
type Outcome uint8

// The outcomes. Late is given by the core to the intents of an answer that came after its deadline.
const (
	Accepted Outcome = 1
	Changed  Outcome = 2 // accepted, with less risk than asked for
	Refused  Outcome = 3
	Late     Outcome = 4
)

// String returns the name used in exports and metrics.
func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Changed:
		return "changed"
	case Refused:
		return "refused"
	case Late:
		return "late"
	}
	return "unknown"
}

// Change is one thing that the gate altered, with the value before and after.
type Change struct {
	Field  string
	Before string
	After  string
	Reason ipc.ReasonCode
}

// Verdict is the gate's word on one intent.
type Verdict struct {
	Outcome       Outcome
	Reason        ipc.ReasonCode // of a refusal; of the last change otherwise; "" when accepted as it was
	Detail        string         // what was found, for people
	Changes       []Change
	Intent        *ipc.Intent // after the gate; nil when refused
	RequestDigest ipc.Digest  // before the gate: the KEY_CONFLICT test of the gate
	Digest        ipc.Digest  // after the gate: the test of I
	ValidUntil    ipc.Nanos   // core_ts
	Proposed      bool        // it increases risk, and rests on the proposal that it names (EX-3)
	Taken         ipc.Decimal // of that proposal
	Conflict      bool        // the key was used before with another content: a fault (GT-5)
}

// Permitted reports whether the intent may go on to the ledger as a live one.
func (v *Verdict) Permitted() bool { return v.Outcome == Accepted || v.Outcome == Changed }
