package sandbox

import (
	"errors"
	"fmt"

	"github.com/msup/msup/ipc"
)

// ReasonCode is a code from the catalogue that `msup explain` describes (SB-8).
type ReasonCode = ipc.ReasonCode

// The reasons that sandboxes give.
const (
	ReasonOOM           = ipc.ReasonRunnerOOM
	ReasonSetupOOM      = ipc.ReasonSandboxOOM // too little memory even for the start
	ReasonLogCeiling    = ipc.ReasonLogCeiling
	ReasonSetupFailed   = ipc.ReasonSandboxSetupFailed // the host, or something that the spec names, does not allow it
	ReasonExited        = ipc.ReasonRunnerExited
	ReasonSignaled      = ipc.ReasonRunnerSignaled
	ReasonNoConnection  = ipc.ReasonHandshakeFailed
	ReasonSocketTooLong = ipc.ReasonSocketPathTooLong

	ReasonKilled = ipc.ReasonRunnerKilled       // the supervisor did it, and knows why
	ReasonPIDs   = ipc.ReasonSandboxPIDs        // a thread above the ceiling was refused
	ReasonDisk   = ipc.ReasonSandboxDisk        // a job wrote more than its output folder may hold
	ReasonSpec   = ipc.ReasonSandboxSpecInvalid // the spec itself is wrong

	ReasonImageInvalid      = ipc.ReasonImageInvalid // no image, damaged, or holding what an image may not
	ReasonImageArchitecture = ipc.ReasonImageArchitecture
	ReasonImageNoPython     = ipc.ReasonImageNoPython
	ReasonImageNoSDK        = ipc.ReasonImageNoSDK
	ReasonImageBuildFailed  = ipc.ReasonImageBuildFailed
	ReasonImageDiskFull     = ipc.ReasonImageDiskFull

	ReasonWasmInvalid = ipc.ReasonWasmInvalid       // the module cannot be run here
	ReasonWasmCompile = ipc.ReasonWasmCompileFailed // the compiler's sandbox stopped it
	ReasonWasmTrap    = ipc.ReasonWasmTrap
	ReasonWasmReturn  = ipc.ReasonWasmReturnInvalid
	ReasonABI         = ipc.ReasonABIMismatch
)

// ErrLost is in the chain of a start's error when something outside took away what the start stood on: the engine was killed, or the first
// process before it was the strategy. The same start may succeed when it is begun anew.
var ErrLost = errors.New("lost to something outside")

// Error is a refusal by a sandbox: where, why, and what to do.
type Error struct {
	Reason ReasonCode
	Op     string // what was being done, for example "bind /opt/strategy"
	Err    error
	Remedy string
}

// Error returns place, cause and remedy in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Reason, e.Op, e.Err)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
