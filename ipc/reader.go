package ipc

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Reader decodes frames. It keeps the first error and a small cache of strings that come again and again (ids), so one
// Reader per session decodes without allocating them anew. It is not safe for concurrent use. The zero Reader takes
// messages FromAnyone.
//
// Nothing that a Reader returns refers to the frame: the frame's buffer may be reused at once.
type Reader struct {
	from  Direction
	typ   MessageType
	depth int
	size  int    // of the frame
	rest  []byte // what has not been read yet
	err   *DecodeError
	names *nameCache
}

// NewReader returns a Reader with a string cache for one session.
func NewReader(from Direction) *Reader { return &Reader{from: from, names: new(nameCache)} }

func (r *Reader) reset(b []byte) {
	r.typ, r.depth, r.size, r.rest, r.err = 0, 0, len(b), b, nil
}

// fail keeps the first error and empties the rest, so that every further read ends at once.
func (r *Reader) fail(class ErrorClass, field, detail string) {
	if r.err == nil {
		r.err = &DecodeError{Class: class, Type: r.typ, Field: field, Offset: r.size - len(r.rest), Detail: detail}
	}
	r.rest = nil
}

func (r *Reader) failMsgp(field string, err error) { r.fail(classify(err), field, err.Error()) }

// within puts the list element or part that was being read in front of the field of a new error.
func (r *Reader) within(list string, i int) {
	if r.err == nil {
		return
	}
	prefix := list
	if i >= 0 {
		prefix = fmt.Sprintf("%s[%d]", list, i)
	}
	if r.err.Field == "" {
		r.err.Field = prefix
		return
	}
	r.err.Field = prefix + "." + r.err.Field
}

// finish returns the sticky error, or the one for bytes after the value.
func (r *Reader) finish() error {
	if r.err == nil && len(r.rest) != 0 {
		r.fail(ClassTrailingBytes, "", "bytes after the end of the array")
	}
	if r.err != nil {
		return r.err
	}
	return nil
}

// array opens an array of at least least elements; end closes it.
func (r *Reader) array(field string, least int) int {
	n, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	switch {
	case r.err != nil:
		return 0
	case err != nil:
		r.failMsgp(field, err)
		return 0
	case int(n) < least:
		r.fail(ClassShortArray, field, fmt.Sprintf("%d elements; %d are mandatory", n, least))
		return 0
	case uint64(n) > uint64(len(rest)):
		r.fail(ClassTruncated, field, fmt.Sprintf("%d elements promised, %d bytes left", n, len(rest)))
		return 0
	}
	r.enter(field)
	if r.err != nil {
		return 0
	}
	r.rest = rest
	return int(n)
}

func (r *Reader) enter(field string) {
	if r.depth++; r.depth > MaxDepth {
		r.fail(ClassTooDeep, field, fmt.Sprintf("nested deeper than %d", MaxDepth))
	}
}

// end skips the elements that this version does not know and closes the array.
func (r *Reader) end(n, known int) {
	for i := known; i < n && r.err == nil; i++ {
		r.skip()
	}
	r.depth--
}

// list opens an array of at most limit elements of at least elementBytes each; the caller closes it with endList.
func (r *Reader) list(field string, limit, elementBytes int) int {
	n, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	if r.err == nil && err != nil {
		r.failMsgp(field, err)
	}
	return r.count(field, n, rest, limit, elementBytes)
}

// table is list for a map: elementBytes is the least size of key and value together.
func (r *Reader) table(field string, limit, elementBytes int) int {
	n, rest, err := msgp.ReadMapHeaderBytes(r.rest)
	if r.err == nil && err != nil {
		r.failMsgp(field, err)
	}
	return r.count(field, n, rest, limit, elementBytes)
}

func (r *Reader) count(field string, n uint32, rest []byte, limit, elementBytes int) int {
	switch {
	case r.err != nil:
		return 0
	case uint64(n)*uint64(elementBytes) > uint64(len(rest)):
		r.fail(ClassTruncated, field, fmt.Sprintf("%d elements promised, %d bytes left", n, len(rest)))
		return 0
	case uint64(n) > uint64(limit):
		r.fail(ClassTooMany, field, fmt.Sprintf("%d elements; at most %d are allowed", n, limit))
		return 0
	}
	r.enter(field)
	if r.err != nil {
		return 0
	}
	r.rest = rest
	return int(n)
}

func (r *Reader) endList() { r.depth-- }

// null takes a nil; false when something else comes.
func (r *Reader) null() bool {
	if len(r.rest) == 0 || r.rest[0] != codeNil {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *Reader) uint(field string, most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, rest, err := msgp.ReadUint64Bytes(r.rest)
	if err != nil {
		r.failMsgp(field, err)
		return 0
	}
	if v > most {
		r.fail(ClassRange, field, fmt.Sprintf("%d; at most %d is allowed", v, most))
		return 0
	}
	r.rest = rest
	return v
}

func (r *Reader) u64(field string) uint64 { return r.uint(field, math.MaxUint64) }
func (r *Reader) u32(field string) uint32 { return uint32(r.uint(field, math.MaxUint32)) }
func (r *Reader) u8(field string) uint8   { return uint8(r.uint(field, math.MaxUint8)) }

// enum reads a number from least to most.
func (r *Reader) enum(field string, least, most uint8) uint8 {
	before := r.rest
	v := r.uint(field, math.MaxUint64)
	if r.err == nil && (v < uint64(least) || v > uint64(most)) {
		r.rest = before
		r.fail(ClassRange, field, fmt.Sprintf("%d; allowed are %d to %d", v, least, most))
		return 0
	}
	return uint8(v)
}

func (r *Reader) int(field string) int64 {
	if r.err != nil {
		return 0
	}
	v, rest, err := msgp.ReadInt64Bytes(r.rest)
	if err != nil {
		r.failMsgp(field, err)
		return 0
	}
	r.rest = rest
	return v
}

func (r *Reader) nanos(field string) Nanos { return Nanos(r.int(field)) }

func (r *Reader) bool(field string) bool {
	if r.err != nil {
		return false
	}
	v, rest, err := msgp.ReadBoolBytes(r.rest)
	if err != nil {
		r.failMsgp(field, err)
		return false
	}
	r.rest = rest
	return v
}

func (r *Reader) float(field string) float64 {
	switch {
	case r.err != nil:
		return 0
	case len(r.rest) == 0:
		r.fail(ClassTruncated, field, "no bytes left")
		return 0
	case r.rest[0] != codeFloat64:
		r.fail(ClassWrongType, field, fmt.Sprintf("expected a float64, found %v", msgp.NextType(r.rest)))
		return 0
	}
	v, rest, err := msgp.ReadFloat64Bytes(r.rest)
	switch {
	case err != nil:
		r.failMsgp(field, err)
		return 0
	case math.IsNaN(v) || math.IsInf(v, 0):
		r.fail(ClassFloat, field, "not a number, or infinite")
		return 0
	}
	r.rest = rest
	return v
}

// str reads a string of at most limit bytes.
func (r *Reader) str(field string, limit int) string {
	if r.err != nil {
		return ""
	}
	v, rest, err := msgp.ReadStringZC(r.rest)
	switch {
	case err != nil:
		r.failMsgp(field, err)
		return ""
	case len(v) > limit:
		r.fail(ClassTooLong, field, fmt.Sprintf("%d bytes; at most %d are allowed", len(v), limit))
		return ""
	case !utf8.Valid(v):
		r.fail(ClassUTF8, field, "not UTF-8")
		return ""
	}
	r.rest = rest
	return r.names.get(v)
}

func (r *Reader) id(field string) string         { return r.str(field, MaxIDBytes) }
func (r *Reader) tag(field string) string        { return r.str(field, MaxTagBytes) }
func (r *Reader) reason(field string) ReasonCode { return ReasonCode(r.str(field, MaxTagBytes)) }

// bin reads bytes of any length; the result is a copy and never nil.
func (r *Reader) bin(field string, limit int) []byte {
	before := r.rest
	v := r.binView(field)
	if len(v) > limit {
		r.rest = before
		r.fail(ClassTooLong, field, fmt.Sprintf("%d bytes; at most %d are allowed", len(v), limit))
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

// fixed reads a bin of exactly len(into) bytes.
func (r *Reader) fixed(field string, into []byte) {
	before := r.rest
	v := r.binView(field)
	if r.err == nil && len(v) != len(into) {
		r.rest = before
		r.fail(ClassTooLong, field, fmt.Sprintf("%d bytes; it must have %d", len(v), len(into)))
		return
	}
	copy(into, v)
}

func (r *Reader) binView(field string) []byte {
	if r.err != nil {
		return nil
	}
	v, rest, err := msgp.ReadBytesZC(r.rest)
	if err != nil {
		r.failMsgp(field, err)
		return nil
	}
	r.rest = rest
	return v
}

// dec reads a decimal: exactly c7 09 01, mantissa, exponent, canonical.
func (r *Reader) dec(field string) Decimal {
	if r.err != nil {
		return Decimal{}
	}
	b := r.rest
	if len(b) < decimalBytes || b[0] != codeExt8 || b[1] != 9 || b[2] != decimalExt {
		r.failDecimal(field)
		return Decimal{}
	}
	d := Decimal{M: int64(binary.BigEndian.Uint64(b[3:])), E: int8(b[11])}
	if !d.Valid() {
		r.fail(ClassDecimal, field, fmt.Sprintf("%d·10^%d is not canonical", d.M, d.E))
		return Decimal{}
	}
	r.rest = b[decimalBytes:]
	return d
}

func (r *Reader) failDecimal(field string) {
	b := r.rest
	switch {
	case len(b) == 0 || b[0] == codeExt8 && (len(b) < 3 || b[1] == 9 && b[2] == decimalExt):
		r.fail(ClassTruncated, field, "the decimal is cut off")
	case isExt(b[0]):
		r.fail(ClassDecimal, field, "not extension type 1 of 9 bytes with a one-byte length")
	default:
		r.fail(ClassWrongType, field, fmt.Sprintf("expected a decimal, found %v", msgp.NextType(b)))
	}
}

// optDec reads a decimal into d, or takes nil.
func (r *Reader) optDec(field string, d *Decimal) *Decimal {
	if r.null() {
		return nil
	}
	*d = r.dec(field)
	return d
}

// newOptDec is optDec with a decimal of its own.
func (r *Reader) newOptDec(field string) *Decimal {
	if r.null() {
		return nil
	}
	d := r.dec(field)
	return &d
}
