package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/lease"
	"github.com/msup/msup/supervisor/pack"
)

// exitCode is the one table of exit codes; `msup help exit-codes` prints it.
type exitCode struct {
	Code    int    `json:"code"`
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
}

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitFeed        = 4
	exitState       = 5
	exitSandbox     = 6
	exitHalted      = 7
	exitDiverged    = 8
	exitBoundary    = 9
	exitInterrupted = 130
)

var exitCodes = []exitCode{
	{exitOK, "ok", "everything asked for was done"},
	{exitFailed, "failed", "something else went wrong; the message says what"},
	{exitUsage, "usage", "the command line is wrong; nothing was started"},
	{exitRefused, "refused", "a descriptor, deployment, configuration or package was refused; nothing was started"},
	{exitFeed, "feed", "the feed cannot be read, is malformed or cut off; everything before that place was played and is safe"},
	{exitState, "state", "the state directory or a lease is in use, unwritable, full, of another version, or damaged; nothing was overwritten"},
	{exitSandbox, "sandbox", "this host cannot isolate a strategy as demanded; msup doctor says what is missing"},
	{exitHalted, "halted", "the run ended, and at least one instance was halted; the summary names the reason"},
	{exitDiverged, "diverged", "a replay gave another answer than the recorded one; the first differing step is shown"},
	{exitBoundary, "boundary", "I, H, J or E cannot be reached, or refused this supervisor"},
	{exitInterrupted, "interrupted", "Ctrl-C or SIGTERM: everything was flushed, nothing is left behind"},
}

// exitError carries an exit code to the end of the program.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exit(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// errUsage marks errors of the command line.
var errUsage = errors.New("usage")

// codeOf finds the exit code of an error.
func codeOf(err error) int {
	var coded *exitError
	var sandboxError *sandbox.Error
	var diverged *supervisor.Divergence
	var stateError *statedb.Error
	var leaseError *lease.Error
	var incompatible *supervisor.IncompatibleError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &diverged):
		return exitDiverged
	case errors.As(err, &stateError), errors.As(err, &leaseError):
		return exitState
	case errors.As(err, &sandboxError) && sandboxError.Reason == sandbox.ReasonSignaled:
		return exitFailed // somebody ended it: no word on what this host can isolate
	case errors.As(err, &sandboxError):
		return exitSandbox
	case isFindings(err), errors.As(err, &incompatible):
		return exitRefused
	case errors.Is(err, feed.ErrMalformed), errors.Is(err, feed.ErrTruncated):
		return exitFeed
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// reasonOf finds the reason code under which msup explain says more; "" when the error says all there is.
func reasonOf(err error) ipc.ReasonCode {
	var sandboxError *sandbox.Error
	var mismatch *pack.HashMismatch
	var diverged *supervisor.Divergence
	var leaseError *lease.Error
	var incompatible *supervisor.IncompatibleError
	switch {
	case errors.As(err, &incompatible):
		return incompatible.Reason
	case errors.As(err, &sandboxError):
		return sandboxError.Reason
	case errors.As(err, &leaseError):
		return leaseError.Reason
	case errors.As(err, &mismatch):
		return ipc.ReasonPackageHashMismatch
	case errors.As(err, &diverged):
		return ipc.ReasonDiverged
	case errors.Is(err, statedb.ErrLocked):
		return ipc.ReasonLeaseHeld
	case errors.Is(err, statedb.ErrDiskFull):
		return ipc.ReasonLedgerFull
	case errors.Is(err, statedb.ErrRowsLost):
		return ipc.ReasonRowsLost
	case errors.Is(err, statedb.ErrCorrupt), errors.Is(err, statedb.ErrChain):
		return ipc.ReasonLedgerCorrupt
	case isFindings(err):
		return ipc.ReasonDescriptorInvalid
	case errors.Is(err, feed.ErrMalformed), errors.Is(err, feed.ErrTruncated):
		return ipc.ReasonFeedMalformed
	}
	return ""
}

func isFindings(err error) bool {
	_, ok := descriptor.AsFindings(err)
	return ok
}

func printExitCodes(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range exitCodes {
		if _, err := fmt.Fprintf(t, "%d\t%s\t%s\n", c.Code, c.Name, c.Meaning); err != nil {
			return err
		}
	}
	return t.Flush()
}
