package ipc

import (
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// ErrorClass groups decoding errors; the vectors name it, so that all languages refuse the same bytes for the same cause.
type ErrorClass string

// The classes.
const (
	ClassTruncated     ErrorClass = "truncated"       // the bytes end, or a count or length promises more than is left
	ClassWrongType     ErrorClass = "wrong_type"      // another msgpack type than the field has
	ClassRange         ErrorClass = "range"           // a number outside the field's range, an enum value that does not exist
	ClassTooLong       ErrorClass = "too_long"        // a string or bin above its limit, or of another length than a fixed one
	ClassTooMany       ErrorClass = "too_many"        // a count above its limit
	ClassTooDeep       ErrorClass = "too_deep"        // nesting above MaxDepth
	ClassShortArray    ErrorClass = "short_array"     // mandatory fields are missing
	ClassDecimal       ErrorClass = "decimal"         // not the canonical form
	ClassUTF8          ErrorClass = "utf8"            // a string that is not UTF-8
	ClassFloat         ErrorClass = "float"           // NaN or an infinity
	ClassDuplicateKey  ErrorClass = "duplicate_key"   // a map with the same key twice
	ClassUnknownType   ErrorClass = "unknown_type"    // no such message, event or intent
	ClassDirection     ErrorClass = "direction"       // a message that this side may not send
	ClassTrailingBytes ErrorClass = "trailing_bytes"  // bytes after the array
	ClassInvalid       ErrorClass = "invalid"         // not msgpack
	ClassFrameTooLarge ErrorClass = "frame_too_large" // the length prefix is above the limit
	ClassFrameEmpty    ErrorClass = "frame_empty"     // a frame of zero bytes
)

// DecodeError says which bytes broke which rule. It ends the session with the peer that sent them.
type DecodeError struct {
	Class  ErrorClass
	Type   MessageType // 0 when the type itself could not be read
	Field  string      // path inside the message, as "intents[3].quantity"
	Offset int         // bytes from the start of the frame, the length prefix not counted
	Detail string
}

// Error names place and cause.
func (e *DecodeError) Error() string {
	where := "frame"
	if e.Type != 0 {
		where = e.Type.String()
	}
	if e.Field != "" {
		where += "." + e.Field
	}
	return fmt.Sprintf("%s at byte %d: %s: %s", where, e.Offset, e.Class, e.Detail)
}

// ClassOf returns the class of a decoding or framing error, "" for any other error.
func ClassOf(err error) ErrorClass {
	if e, ok := errors.AsType[*DecodeError](err); ok {
		return e.Class
	}
	return ""
}

// classify translates an error of the msgpack primitives.
func classify(err error) ErrorClass {
	if errors.Is(err, msgp.ErrShortBytes) {
		return ClassTruncated
	}
	switch err.(type) {
	case msgp.TypeError:
		return ClassWrongType
	case msgp.UintBelowZero, msgp.UintOverflow, msgp.IntOverflow:
		return ClassRange
	}
	return ClassInvalid
}
