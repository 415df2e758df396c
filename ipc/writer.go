package ipc

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// writer appends canonical msgpack and keeps the first error. What no reader would take is refused here, at its cause.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(field, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...))
	}
}

// within puts the list element that was being written in front of a new error.
func (w *writer) within(list string, i int) {
	if w.err != nil {
		w.err = fmt.Errorf("%s[%d].%w", list, i, w.err)
	}
}

func (w *writer) array(n int)       { w.b = msgp.AppendArrayHeader(w.b, uint32(n)) }
func (w *writer) null()             { w.b = append(w.b, codeNil) }
func (w *writer) uint(v uint64)     { w.b = msgp.AppendUint64(w.b, v) }
func (w *writer) bool(v bool)       { w.b = msgp.AppendBool(w.b, v) }
func (w *writer) nanos(v Nanos)     { w.int(int64(v)) }
func (w *writer) code(v ReasonCode) { w.tag("reason", string(v)) }

// int writes the shortest form: msgp.AppendInt64 would spend a signed format, one size up, on numbers such as 200.
func (w *writer) int(v int64) {
	if v >= 0 {
		w.b = msgp.AppendUint64(w.b, uint64(v))
		return
	}
	w.b = msgp.AppendInt64(w.b, v)
}

func (w *writer) enum(field string, v, least, most uint8) {
	if v < least || v > most {
		w.fail(field, "%d; allowed are %d to %d", v, least, most)
	}
	w.uint(uint64(v))
}

func (w *writer) float(field string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.fail(field, "%v is not a finite number", v)
	}
	w.b = msgp.AppendFloat64(w.b, v)
}

func (w *writer) str(field, s string, limit int) {
	if len(s) > limit {
		w.fail(field, "%d bytes; at most %d are allowed", len(s), limit)
	} else if !utf8.ValidString(s) {
		w.fail(field, "%q is not UTF-8", s)
	}
	w.b = msgp.AppendString(w.b, s)
}

func (w *writer) id(field, s string)  { w.str(field, s, MaxIDBytes) }
func (w *writer) tag(field, s string) { w.str(field, s, MaxTagBytes) }

func (w *writer) bin(field string, v []byte, limit int) {
	if len(v) > limit {
		w.fail(field, "%d bytes; at most %d are allowed", len(v), limit)
		return
	}
	w.b = msgp.AppendBytes(w.b, v)
}

func (w *writer) list(field string, n, limit int) {
	if n > limit {
		w.fail(field, "%d elements; at most %d are allowed", n, limit)
	}
	w.array(n)
}

func (w *writer) dec(field string, d Decimal) {
	if !d.Valid() {
		w.fail(field, "decimal with mantissa %d and exponent %d is not canonical; make it with NewDecimal", d.M, d.E)
	}
	w.b = appendDecimal(w.b, d)
}

func (w *writer) optDec(field string, d *Decimal) {
	if d == nil {
		w.null()
		return
	}
	w.dec(field, *d)
}

func appendDecimal(b []byte, d Decimal) []byte {
	b = append(b, codeExt8, 9, decimalExt)
	b = binary.BigEndian.AppendUint64(b, uint64(d.M))
	return append(b, byte(d.E))
}

// AppendDecimal appends the msgpack form of d; an error when d is not canonical.
func AppendDecimal(b []byte, d Decimal) ([]byte, error) {
	w := writer{b: b}
	w.dec("decimal", d)
	return w.done(b)
}

// done returns the bytes, or those from before with the error.
func (w *writer) done(before []byte) ([]byte, error) {
	if w.err != nil {
		return before, w.err
	}
	return w.b, nil
}
