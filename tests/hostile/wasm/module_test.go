package wasm

import (
	"bytes"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	w "github.com/msup/msup/sandbox/wasm/wasmtest"
)

// want says how a hostile module has to end. Exactly one of the first five is set.
type want struct {
	refused   sandbox.ReasonCode // it does not come to a start
	hangs     bool               // it does not answer; the hard deadline kills it
	mute      bool               // hangs before it says its first word
	lies      ipc.ErrorClass     // its answer breaks the protocol
	ends      []sandbox.ReasonCode
	answers   bool // it lives and answers, whatever it tried
	code      int
	violation sandbox.ViolationKind
}

type hostile struct {
	name   string
	module []byte
	want   want
}

// act is a guest that does something with the first frame that it gets; what comes back is code that leaves an i64.
func act(f func(g *w.Guest) w.Code) []byte {
	g := w.NewGuest()
	g.Handle = w.Op(w.Get(w.Length), w.I32Eqz, w.If(w.I64(0), w.Return), f(g))
	return g.Bytes()
}

func early(f func(g *w.Guest) w.Code) []byte {
	g := w.NewGuest()
	g.Initialize = f(g)
	return g.Bytes()
}

func forever(code ...any) w.Code { return w.Op(w.Loop(w.Op(code...), w.Br(0)), w.Unreachable) }

func bomb(section byte, content ...byte) []byte {
	return append(w.Header(), w.Section(section, content)...)
}

var endless = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}

const invalid, trap, lie = sandbox.ReasonWasmInvalid, sandbox.ReasonWasmTrap, sandbox.ReasonWasmReturn

// callTree calls two functions, which call two each, and so on: no loop, and 2^45 calls.
func callTree(g *w.Guest) w.Code {
	next := g.Func("", ":", 0, w.Nop)
	for range 45 {
		next = g.Func("", ":", 0, w.Call(next), w.Call(next))
	}
	return w.Op(w.Call(next), w.I64(0))
}

// fills is a series of memory.fill without a loop.
func fills(g *w.Guest) w.Code {
	g.MinPages = 1000
	one := w.Op(w.I32(0), w.I32(1), w.I32(60<<20), w.MemoryFill())
	return w.Op(w.Code(bytes.Repeat(one, 300)), w.I64(0))
}

func recursion(g *w.Guest) w.Code {
	self := uint32(0) // the first function of a guest without imports
	if got := g.Func("", ":", 40, w.I32(1), w.Set(3), w.Call(self), w.Call(self)); got != self {
		panic("recursion calls another function")
	}
	return w.Op(w.Call(self), w.I64(0))
}

// growth takes all the memory there is and touches it, then gives up as Rust does.
func growth(*w.Guest) w.Code {
	return w.Op(w.Block(w.Loop(
		w.I32(16), w.MemoryGrow(), w.I32(0xffffffff), w.I32Eq, w.BrIf(1),
		w.MemorySize(), w.I32(16), w.I32Sub, w.I32(65536), w.I32Mul, w.I32(7), w.I32(16*65536), w.MemoryFill(), w.Br(0))),
		w.Unreachable)
}

func frame(b ...byte) []byte { return append([]byte{0, 0, 0, byte(len(b))}, b...) }

func returns(b []byte) []byte {
	return act(func(g *w.Guest) w.Code { return w.I64(w.Pack(g.Put(b), uint32(len(b)))) })
}

func exits(status uint32) []byte {
	return act(func(g *w.Guest) w.Code {
		return w.Op(w.I32(status), w.Call(g.WASI("proc_exit", "i:")), w.Unreachable)
	})
}

// files tries everything of WASI that could reach the host, and answers only when all of it failed.
func files(g *w.Guest) w.Code {
	open, read, prestat := g.WASI("path_open", "iiiiiIIii:i"), g.WASI("fd_read", "iiii:i"), g.WASI("fd_prestat_get", "ii:i")
	mkdir, link, remove := g.WASI("path_create_directory", "iii:i"), g.WASI("path_symlink", "iiiii:i"), g.WASI("path_unlink_file", "iii:i")
	stat, readdir := g.WASI("path_filestat_get", "iiiii:i"), g.WASI("fd_readdir", "iiiIi:i")
	path := g.Put([]byte("../../etc/passwd"))
	answer := g.Answer([]byte("all refused"))
	var all w.Code
	try := func(code ...any) { all = w.Op(all, w.Op(code...), w.I32Eqz, w.If(w.Unreachable)) }
	for fd := range uint32(8) {
		try(w.I32(fd), w.I32(0), w.I32(path), w.I32(16), w.I32(0), w.I64(0), w.I64(0), w.I32(0), w.I32(520), w.Call(open))
		try(w.I32(fd), w.I32(path), w.I32(16), w.Call(mkdir))
		try(w.I32(path), w.I32(16), w.I32(fd), w.I32(path), w.I32(16), w.Call(link))
		try(w.I32(fd), w.I32(path), w.I32(16), w.Call(remove))
		try(w.I32(fd), w.I32(0), w.I32(path), w.I32(16), w.I32(560), w.Call(stat))
		try(w.I32(fd), w.I32(700), w.I32(64), w.I64(0), w.I32(560), w.Call(readdir))
		if fd > 2 { // the standard streams answer: stdin ends at once, and none of them is a folder
			try(w.I32(fd), w.I32(540), w.Call(prestat))
			try(w.I32(fd), w.I32(520), w.I32(1), w.I32(560), w.Call(read))
		}
	}
	return w.Op(all, answer)
}

func withoutExports() []byte {
	m := w.NewModule()
	m.Func("run", ":", 0, w.Nop)
	m.Export("memory", 2, 0)
	return m.Bytes()
}

func wrongSignature() []byte {
	return bytes.Replace(w.NewGuest().Bytes(), []byte("msup_describe"), []byte("msup_describf"), 1)
}

func buffer(code w.Code) []byte {
	m := w.NewModule()
	m.Func("msup_abi", ":i", 0, w.I32(1))
	m.Func("msup_buffer", "i:i", 0, code)
	m.Func("msup_handle", "i:I", 0, w.I64(0))
	m.Func("msup_describe", ":I", 0, w.I64(0))
	m.Export("memory", 2, 0)
	return m.Bytes()
}

func changed(f func(*w.Guest)) []byte {
	g := w.NewGuest()
	f(g)
	return g.Bytes()
}

// modules makes them all. It is no variable: stage two and the runners are this same binary, and would make them, too.
func modules() []hostile {
	return []hostile{
		// What the reader in the supervisor has to see through.
		{"NoModule", []byte("#!/bin/sh\nrm -rf /\n"), want{refused: invalid}},
		{"Component", []byte("\x00asm\x0d\x00\x01\x00"), want{refused: invalid}},
		{"DataBomb", append(w.Header(), 11, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), want{refused: invalid}},
		{"FunctionBomb", bomb(3, endless...), want{refused: invalid}},
		{"TypeBomb", bomb(1, endless...), want{refused: invalid}},
		{"TableBomb", bomb(4, append([]byte{1, 0x70, 0}, endless...)...), want{refused: invalid}},
		{"NameBomb", changed(func(g *w.Guest) { g.Custom = w.Section(0, append([]byte{4, 'n', 'a', 'm', 'e', 1, 5}, endless...)) }), want{refused: invalid}},
		{"LocalsBomb", changed(func(g *w.Guest) {
			g.Custom = nil
			g.Func("", ":", 4_000_000_000, w.Nop)
		}), want{refused: invalid}},
		{"HugeModule", changed(func(g *w.Guest) { g.Custom = w.Section(0, make([]byte, 17<<20)) }), want{refused: invalid}},
		{"NoExports", withoutExports(), want{refused: invalid}},
		{"OneExportMissing", wrongSignature(), want{refused: invalid}},
		{"ImportsTheUnknown", changed(func(g *w.Guest) { g.Import("env", "system", "i:i") }), want{refused: invalid}},
		{"ImportsSockets", changed(func(g *w.Guest) { g.WASI("sock_accept", "iii:i") }), want{refused: invalid}},
		{"ImportsThreads", changed(func(g *w.Guest) { g.Import("wasi", "thread-spawn", "i:i") }), want{refused: invalid}},
		{"StartLoops", changed(func(g *w.Guest) { g.Start = int(g.Func("", ":", 0, w.Loop(w.Br(0)))) }), want{refused: invalid}},
		{"MoreThan4GiB", changed(func(g *w.Guest) { g.MinPages = 65537 }), want{refused: invalid}},
		// What only the limit of the instance, or the compiler in its own process, refuses.
		{"Wants4GiB", changed(func(g *w.Guest) { g.MinPages = 65536 }), want{refused: invalid}},
		{"InvalidCode", act(func(*w.Guest) w.Code { return w.Op(w.I32(1)) }), want{refused: invalid}},
		{"BranchNowhere", act(func(*w.Guest) w.Code { return w.Op(w.Br(4_000_000_000), w.I64(0)) }), want{refused: invalid}},
		{"CompileBomb", changed(func(g *w.Guest) {
			line := w.Op(w.Get(0), w.I32(7), w.I32Mul, w.Get(0), w.I32Add, w.Set(0))
			g.Func("", "i:", 0, w.Code(bytes.Repeat(line, 300_000)))
		}), want{refused: sandbox.ReasonWasmCompile}},
		// What only a kill ends.
		{"InitializeLoops", early(func(*w.Guest) w.Code { return forever() }), want{hangs: true, mute: true}},
		{"EventLoops", act(func(*w.Guest) w.Code { return forever() }), want{hangs: true}},
		{"CallTree", act(callTree), want{hangs: true}},
		{"BulkMemory", act(fills), want{hangs: true}},
		{"ClockFlood", act(func(g *w.Guest) w.Code {
			clock := g.WASI("clock_time_get", "iIi:i")
			return forever(w.I32(0), w.I64(1), w.I32(512), w.Call(clock), w.Drop)
		}), want{hangs: true}},
		{"RandomFlood", act(func(g *w.Guest) w.Code {
			random := g.WASI("random_get", "ii:i")
			return forever(w.I32(65536), w.I32(65536), w.Call(random), w.Drop)
		}), want{hangs: true}},
		{"YieldFlood", act(func(g *w.Guest) w.Code { return forever(w.Call(g.WASI("sched_yield", ":i")), w.Drop) }), want{hangs: true}},
		{"LogFlood", act(func(g *w.Guest) w.Code {
			return forever(g.Print(g.WASI("fd_write", "iiii:i"), 1, "spam \x1b[31m spam\n"))
		}), want{hangs: true, violation: sandbox.ViolationLog}},
		{"LogFloodWithoutLines", act(func(g *w.Guest) w.Code {
			return forever(g.Print(g.WASI("fd_write", "iiii:i"), 2, string(make([]byte, 4096))))
		}), want{hangs: true}},
		{"Mute", act(func(*w.Guest) w.Code { return w.I64(0) }), want{hangs: true}},
		// What ends by itself.
		{"Recursion", act(recursion), want{ends: []sandbox.ReasonCode{trap, sandbox.ReasonOOM}}},
		{"Growth", act(growth), want{ends: []sandbox.ReasonCode{trap}, violation: sandbox.ViolationExit}},
		{"Unreachable", act(func(*w.Guest) w.Code { return w.Op(w.Unreachable) }), want{ends: []sandbox.ReasonCode{trap}, violation: sandbox.ViolationExit}},
		{"ReadsOutside", act(func(*w.Guest) w.Code { return w.Op(w.I32(0xfffffffc), w.Load(0xfffffff0), w.Drop, w.I64(0)) }), want{ends: []sandbox.ReasonCode{trap}}},
		{"CopiesOutside", act(func(*w.Guest) w.Code {
			return w.Op(w.I32(0), w.I32(1), w.I32(0xffffffff), w.MemoryCopy(), w.I64(0))
		}), want{ends: []sandbox.ReasonCode{trap}}},
		{"AddressLie", act(func(*w.Guest) w.Code { return w.I64(w.Pack(0xffffff00, 64)) }), want{ends: []sandbox.ReasonCode{lie}, violation: sandbox.ViolationExit}},
		{"LengthLie", act(func(*w.Guest) w.Code { return w.I64(w.Pack(0, 0xffffffff)) }), want{ends: []sandbox.ReasonCode{lie}}},
		{"HalfFrame", returns([]byte{0, 0, 4, 0, 1, 2}), want{ends: []sandbox.ReasonCode{lie}}},
		{"FrameOf4GiB", returns([]byte{0xff, 0xff, 0xff, 0xff, 0x99, 3}), want{ends: []sandbox.ReasonCode{lie}}},
		{"NoRoom", buffer(w.I32(0)), want{ends: []sandbox.ReasonCode{lie}}},
		{"RoomOutside", buffer(w.I32(0xfffffff0)), want{ends: []sandbox.ReasonCode{lie}}},
		{"Exit", exits(137), want{ends: []sandbox.ReasonCode{sandbox.ReasonExited}, code: 137, violation: sandbox.ViolationExit}},
		{"ForgesATrap", exits(240), want{ends: []sandbox.ReasonCode{sandbox.ReasonExited}, code: 239}},
		{"AnotherABI", changed(func(g *w.Guest) { g.ABI = 99 }), want{ends: []sandbox.ReasonCode{sandbox.ReasonABI}}},
		// What breaks the protocol in whole frames.
		{"Garbage", returns(frame(0xc1, 0xc1, 0xc1)), want{lies: ipc.ClassInvalid}},
		{"WrongDirection", act(func(*w.Guest) w.Code { return w.I64(w.Pack(w.BufferAt, 10)) }), want{ends: []sandbox.ReasonCode{lie}}},
		{"SendsAStop", returns(frame(0x92, 11, 1)), want{lies: ipc.ClassDirection}},
		{"EmptyFrame", returns([]byte{0, 0, 0, 0}), want{ends: []sandbox.ReasonCode{lie}}},
		{"HugeAnswer", act(func(g *w.Guest) w.Code {
			g.MinPages = 40
			head := []byte{0, 16, 0, 0, 0x99, 3, 1, 1} // an answer of 1 MiB
			return w.I64(w.Pack(g.Put(head), 4+1<<20))
		}), want{lies: ipc.ClassFrameTooLarge}},
		// What reaches for the host.
		{"Files", act(files), want{answers: true}},
	}
}

// names are there to keep the list free of doubles.
func names(modules []hostile) (all []string) {
	for _, m := range modules {
		all = append(all, m.name)
	}
	slices.Sort(all)
	return all
}
