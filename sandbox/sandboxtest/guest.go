package sandboxtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	w "github.com/msup/msup/sandbox/wasm/wasmtest"
)

// guestFrame is a chunk, the one message that both sides may send.
func guestFrame(t *testing.T, text string) []byte {
	t.Helper()
	frame, err := ipc.AppendFrame(nil, &ipc.Chunk{Seq: 1, Total: uint64(len(text)), StateVersion: 1, Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func hearGuest(in io.Reader) (string, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(prefix[:])
	if n > ipc.MaxFrameBytes {
		return "", fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(in, frame); err != nil {
		return "", err
	}
	m, err := ipc.DecodeMessage(frame, ipc.FromRunner)
	if err != nil {
		return "", err
	}
	c, ok := m.(*ipc.Chunk)
	if !ok {
		return "", fmt.Errorf("a %T instead of a chunk", m)
	}
	return string(c.Data), nil
}

// GuestProgram makes the Wasm guest of a program's name: what testdata/probe.py is for Python.
func GuestProgram(name string, args ...string) ([]byte, error) {
	g := w.NewGuest()
	switch name {
	case "echo":
		g.Handle = onFrame(w.Echo())
	case "exit":
		status, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil {
			return nil, err
		}
		g.Handle = w.Op(w.I32(uint32(status)), w.Call(g.WASI("proc_exit", "i:")), w.Unreachable)
	case "never":
		g.Initialize = w.Loop(w.Br(0))
	case "crash":
		g.Handle = onFrame(w.Op(w.Unreachable))
	case "spin", "cpu":
		g.Handle = afterReport(g, w.Loop(w.Br(0)))
	case "hog":
		g.Handle = afterReport(g, w.Op(w.Nop))
	case "memory":
		// Grows page by page and touches each; then the answer's last four bytes hold the number of pages.
		answer := w.Chunk([]byte("pages "))
		at := g.Put(append(answer, make([]byte, 8)...))
		g.Handle = onFrame(w.Op(
			w.Block(w.Loop(w.I32(1), w.MemoryGrow(), w.I32(0xffffffff), w.I32Eq, w.BrIf(1),
				w.MemorySize(), w.I32(1), w.I32Sub, w.I32(65536), w.I32Mul, w.I32(7), w.Store(0), w.Br(0))),
			digits(g, at+uint32(len(answer))-6),
			w.I64(w.Pack(at, uint32(len(answer))))))
	case "flood":
		text, err := strconv.Unquote(`"` + args[0] + `"`)
		if err != nil {
			return nil, err
		}
		g.Handle = afterReport(g, w.Loop(g.Print(g.WASI("fd_write", "iiii:i"), 1, strings.Repeat(text, 1000)), w.Br(0)))
	case "lines":
		write, exit := g.WASI("fd_write", "iiii:i"), g.WASI("proc_exit", "i:")
		g.Handle = w.Op(g.Print(write, 1, "first\n"), g.Print(write, 2, "second \x1b[31mred\n"), w.I32(0), w.Call(exit), w.Unreachable)
	case "look":
		lookGuest(g)
	case "files", "tmp", "job":
		filesGuest(g)
	case "threads":
		g.Import("wasi", "thread-spawn", "i:i")
	case "sockets":
		g.WASI("sock_accept", "iii:i")
	case "calls":
		g.Import("env", "syscall", "iiiiiii:i")
	case "import memory":
		return append(w.Header(), w.Section(2, []byte{1, 3, 'e', 'n', 'v', 1, 'm', 2, 3, 1, 1})...), nil
	default:
		return nil, fmt.Errorf("there is no guest program %q", name)
	}
	return g.Bytes(), nil
}

// onFrame answers the first call, without a frame, with nothing.
func onFrame(code w.Code) w.Code {
	return w.Op(w.Get(w.Length), w.I32Eqz, w.If(w.I64(0), w.Return), code)
}

// afterReport reports on the first frame and acts on the second.
func afterReport(g *w.Guest, act w.Code) w.Code {
	seen := g.Global()
	report := g.Answer([]byte(`{"Ready": true}`))
	return onFrame(w.Op(w.GlobalGet(seen), w.I32Eqz, w.If(w.I32(1), w.GlobalSet(seen), report, w.Return), act, w.I64(0)))
}

// digits writes the number of pages as six decimal digits.
func digits(_ *w.Guest, at uint32) w.Code {
	const rest = 1 // a local
	code := w.Op(w.MemorySize(), w.Set(rest))
	for i := uint32(6); i > 0; i-- {
		code = w.Op(code, w.I32(at+i-1), w.Get(rest), w.I32(10), w.I32RemU, w.I32('0'), w.I32Add, w.Store8(0), w.Get(rest), w.I32(10), w.I32DivU, w.Set(rest))
	}
	return code
}

// lookGuest prints its environment and its arguments, and reports.
func lookGuest(g *w.Guest) {
	write := g.WASI("fd_write", "iiii:i")
	envSizes, env := g.WASI("environ_sizes_get", "ii:i"), g.WASI("environ_get", "ii:i")
	argSizes, args := g.WASI("args_sizes_get", "ii:i"), g.WASI("args_get", "ii:i")
	show := func(sizes, get uint32) w.Code {
		return w.Op(w.I32(600), w.I32(604), w.Call(sizes), w.Drop, w.I32(65536), w.I32(66000), w.Call(get), w.Drop,
			w.I32(608), w.I32(66000), w.Store(0), w.I32(612), w.I32(604), w.Load(0), w.Store(0),
			w.I32(1), w.I32(608), w.I32(1), w.I32(512), w.Call(write), w.Drop)
	}
	seen := g.Global()
	report := g.Answer([]byte(`{"Ready": true}`))
	g.Handle = onFrame(w.Op(w.GlobalGet(seen), w.If(w.I64(0), w.Return), w.I32(1), w.GlobalSet(seen), g.Print(write, 1, "env:"), show(envSizes, env), g.Print(write, 1, "\nargs:"), show(argSizes, args), g.Print(write, 1, "\n"), report))
}

// filesGuest tries to open, make and remove on every descriptor that could be a folder, and traps when one of them works.
func filesGuest(g *w.Guest) {
	open, mkdir, remove := g.WASI("path_open", "iiiiiIIii:i"), g.WASI("path_create_directory", "iii:i"), g.WASI("path_unlink_file", "iii:i")
	prestat, readdir := g.WASI("fd_prestat_get", "ii:i"), g.WASI("fd_readdir", "iiiIi:i")
	path := g.Put([]byte("/tmp/made"))
	var all w.Code
	try := func(code ...any) { all = w.Op(all, w.Op(code...), w.I32Eqz, w.If(w.Unreachable)) }
	for fd := range uint32(16) {
		try(w.I32(fd), w.I32(0), w.I32(path), w.I32(9), w.I32(1), w.I64(0), w.I64(0), w.I32(0), w.I32(520), w.Call(open))
		try(w.I32(fd), w.I32(path), w.I32(9), w.Call(mkdir))
		try(w.I32(fd), w.I32(path), w.I32(9), w.Call(remove))
		try(w.I32(fd), w.I32(700), w.I32(64), w.I64(0), w.I32(560), w.Call(readdir))
		if fd > 2 {
			try(w.I32(fd), w.I32(540), w.Call(prestat))
		}
	}
	g.Handle = onFrame(w.Op(all, g.Answer([]byte(`{"Files": 0, "Why": "refused"}`))))
}
