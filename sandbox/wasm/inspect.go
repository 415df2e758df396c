package wasm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
)

// Bounds of a module. The compiler behind Inspect allocates by the numbers that a module announces (a module of 16 bytes
// can ask it for 96 GiB), so every number is bounded here first, by a limit and by the bytes that are there.
const (
	// MaxModuleBytes is the largest module; a strategy in Rust has 60 KB to 2 MB.
	MaxModuleBytes = 16 << 20

	maxTypes        = 10_000
	maxSignature    = 256 // parameters or results of one type
	maxImports      = 64
	maxFunctions    = 50_000
	maxTables       = 16
	maxTableEntries = 1 << 20
	maxGlobals      = 10_000
	maxExports      = 10_000
	maxSegments     = 50_000
	maxElements     = 1 << 20
	maxLocals       = 50_000
	maxBodyBytes    = 4 << 20
	maxNameBytes    = 64 << 10
	maxNameSection  = 4 << 20
	maxLocalNames   = 200_000
	maxPages        = 1 << 16 // 4 GiB, all that 32 bits address
)

// PageBytes is the unit of Wasm memory.
const PageBytes = 64 << 10

// Info is what Inspect found (SB-L2).
type Info struct {
	Hash           [sha256.Size]byte
	Bytes          int
	Functions      int // defined by the module
	CodeBytes      int
	MemoryMinPages uint32 // what the module has from its first moment, in PageBytes
	MemoryMaxPages uint32 // what it limits itself to; 65,536 where it does not
	Imports        []string
	Exports        []string
	Initialize     bool // it exports _initialize
}

var header = []byte("\x00asm\x01\x00\x00\x00")

// Inspect refuses, in the process that calls it and without ever running or compiling anything, what is no module for this
// runner: broken or bloated bytes, unknown imports, missing exports, a start function (SB-L2, SB-2). It allocates in
// proportion to the module and takes microseconds; the errors are *sandbox.Error with the reason WASM_INVALID.
func Inspect(module []byte) (Info, error) {
	if len(module) > MaxModuleBytes {
		return Info{}, invalid("read the module", "build it with opt-level and strip = true in the release profile",
			fmt.Errorf("it has %d bytes, at most %d are allowed", len(module), MaxModuleBytes))
	}
	if !bytes.HasPrefix(module, header) {
		return Info{}, invalid("read the module", "name the .wasm file that cargo made for the target wasm32-wasip1",
			fmt.Errorf("it is no WebAssembly module of version 1: it begins with % x", module[:min(len(module), 8)]))
	}
	m := &inspection{}
	c := &cursor{b: module[len(header):], end: len(module), section: "sections"}
	for len(c.b) > 0 && c.err == nil {
		m.section(c)
	}
	if c.err != nil {
		return Info{}, c.err
	}
	if err := m.check(); err != nil {
		return Info{}, err
	}
	m.info.Hash, m.info.Bytes = sha256.Sum256(module), len(module)
	return m.info, nil
}

// inspection is the state of one Inspect.
type inspection struct {
	info      Info
	last      int      // rank of the last section that was not custom
	types     []string // "params:results", one letter a value
	funcTypes []uint32 // of all functions, imported ones first
	imported  int
	memories  int
	globals   uint32
	tables    uint32
	bodies    uint32
	exports   map[string]export
	dataCount int64 // 1 + the number; 0 without the section
	data      uint32
	named     bool
	elements  uint64
}

type export struct {
	kind  byte
	index uint32
}

// The kinds of imports and exports.
const (
	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3
)

type sectionReader struct {
	id   byte
	name string
	read func(*inspection, *cursor)
}

// sections stand in the order in which a module has them; each once at most. Sections of later proposals (tags, for one)
// are not known to the runtime either.
var sections = []sectionReader{
	{1, "type section", (*inspection).typeSection},
	{2, "import section", (*inspection).importSection},
	{3, "function section", (*inspection).functionSection},
	{4, "table section", (*inspection).tableSection},
	{5, "memory section", (*inspection).memorySection},
	{6, "global section", (*inspection).globalSection},
	{7, "export section", (*inspection).exportSection},
	{8, "start section", (*inspection).startSection},
	{9, "element section", (*inspection).elementSection},
	{12, "data count section", (*inspection).dataCountSection},
	{10, "code section", (*inspection).codeSection},
	{11, "data section", (*inspection).dataSection},
}

func (m *inspection) section(c *cursor) {
	id, size := c.byte(), c.u32()
	if c.err != nil {
		return
	}
	if id == 0 {
		c.within(size, "custom section", m.customSection)
		return
	}
	rank := slices.IndexFunc(sections, func(s sectionReader) bool { return s.id == id }) + 1
	switch {
	case rank == 0:
		c.fail("build it without WebAssembly features that are newer than version 2.0", "there is no section of number %d", id)
	case rank <= m.last:
		c.fail("", "the %s comes twice or too late", sections[rank-1].name)
	default:
		m.last = rank
		c.within(size, sections[rank-1].name, func(part *cursor) { sections[rank-1].read(m, part) })
	}
}

// check looks at what only the whole module tells.
func (m *inspection) check() error {
	if int(m.bodies) != len(m.funcTypes)-m.imported {
		return invalid("read the module", "", fmt.Errorf("it declares %d functions and has the code of %d", len(m.funcTypes)-m.imported, m.bodies))
	}
	if m.dataCount > 0 && m.dataCount != int64(m.data)+1 {
		return invalid("read the module", "", fmt.Errorf("it announces %d data segments and has %d", m.dataCount-1, m.data))
	}
	if m.memories != 1 {
		return invalid("read the module", "", fmt.Errorf("it has %d memories instead of one", m.memories))
	}
	for _, want := range requiredExports {
		if err := m.checkExport(want); err != nil {
			return err
		}
	}
	for name := range m.exports {
		m.info.Exports = append(m.info.Exports, name)
	}
	slices.Sort(m.info.Exports)
	_, m.info.Initialize = m.exports[exportInitialize]
	m.info.Functions = int(m.bodies)
	return nil
}

// The exports of the guest ABI.
const (
	exportMemory     = "memory"
	exportInitialize = "_initialize"
	exportABI        = "msup_abi"
	exportBuffer     = "msup_buffer"
	exportHandle     = "msup_handle"
	exportDescribe   = "msup_describe"
)

type requiredExport struct {
	name      string
	signature string // "" for the memory
	optional  bool
}

var requiredExports = []requiredExport{
	{name: exportMemory}, {name: exportABI, signature: ":i"}, {name: exportBuffer, signature: "i:i"}, {name: exportHandle, signature: "i:I"},
	{name: exportDescribe, signature: ":I"}, {name: exportInitialize, signature: ":", optional: true},
}

func (m *inspection) checkExport(want requiredExport) error {
	got, ok := m.exports[want.name]
	op := "look for the module's export " + want.name
	const remedy = "write msup::export!(YourStrategy); in src/lib.rs, set crate-type = [\"cdylib\"], and build it again"
	switch {
	case !ok && want.optional:
		return nil
	case !ok:
		return invalid(op, remedy, fmt.Errorf("it is missing"))
	case want.signature == "":
		if got.kind != kindMemory {
			return invalid(op, remedy, fmt.Errorf("it is no memory"))
		}
		return nil
	case got.kind != kindFunction:
		return invalid(op, remedy, fmt.Errorf("it is no function"))
	}
	if signature := m.types[m.funcTypes[got.index]]; signature != want.signature {
		return invalid(op, "build it with the crate msup that belongs to this msup",
			fmt.Errorf("it has the type %s instead of %s", spell(signature), spell(want.signature)))
	}
	return nil
}
