package wasmtest

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// Where a Guest keeps its things: data from dataAt on, the frame that came in from BufferAt on.
const (
	dataAt   = 1024
	BufferAt = 2 * 65536
)

// The local of msup_handle that holds the length of the incoming frame.
const Length = 0

// Guest is a module that keeps the guest ABI; its Handle is what it does with every frame.
type Guest struct {
	*Module
	// Handle is the body of msup_handle, which leaves an i64 on the stack; nil answers nothing. It has ten i32 locals behind
	// Length.
	Handle Code
	// Initialize is the body of _initialize; nil leaves it out.
	Initialize Code
	// Describe is what msup_describe returns.
	Describe string
	// ABI is what msup_abi returns.
	ABI uint32
	at  uint32
}

// NewGuest returns a guest that answers nothing.
func NewGuest() *Guest {
	return &Guest{Module: NewModule(), ABI: 1, Describe: `{"config_schema":{},"hooks":[],"sdk_version":"0","state_schema_version":1}`, at: dataAt}
}

// Put puts bytes into the memory and returns their address.
func (g *Guest) Put(b []byte) uint32 {
	at := g.at
	g.Data(at, b)
	g.at += (uint32(len(b)) + 15) &^ 15
	if g.at > BufferAt {
		panic("wasmtest: the data of a guest is too long")
	}
	return at
}

// Answer puts a chunk with data into the memory; the code makes msup_handle return it.
func (g *Guest) Answer(data []byte) Code {
	frame := Chunk(data)
	return I64(Pack(g.Put(frame), uint32(len(frame))))
}

// Chunk is a frame that both sides may send, with any data: how the tests talk to a guest.
func Chunk(data []byte) []byte {
	frame, err := ipc.AppendFrame(nil, &ipc.Chunk{Seq: 1, Total: uint64(len(data)), StateVersion: 1, Data: data})
	if err != nil {
		panic(fmt.Sprintf("wasmtest: %v", err))
	}
	return frame
}

// Print writes text to descriptor fd; fdWrite is the import.
func (g *Guest) Print(fdWrite, fd uint32, text string) Code {
	at := g.Put([]byte(text))
	vector := g.Put([]byte{byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 24), byte(len(text)), byte(len(text) >> 8), byte(len(text) >> 16), 0})
	return Op(I32(fd), I32(vector), I32(1), I32(512), Call(fdWrite), Drop)
}

// Echo is the code that returns the incoming frame.
func Echo() Code {
	return Op(I64(BufferAt), I64(32), I64Shl, Get(Length), I64ExtendU, I64Or)
}

// Bytes assembles the guest.
func (g *Guest) Bytes() []byte {
	m := g.Module
	pages := m.MinPages
	m.MinPages = max(pages, 4)
	if g.Initialize != nil {
		m.Func("_initialize", ":", 0, g.Initialize)
	}
	m.Func("msup_abi", ":i", 0, I32(g.ABI))
	// Room for the frame: the memory grows when it is not there.
	m.Func("msup_buffer", "i:i", 1,
		I32(BufferAt), Get(0), I32Add, I32(65535), I32Add, I32(65536), I32DivU, Set(1),
		Get(1), MemorySize(), I32GtU, If(Get(1), MemorySize(), I32Sub, MemoryGrow(), Drop),
		I32(BufferAt))
	handle := g.Handle
	if handle == nil {
		handle = I64(0)
	}
	m.Func("msup_handle", "i:I", 10, handle)
	m.Func("msup_describe", ":I", 0, I64(Pack(g.Put([]byte(g.Describe)), uint32(len(g.Describe)))))
	m.Export("memory", 2, 0)
	return m.Bytes()
}
