package feed

import (
	"errors"
	"fmt"
)

// The kinds of failure that Open and Source.Next tell apart; test with errors.Is.
var (
	// ErrMalformed marks a *LineError: one line cannot be read, the rest can.
	ErrMalformed = errors.New("malformed line")
	// ErrTruncated marks a *FileError: the file ends before its end.
	ErrTruncated = errors.New("file is cut short")
	// ErrDamaged marks a *FileError: the file's compression or checksum is wrong.
	ErrDamaged = errors.New("file is damaged")
	// ErrFormat marks a file whose format, instrument or clock cannot be told.
	ErrFormat = errors.New("feed cannot be read as it is")
)

// LineError says which line could not be read, why, and what to do. Next may be called again.
type LineError struct {
	File   string
	Line   int64 // from 1
	Cause  error
	Remedy string
}

// Error gives place, cause and remedy.
func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %v; %s", e.File, e.Line, e.Cause, e.Remedy)
}

// Unwrap makes errors.Is(err, ErrMalformed) true and keeps the cause reachable.
func (e *LineError) Unwrap() []error { return []error{ErrMalformed, e.Cause} }

// FileError says that a file ended before its end, or that its bytes cannot be trusted from Line on. All events of whole lines
// before it have been delivered.
type FileError struct {
	File  string
	Line  int64 // lines that were whole
	Kind  error // ErrTruncated or ErrDamaged
	Cause error
}

// Error gives place, cause and remedy.
func (e *FileError) Error() string {
	return fmt.Sprintf("%s: %v after line %d (%v); the events up to there were delivered; fetch the file again, or go on without the rest",
		e.File, e.Kind, e.Line, e.Cause)
}

// Unwrap makes errors.Is work with the kind and the cause.
func (e *FileError) Unwrap() []error { return []error{e.Kind, e.Cause} }

// formatError makes an error of Open that says what to do.
func formatError(path, cause, remedy string) error {
	return fmt.Errorf("%s: %w: %s; %s", path, ErrFormat, cause, remedy)
}
