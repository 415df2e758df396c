package lease

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// Kinds of failure, for errors.Is.
var (
	ErrHeld       = errors.New("the lease is in use")
	ErrHung       = errors.New("the lease is in use by a process that is silent beyond its ttl")
	ErrUnknown    = errors.New("the lease is in use by a process that cannot be identified")
	ErrLost       = errors.New("the lease is lost")
	ErrForeign    = errors.New("not a lease of msup")
	ErrUnwritable = errors.New("the lease directory is not writable")
	ErrDiskFull   = errors.New("disk full")
	ErrIO         = errors.New("the lease directory failed")
	ErrClosed     = errors.New("lease keeper closed")
)

// Error is a failure that a person has to act on: where, why, and what to do.
type Error struct {
	Kind   error // one of the Err… values
	Reason ipc.ReasonCode
	Place  string // address or file
	Cause  string
	Remedy string
	Status *Status // of the lease, where somebody holds it
	Err    error   // underlying error, may be nil
}

// Error puts everything into one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Place + ": " + e.Kind.Error())
	if e.Cause != "" {
		b.WriteString(": " + e.Cause)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
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

const remedyDir = "name another directory with --lease-dir, the same for every msup of this host"

// fileError gives an error of the file system its kind; nil stays nil, and so does one that has its kind.
func fileError(place, doing string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	e := &Error{Kind: ErrIO, Reason: ipc.ReasonLeaseUnusable, Place: place, Cause: doing, Err: err, Remedy: "check the file system it lies on, or " + remedyDir}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		e.Kind, e.Remedy = ErrDiskFull, "free space on its file system, or "+remedyDir
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		e.Kind, e.Remedy = ErrUnwritable, "give this user write permission, or "+remedyDir
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
		e.Kind, e.Remedy = ErrForeign, "remove what lies there if nothing needs it, or "+remedyDir
	}
	return e
}

// foreign says that something of somebody else lies where a lease should.
func foreign(place, cause string) error {
	return &Error{Kind: ErrForeign, Reason: ipc.ReasonLeaseUnusable, Place: place, Cause: cause,
		Remedy: "remove it if nothing needs it, or " + remedyDir}
}
