package statedb

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// Kinds of failure, for errors.Is.
var (
	ErrLocked       = errors.New("state directory is in use")
	ErrForeign      = errors.New("not a state directory of msup")
	ErrVersion      = errors.New("other schema version")
	ErrReadOnly     = errors.New("state directory is not writable")
	ErrDiskFull     = errors.New("disk full")
	ErrIO           = errors.New("disk failed")
	ErrCorrupt      = errors.New("database damaged")
	ErrRowsLost     = errors.New("rows lost: the ledger is behind the high-water mark")
	ErrMark         = errors.New("high-water mark unusable")
	ErrChain        = errors.New("hash chain broken")
	ErrVoided       = errors.New("suffix voided by an earlier failed persist")
	ErrEpoch        = errors.New("epoch barred by a higher one")
	ErrDuplicateKey = errors.New("idempotency key already in the ledger")
	ErrUnknownKey   = errors.New("no intent with this key")
	ErrTransition   = errors.New("status may not follow")
	ErrInputGap     = errors.New("input does not follow the last one")
	ErrTooLarge     = errors.New("too large")
	ErrPruned       = errors.New("pruned")
	ErrInvalid      = errors.New("invalid")
	ErrClosed       = errors.New("state database closed")
	ErrNoLedger     = errors.New("no ledger")
	ErrNoCheckpoint = errors.New("no valid checkpoint")
	ErrNotEmpty     = errors.New("directory is not empty")
)

// Error is a failure that a person has to act on: where, why, and what to do.
type Error struct {
	Kind   error  // one of the Err… values
	Place  string // file, instance or row
	Cause  string
	Remedy string
	Err    error // underlying error, may be nil
	// Evidence is the folder to which the files were copied, when they were.
	Evidence string
}

// Error puts everything into one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Place, e.Kind)
	if e.Cause != "" {
		b.WriteString(": " + e.Cause)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Evidence != "" {
		b.WriteString("; the files were copied to " + e.Evidence)
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap gives the kind and the underlying error.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

const (
	remedyRestore = "do not start this instance on the present files: restore the state directory from a backup, or reconcile " +
		"its positions and open orders with I and start it under a new instance id"
	remedySpace = "free space on its filesystem; the instance goes on by itself once a write succeeds"
	remedyDisk  = "check the disk and its mount (dmesg); the instance goes on by itself once a write succeeds"
)

// both joins two errors; a lone one stays what it is.
func both(a, b error) error {
	switch {
	case b == nil:
		return a
	case a == nil:
		return b
	}
	return errors.Join(a, b)
}

// diskError gives an error of SQLite or of the file system its kind; nil stays nil, and so does one that has its kind.
func diskError(place, doing string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err // it names its place and cause already
	}
	e := &Error{Place: place, Cause: doing, Err: err, Kind: ErrIO, Remedy: remedyDisk}
	var se sqlite3.Error
	var errno syscall.Errno
	isSQLite := errors.As(err, &se)
	if isSQLite {
		errno = se.SystemErrno
	} else {
		errors.As(err, &errno)
	}
	switch {
	case isSQLite && se.Code == sqlite3.ErrFull, errno == syscall.ENOSPC, errno == syscall.EDQUOT, errno == syscall.EFBIG:
		e.Kind, e.Remedy = ErrDiskFull, remedySpace
	case isSQLite && (se.Code == sqlite3.ErrReadonly || se.Code == sqlite3.ErrPerm), errno == syscall.EROFS,
		errno == syscall.EACCES, errno == syscall.EPERM, errors.Is(err, fs.ErrPermission):
		e.Kind, e.Remedy = ErrReadOnly, "give this user write permission, or name another directory with --state"
	case isSQLite && se.Code == sqlite3.ErrNotADB:
		e.Kind, e.Remedy = ErrForeign, "name another directory with --state, or restore this one from a backup"
	case isSQLite && (se.Code == sqlite3.ErrCorrupt || se.Code == sqlite3.ErrError || se.Code == sqlite3.ErrMismatch ||
		se.ExtendedCode == sqlite3.ErrIoErrShortRead):
		e.Kind, e.Remedy = ErrCorrupt, remedyRestore
	}
	return e
}
