package wasm

import (
	"fmt"

	"github.com/msup/msup/sandbox"
)

// The exit statuses of a runner. A guest that asks for one of them with proc_exit gets lastGuestStatus, so they say
// truthfully what the runner saw. What else stands for: 0 the socket ended or Stop was answered, 2 Go's runtime gave up (out
// of memory, for one), everything up to 239 the guest's own proc_exit.
const (
	statusTrap    = 240 // the guest trapped
	statusReturn  = 241 // it returned an address, a length or frames that cannot be true
	statusInvalid = 242 // it cannot be instantiated
	statusABI     = 243 // it speaks another version of the guest ABI
	statusPipe    = 244 // the runner itself: reading or writing failed

	lastGuestStatus = 239
)

func guestStatus(code uint32) int { return int(min(code, lastGuestStatus)) }

// guestError is the end of a guest.
type guestError struct {
	status int
	doing  string
	err    error
}

func (e *guestError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *guestError) Unwrap() error { return e.err }

// explain gives an exit of the process sandbox the meaning that its status has here.
func explain(e sandbox.Exit) sandbox.Exit {
	if e.Cause != sandbox.CauseExited {
		return e
	}
	known := func(reason sandbox.ReasonCode, detail string) {
		e.Reason, e.Detail = reason, detail+"; its last lines tell more"
	}
	switch e.Code {
	case statusTrap:
		known(sandbox.ReasonWasmTrap, "the strategy's code trapped (panic, access outside of its memory, or a stack that is too deep)")
	case statusReturn:
		known(sandbox.ReasonWasmReturn, "the strategy's module returned an address, a length or frames that cannot be true")
	case statusInvalid:
		known(sandbox.ReasonWasmInvalid, "the module could not be instantiated")
	case statusABI:
		known(sandbox.ReasonABI, fmt.Sprintf("the module speaks another version of the guest ABI than %d", GuestABI))
	case statusPipe:
		known(sandbox.ReasonExited, "the runner could not read or write its socket")
	}
	return e
}
