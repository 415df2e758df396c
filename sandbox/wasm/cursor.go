package wasm

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/msup/msup/sandbox"
)

// cursor reads a module's bytes. It keeps the first error, after which every read gives zero and there is nothing left.
type cursor struct {
	b       []byte // what has not been read yet
	end     int    // offset in the module of the end of b
	section string
	err     error
}

// fail refuses the module at the current place.
func (c *cursor) fail(remedy, format string, args ...any) {
	if c.err == nil {
		c.err = invalid(fmt.Sprintf("read the module's %s at byte %d", c.section, c.end-len(c.b)), remedy, fmt.Errorf(format, args...))
	}
	c.b = nil
}

// invalid is the refusal of a module.
func invalid(op, remedy string, err error) error {
	if remedy == "" {
		remedy = remedyBuild
	}
	return &sandbox.Error{Reason: sandbox.ReasonWasmInvalid, Op: op, Err: err, Remedy: remedy}
}

const remedyBuild = "build it again: cargo build --release --target wasm32-wasip1"

var errCut = errors.New("the module ends too early")

func (c *cursor) take(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)) {
		c.fail("", "%w: %d bytes are wanted, %d are left", errCut, n, len(c.b))
		return nil
	}
	got := c.b[:n]
	c.b = c.b[n:]
	return got
}

func (c *cursor) byte() byte {
	if b := c.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (c *cursor) u32() uint32 {
	var v uint32
	for shift := uint(0); ; shift += 7 {
		b := c.byte()
		if c.err != nil {
			return 0
		}
		if shift == 28 && b > 0x0f {
			c.fail("", "a number has more than 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// leb skips a LEB128 number of at most most bytes.
func (c *cursor) leb(most int) {
	for range most {
		if c.byte() < 0x80 {
			return
		}
	}
	c.fail("", "a number has more than %d bytes", most)
}

// count reads the length of a list whose entries have at least least bytes each, and refuses more than the limit or than
// the rest can hold: the readers behind this one allocate by that number.
func (c *cursor) count(what string, limit, least uint32) uint32 {
	n := c.u32()
	switch {
	case c.err != nil:
		return 0
	case n > limit:
		c.fail("make the module smaller", "it announces %d %s, at most %d are allowed", n, what, limit)
		return 0
	case uint64(n)*uint64(least) > uint64(len(c.b)):
		c.fail("", "it announces %d %s, which %d bytes cannot hold", n, what, len(c.b))
		return 0
	}
	return n
}

// name reads a UTF-8 string.
func (c *cursor) name() string {
	n := c.u32()
	if n > maxNameBytes {
		c.fail("", "a name of %d bytes, at most %d are allowed", n, maxNameBytes)
		return ""
	}
	b := c.take(n)
	if !utf8.Valid(b) {
		c.fail("", "a name is not UTF-8")
		return ""
	}
	return string(b)
}

// within reads a part of n bytes with f, which has to use it up.
func (c *cursor) within(n uint32, section string, f func(*cursor)) {
	at := c.end - len(c.b)
	part := cursor{b: c.take(n), end: at + int(n), section: section}
	if c.err != nil {
		return
	}
	f(&part)
	if part.err == nil && len(part.b) > 0 {
		part.fail("", "%d bytes are left over", len(part.b))
	}
	if part.err != nil {
		c.err, c.b = part.err, nil
	}
}
