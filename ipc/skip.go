package ipc

import (
	"encoding/binary"
	"fmt"
)

// Codes of the msgpack format that this package looks at itself.
const (
	codeNil     = 0xc0
	codeExt8    = 0xc7
	codeFloat64 = 0xcb

	decimalExt   = 1
	decimalBytes = 12
)

func isExt(code byte) bool { return code >= 0xc7 && code <= 0xc9 || code >= 0xd4 && code <= 0xd8 }

// skip passes over one value that this version does not know. msgp.Skip would follow 100,000 levels on the goroutine's
// stack; this one is a loop that knows MaxDepth.
func (r *Reader) skip() {
	var left [MaxDepth + 1]uint64 // values still to pass at each level
	level := r.depth
	left[level] = 1
	for level >= r.depth && r.err == nil {
		if left[level] == 0 {
			level--
			continue
		}
		left[level]--
		size, values, ok := measure(r.rest)
		switch {
		case !ok && len(r.rest) > 0 && r.rest[0] == 0xc1:
			r.fail(ClassInvalid, "(unknown field)", "0xc1 is no msgpack value")
		case !ok || size > uint64(len(r.rest)) || values > uint64(len(r.rest))-size:
			r.fail(ClassTruncated, "(unknown field)", fmt.Sprintf("a value promises more than the %d bytes that are left", len(r.rest)))
		case isContainer(r.rest[0]) && level == MaxDepth:
			r.fail(ClassTooDeep, "(unknown field)", fmt.Sprintf("nested deeper than %d", MaxDepth))
		default:
			container := isContainer(r.rest[0])
			r.rest = r.rest[size:]
			if container {
				level++
				left[level] = values
			}
		}
	}
}

func isContainer(code byte) bool { return code >= 0x80 && code <= 0x9f || code >= 0xdc && code <= 0xdf }

// measure returns the bytes of the value's head and scalar content and the number of values nested directly in it.
func measure(b []byte) (size, values uint64, ok bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	c := b[0]
	switch {
	case c <= 0x7f || c >= 0xe0 || c == codeNil || c == 0xc2 || c == 0xc3:
		return 1, 0, true
	case c <= 0x8f:
		return 1, 2 * uint64(c&0x0f), true
	case c <= 0x9f:
		return 1, uint64(c & 0x0f), true
	case c <= 0xbf:
		return 1 + uint64(c&0x1f), 0, true
	case c == 0xc1:
		return 0, 0, false
	case c >= 0xca && c <= 0xd3: // floats and integers
		return 1 + [...]uint64{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}[c-0xca], 0, true
	case c >= 0xd4 && c <= 0xd8: // fixext 1, 2, 4, 8, 16
		return 2 + 1<<(c-0xd4), 0, true
	}
	// What is left has a length of 1, 2 or 4 bytes after the code.
	width := [...]int{0xc4: 1, 0xc5: 2, 0xc6: 4, 0xc7: 1, 0xc8: 2, 0xc9: 4, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}[c]
	if len(b) < 1+width {
		return 0, 0, false
	}
	var n uint64
	switch width {
	case 1:
		n = uint64(b[1])
	case 2:
		n = uint64(binary.BigEndian.Uint16(b[1:]))
	default:
		n = uint64(binary.BigEndian.Uint32(b[1:]))
	}
	head := uint64(1 + width)
	switch {
	case c >= 0xde:
		return head, 2 * n, true
	case c >= 0xdc:
		return head, n, true
	case isExt(c):
		return head + 1 + n, 0, true
	}
	return head + n, 0, true
}
