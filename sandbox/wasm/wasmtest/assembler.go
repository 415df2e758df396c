package wasmtest

import (
	"encoding/binary"
	"math"
	"slices"
)

// Code is a sequence of instructions.
type Code []byte

// Op joins instructions: bytes are opcodes, everything else is Code.
func Op(parts ...any) Code {
	var out Code
	for _, p := range parts {
		switch p := p.(type) {
		case Code:
			out = append(out, p...)
		case int:
			out = append(out, byte(p))
		default:
			panic("wasmtest: Op takes opcodes and Code")
		}
	}
	return out
}

// The opcodes that the tests use.
const (
	Unreachable = 0x00
	Nop         = 0x01
	End         = 0x0b
	Else        = 0x05
	Return      = 0x0f
	Drop        = 0x1a
	I32Eqz      = 0x45
	I32Eq       = 0x46
	I32GtU      = 0x4b
	I32Add      = 0x6a
	I32Sub      = 0x6b
	I32Mul      = 0x6c
	I32DivU     = 0x6e
	I32RemU     = 0x70
	I64Add      = 0x7c
	I64Or       = 0x84
	I64Shl      = 0x86
	I64ExtendU  = 0xad
	I32Load8U   = 0x2d
	typeEmpty   = 0x40
)

// U is an unsigned LEB128 number.
func U(v uint32) Code { return binary.AppendUvarint(nil, uint64(v)) }

func signed(v int64) Code {
	var out Code
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// I32 pushes a constant.
func I32(v uint32) Code { return append(Code{0x41}, signed(int64(int32(v)))...) }

// I64 pushes a constant.
func I64(v uint64) Code { return append(Code{0x42}, signed(int64(v))...) }

// Get pushes a local, Set pops into it.
func Get(local uint32) Code { return append(Code{0x20}, U(local)...) }

// Set pops into a local.
func Set(local uint32) Code { return append(Code{0x21}, U(local)...) }

// GlobalGet pushes a global.
func GlobalGet(i uint32) Code { return append(Code{0x23}, U(i)...) }

// GlobalSet pops into a global.
func GlobalSet(i uint32) Code { return append(Code{0x24}, U(i)...) }

// Call calls a function by its index.
func Call(f uint32) Code { return append(Code{0x10}, U(f)...) }

// Block, Loop and If enclose code without results.
func Block(parts ...any) Code { return slices.Concat(Code{0x02, typeEmpty}, Op(parts...), Code{End}) }

// Loop begins again at Br(0).
func Loop(parts ...any) Code { return slices.Concat(Code{0x03, typeEmpty}, Op(parts...), Code{End}) }

// If runs its code when the value on the stack is not zero.
func If(parts ...any) Code { return slices.Concat(Code{0x04, typeEmpty}, Op(parts...), Code{End}) }

// Br leaves n enclosing blocks, or begins the loop anew.
func Br(n uint32) Code { return append(Code{0x0c}, U(n)...) }

// BrIf does so when the value on the stack is not zero.
func BrIf(n uint32) Code { return append(Code{0x0d}, U(n)...) }

// Store stores an i32; the address and the value are on the stack.
func Store(offset uint32) Code { return append(Code{0x36, 2}, U(offset)...) }

// Store8 stores a byte.
func Store8(offset uint32) Code { return append(Code{0x3a, 0}, U(offset)...) }

// Load loads an i32.
func Load(offset uint32) Code { return append(Code{0x28, 2}, U(offset)...) }

// MemorySize, MemoryGrow, MemoryFill and MemoryCopy are the instructions of that name.
func MemorySize() Code { return Code{0x3f, 0} }

// MemoryGrow grows by the pages on the stack.
func MemoryGrow() Code { return Code{0x40, 0} }

// MemoryFill fills: address, value, length.
func MemoryFill() Code { return Code{0xfc, 11, 0} }

// MemoryCopy copies: to, from, length.
func MemoryCopy() Code { return Code{0xfc, 10, 0, 0} }

type function struct {
	typ    uint32
	locals uint32 // of type i32
	code   Code
}

// Module is a module under construction. Fields can be changed at will before Bytes.
type Module struct {
	types     []string
	imports   []Code
	imported  uint32
	functions []function
	exports   []Code
	data      []Code
	globals   uint32
	// MinPages and MaxPages are the memory's limits; MaxPages 0 means none.
	MinPages, MaxPages uint32
	// NoMemory leaves the memory out.
	NoMemory bool
	// Start is the index of the start function, if not negative.
	Start int
	// Custom is appended as it is, behind the last section.
	Custom []byte
}

// NewModule returns an empty module with a memory of two pages.
func NewModule() *Module { return &Module{MinPages: 2, Start: -1} }

var letters = map[rune]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c}

// Type gives the index of a signature such as "ii:I".
func (m *Module) Type(signature string) uint32 {
	if i := slices.Index(m.types, signature); i >= 0 {
		return uint32(i)
	}
	m.types = append(m.types, signature)
	return uint32(len(m.types) - 1)
}

// Import imports a function. All imports come before the first Func.
func (m *Module) Import(module, name, signature string) uint32 {
	m.imports = append(m.imports, slices.Concat(text(module), text(name), Code{0}, U(m.Type(signature))))
	m.imported++
	return m.imported - 1
}

// WASI imports a function of wasi_snapshot_preview1.
func (m *Module) WASI(name, signature string) uint32 {
	return m.Import("wasi_snapshot_preview1", name, signature)
}

// Func adds a function with a number of i32 locals, and exports it under a name unless that is "".
func (m *Module) Func(export, signature string, locals uint32, parts ...any) uint32 {
	m.functions = append(m.functions, function{m.Type(signature), locals, Op(parts...)})
	i := m.imported + uint32(len(m.functions)) - 1
	if export != "" {
		m.Export(export, 0, i)
	}
	return i
}

// Global adds a variable i32 that begins with 0.
func (m *Module) Global() uint32 {
	m.globals++
	return m.globals - 1
}

// Export exports something: kind 0 a function, 2 the memory.
func (m *Module) Export(name string, kind byte, index uint32) {
	m.exports = append(m.exports, slices.Concat(text(name), Code{kind}, U(index)))
}

// Data puts bytes into the memory.
func (m *Module) Data(address uint32, b []byte) {
	m.data = append(m.data, slices.Concat(Code{0}, I32(address), Code{End}, U(uint32(len(b))), b))
}

func text(s string) Code { return append(U(uint32(len(s))), s...) }

func list(items []Code) Code { return append(U(uint32(len(items))), slices.Concat(items...)...) }

// Section is one section: its number and what is in it, with the right length in front.
func Section(id byte, content []byte) []byte {
	return slices.Concat([]byte{id}, U(uint32(len(content))), content)
}

// Header is what every module begins with.
func Header() []byte { return []byte("\x00asm\x01\x00\x00\x00") }

// Bytes assembles the module.
func (m *Module) Bytes() []byte {
	out := Header()
	add := func(id byte, items []Code) {
		if len(items) > 0 {
			out = append(out, Section(id, list(items))...)
		}
	}
	var types, declared, bodies, globals []Code
	for _, f := range m.functions {
		declared = append(declared, U(f.typ))
		body := Code{0}
		if f.locals > 0 {
			body = slices.Concat(Code{1}, U(f.locals), Code{0x7f})
		}
		body = slices.Concat(body, f.code, Code{End})
		bodies = append(bodies, append(U(uint32(len(body))), body...))
	}
	for _, s := range m.types {
		t, at := Code{0x60}, 0
		var parts [2]Code
		for _, l := range s {
			if l == ':' {
				at = 1
				continue
			}
			parts[at] = append(parts[at], letters[l])
		}
		types = append(types, slices.Concat(t, U(uint32(len(parts[0]))), parts[0], U(uint32(len(parts[1]))), parts[1]))
	}
	for range m.globals {
		globals = append(globals, slices.Concat(Code{0x7f, 1}, I32(0), Code{End}))
	}
	add(1, types)
	add(2, m.imports)
	add(3, declared)
	if !m.NoMemory {
		limits := slices.Concat(Code{0}, U(m.MinPages))
		if m.MaxPages > 0 {
			limits = slices.Concat(Code{1}, U(m.MinPages), U(m.MaxPages))
		}
		add(5, []Code{limits})
	}
	add(6, globals)
	add(7, m.exports)
	if m.Start >= 0 {
		out = append(out, Section(8, U(uint32(m.Start)))...)
	}
	add(10, bodies)
	add(11, m.data)
	return append(out, m.Custom...)
}

// Pack is what msup_handle returns for length bytes at address.
func Pack(address, length uint32) uint64 { return uint64(address)<<32 | uint64(length) }

// Huge is a number that no list can have.
const Huge = math.MaxUint32
