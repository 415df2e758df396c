package wasm

import (
	"slices"
	"strings"
)

// valueLetters are the types of values in a signature.
var valueLetters = map[byte]byte{0x7f: 'i', 0x7e: 'I', 0x7d: 'f', 0x7c: 'F', 0x7b: 'V', 0x70: 'r', 0x6f: 'x'}

var letterNames = map[rune]string{'i': "i32", 'I': "i64", 'f': "f32", 'F': "f64", 'V': "v128", 'r': "funcref", 'x': "externref"}

// spell writes a signature as people do.
func spell(signature string) string {
	params, results, _ := strings.Cut(signature, ":")
	list := func(letters string) string {
		var names []string
		for _, l := range letters {
			names = append(names, letterNames[l])
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(params) + " -> " + list(results)
}

func (c *cursor) valueType() byte {
	b := c.byte()
	letter, ok := valueLetters[b]
	if !ok {
		c.fail("", "there is no type of value 0x%02x", b)
	}
	return letter
}

func (m *inspection) typeSection(c *cursor) {
	for range c.count("types", maxTypes, 3) {
		if form := c.byte(); form != 0x60 && c.err == nil {
			c.fail("build it without the proposals for garbage collection and typed references", "a type of form 0x%02x is no function", form)
		}
		var signature []byte
		for range c.count("parameters", maxSignature, 1) {
			signature = append(signature, c.valueType())
		}
		signature = append(signature, ':')
		for range c.count("results", maxSignature, 1) {
			signature = append(signature, c.valueType())
		}
		if c.err != nil {
			return
		}
		m.types = append(m.types, string(signature))
	}
}

func (m *inspection) typeIndex(c *cursor) uint32 {
	i := c.u32()
	if int(i) >= len(m.types) {
		c.fail("", "there is no type %d", i)
		return 0
	}
	return i
}

func (m *inspection) importSection(c *cursor) {
	for range c.count("imports", maxImports, 4) {
		module, name, kind := c.name(), c.name(), c.byte()
		if c.err != nil {
			return
		}
		full := module + "." + name
		if kind != kindFunction {
			c.fail("build it for wasm32-wasip1, not for threads or another host", "it imports %.200q, which is no function", full)
			return
		}
		i := m.typeIndex(c)
		if c.err != nil {
			return
		}
		want, ok := wasiAllowed[name]
		switch {
		case module != wasiModule || !ok:
			c.fail("remove what needs it: a strategy has no files, no network, no threads and no functions of its host; msup::export! is the only way in and out",
				"it imports %.200q, which does not exist here", full)
			return
		case m.types[i] != want:
			c.fail("", "it imports %s with the type %s instead of %s", full, spell(m.types[i]), spell(want))
			return
		case slices.Contains(m.info.Imports, name):
			// Twice is legal, and harmless.
		default:
			m.info.Imports = append(m.info.Imports, name)
		}
		m.funcTypes = append(m.funcTypes, i)
		m.imported++
	}
}

func (m *inspection) functionSection(c *cursor) {
	for range c.count("functions", maxFunctions, 1) {
		m.funcTypes = append(m.funcTypes, m.typeIndex(c))
		if c.err != nil {
			return
		}
	}
}

// limits reads a minimum and a maximum; hasMax false leaves it at the ceiling.
func (c *cursor) limits(what string, ceiling uint32) (least, most uint32) {
	flag := c.byte()
	if flag > 1 {
		c.fail("build it for wasm32-wasip1 without threads and without 64-bit memory", "%s has the flags 0x%02x (shared or 64-bit)", what, flag)
		return 0, 0
	}
	least, most = c.u32(), ceiling
	if flag == 1 {
		most = c.u32()
	}
	if c.err == nil && (least > ceiling || least > most) {
		c.fail("lower what it asks for at its start", "%s begins with %d, at most %d are allowed", what, least, min(ceiling, most))
	}
	return least, most
}

func (m *inspection) tableSection(c *cursor) {
	n := c.count("tables", maxTables, 3)
	for range n {
		if t := c.byte(); t != 0x70 && t != 0x6f {
			c.fail("", "a table of type 0x%02x", t)
			return
		}
		c.limits("a table", maxTableEntries)
	}
	m.tables = n
}

func (m *inspection) memorySection(c *cursor) {
	for range c.count("memories", 1, 2) {
		least, most := c.limits("the memory, in pages of 64 KiB,", maxPages)
		m.info.MemoryMinPages, m.info.MemoryMaxPages = least, min(most, maxPages)
		m.memories++
	}
}

func (m *inspection) globalSection(c *cursor) {
	n := c.count("globals", maxGlobals, 4)
	for range n {
		c.valueType()
		if mutable := c.byte(); mutable > 1 {
			c.fail("", "a global that is neither constant nor variable")
		}
		c.constant()
		if c.err != nil {
			return
		}
	}
	m.globals = n
}

// constant skips a constant expression: one instruction and an end.
func (c *cursor) constant() {
	switch op := c.byte(); op {
	case 0x41: // i32.const
		c.leb(5)
	case 0x42: // i64.const
		c.leb(10)
	case 0x43: // f32.const
		c.take(4)
	case 0x44: // f64.const
		c.take(8)
	case 0x23, 0xd2: // global.get, ref.func
		c.u32()
	case 0xd0: // ref.null
		c.byte()
	case 0xfd: // v128.const
		if c.u32() != 12 {
			c.fail("", "a vector instruction that is no constant")
		}
		c.take(16)
	default:
		c.fail("", "instruction 0x%02x in a constant", op)
	}
	if end := c.byte(); end != 0x0b {
		c.fail("", "a constant of more than one instruction")
	}
}

func (m *inspection) exportSection(c *cursor) {
	n := c.count("exports", maxExports, 3)
	m.exports = make(map[string]export, n)
	for range n {
		name := c.name()
		e := export{kind: c.byte(), index: c.u32()}
		if c.err != nil {
			return
		}
		bound := map[byte]int{kindFunction: len(m.funcTypes), kindTable: int(m.tables), kindMemory: m.memories, kindGlobal: int(m.globals)}
		if limit, ok := bound[e.kind]; !ok || int(e.index) >= limit {
			c.fail("", "export %.100q leads nowhere (kind %d, index %d)", name, e.kind, e.index)
			return
		}
		if _, twice := m.exports[name]; twice {
			c.fail("", "export %.100q comes twice", name)
			return
		}
		m.exports[name] = e
	}
}

// startSection is refused: such a function would run while the module is made, before anything else of it. Rust has none;
// what has to run early is in _initialize.
func (m *inspection) startSection(c *cursor) {
	c.u32()
	c.fail("build a reactor (crate-type cdylib): its constructors run in _initialize", "it has a start function")
}

func (m *inspection) elementSection(c *cursor) {
	for range c.count("element segments", maxSegments, 2) {
		flags := c.u32()
		if flags > 7 {
			c.fail("", "an element segment with flags %d", flags)
			return
		}
		active, explicit, expressions := flags&1 == 0, flags&2 != 0, flags&4 != 0
		if active {
			if explicit {
				c.u32() // table
			}
			c.constant()
		}
		if explicit || !active {
			c.byte() // kind or type
		}
		n := c.count("elements", maxElements, 1)
		if m.elements += uint64(n); m.elements > maxElements {
			c.fail("make the module smaller", "its segments hold more than %d elements", maxElements)
			return
		}
		for range n {
			if expressions {
				c.constant()
			} else {
				c.u32()
			}
			if c.err != nil {
				return
			}
		}
	}
}

func (m *inspection) dataCountSection(c *cursor) {
	m.dataCount = int64(c.u32()) + 1 // zero means that there is no such section
}

func (m *inspection) codeSection(c *cursor) {
	n := c.count("function bodies", maxFunctions, 3)
	for range n {
		size := c.u32()
		if size > maxBodyBytes {
			c.fail("split the function", "a function body of %d bytes, at most %d are allowed", size, maxBodyBytes)
		}
		c.within(size, "function body", func(body *cursor) {
			locals := uint64(0)
			for range body.count("groups of locals", maxLocals, 2) {
				locals += uint64(body.u32())
				body.valueType()
				if locals > maxLocals {
					body.fail("split the function", "it has more than %d locals", maxLocals)
				}
				if body.err != nil {
					return
				}
			}
			if len(body.b) == 0 || body.b[len(body.b)-1] != 0x0b {
				body.fail("", "it does not end with an end")
			}
			body.b = nil // the instructions are the compiler's to judge, in its own sandbox
		})
		if c.err != nil {
			return
		}
		m.info.CodeBytes += int(size)
	}
	m.bodies = n
}

func (m *inspection) dataSection(c *cursor) {
	n := c.count("data segments", maxSegments, 2)
	for range n {
		switch flag := c.u32(); flag {
		case 0:
			c.constant()
		case 1:
		case 2:
			c.u32()
			c.constant()
		default:
			c.fail("", "a data segment with flags %d", flag)
		}
		c.take(c.u32())
		if c.err != nil {
			return
		}
	}
	m.data = n
}
