package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/wasm/wasmtest"
	"github.com/tetratelabs/wazero/experimental"
)

// inProcess instantiates a guest in the test's own process: only for guests that mean no harm.
func inProcess(t testing.TB, module []byte, out io.Writer) *guest {
	t.Helper()
	l, err := load(module, nil, environment{env: []string{"A=1", "B=two=2"}, stdout: out, stderr: out, pages: 512})
	if err != nil {
		t.Fatal(err)
	}
	g, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.guest.runtime.Close(l.guest.ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

// wire is a socket in memory.
type wire struct {
	io.Reader
	out bytes.Buffer
}

func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

func frames(t testing.TB, messages ...ipc.Message) *bytes.Reader {
	t.Helper()
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = ipc.AppendFrame(all, m); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.NewReader(all)
}

// Proves: SB-L2, NN-2, NN-7
func TestPipeCarriesFramesAndStops(t *testing.T) {
	g := wasmtest.NewGuest()
	hello := g.Answer([]byte("hello"))
	g.Handle = wasmtest.Op(wasmtest.Get(wasmtest.Length), wasmtest.I32Eqz, wasmtest.If(hello, wasmtest.Return), wasmtest.Echo())
	w := &wire{Reader: frames(t, chunk("one"), quote(3, 5), &ipc.Stop{Seq: 4}, chunk("after the stop"))}
	guest := inProcess(t, g.Bytes(), io.Discard)
	if err := newPipe(guest, w).run(); err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(frames(t, chunk("hello"), chunk("one"), quote(3, 5), &ipc.Stop{Seq: 4}))
	if err != nil || !bytes.Equal(w.out.Bytes(), want) {
		t.Errorf("got % x, want % x", w.out.Bytes(), want)
	}
	if guest.clock.step != 3 || guest.clock.now != 5 {
		t.Errorf("clock %+v", guest.clock)
	}
}

// A frame larger than the buffer makes the guest grow its memory, by which everything that was read from it may move.
//
// Proves: SB-L2
func TestPipeSurvivesGrowingMemory(t *testing.T) {
	g := wasmtest.NewGuest()
	g.Handle = wasmtest.Echo()
	state := make([]byte, ipc.MaxChunkBytes)
	for i := range state {
		state[i] = byte(i * 7)
	}
	w := &wire{Reader: frames(t, chunk("x"), chunk(string(state)), chunk("y"))}
	if err := newPipe(inProcess(t, g.Bytes(), io.Discard), w).run(); err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(frames(t, chunk("x"), chunk(string(state)), chunk("y")))
	if err != nil || !bytes.Equal(w.out.Bytes()[len(w.out.Bytes())-len(want):], want) {
		t.Error("the frames came back changed")
	}
}

// Proves: SB-L2, SB-8
func TestGuestThatLiesIsDiscarded(t *testing.T) {
	const call = wasmtest.Length
	for name, c := range map[string]struct {
		change func(*wasmtest.Guest)
		status int
		says   string
	}{
		"address outside": {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(0xfffffff0, 64)) }, statusReturn, "outside of its memory"},
		"length outside":  {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(16, 0xffffffff)) }, statusReturn, "outside of its memory"},
		"end outside":     {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(4*65536-8, 9)) }, statusReturn, "outside of its memory"},
		"half a prefix":   {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(g.Put([]byte{0, 0, 0}), 3)) }, statusReturn, "left behind"},
		"empty frame":     {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(g.Put(make([]byte, 8)), 8)) }, statusReturn, "announces 0 bytes"},
		"frame cut off":   {func(g *wasmtest.Guest) { g.Handle = wasmtest.I64(wasmtest.Pack(g.Put([]byte{0, 0, 0, 9, 1}), 5)) }, statusReturn, "announces 9 bytes, 1 follow"},
		"frame of 4 GiB": {func(g *wasmtest.Guest) {
			g.Handle = wasmtest.I64(wasmtest.Pack(g.Put([]byte{255, 255, 255, 255, 1}), 5))
		}, statusReturn, "announces 4294967295"},
		"second frame too big": {func(g *wasmtest.Guest) {
			g.Handle = wasmtest.I64(wasmtest.Pack(g.Put([]byte{0, 0, 0, 1, 1, 1, 0, 0, 0, 9}), 10))
		}, statusReturn, "announces 16777216"},
		"trap": {func(g *wasmtest.Guest) { g.Handle = wasmtest.Op(wasmtest.Unreachable) }, statusTrap, "unreachable"},
		"trap outside": {func(g *wasmtest.Guest) {
			g.Handle = wasmtest.Op(wasmtest.I32(0xfffffff0), wasmtest.Load(0), wasmtest.Drop, wasmtest.I64(0))
		}, statusTrap, "out of bounds memory access"},
		"division by zero": {func(g *wasmtest.Guest) {
			g.Handle = wasmtest.Op(wasmtest.I32(1), wasmtest.I32(0), wasmtest.I32DivU, wasmtest.Drop, wasmtest.I64(0))
		}, statusTrap, "integer divide by zero"},
		"exit": {func(g *wasmtest.Guest) {
			exit := g.WASI("proc_exit", "i:")
			g.Handle = wasmtest.Op(wasmtest.I32(7), wasmtest.Call(exit), wasmtest.Unreachable)
		}, 7, "exited with status 7"},
		"exit with a runner's status": {func(g *wasmtest.Guest) {
			exit := g.WASI("proc_exit", "i:")
			g.Handle = wasmtest.Op(wasmtest.I32(statusTrap), wasmtest.Call(exit), wasmtest.Unreachable)
		}, lastGuestStatus, "exited"},
		"only the second call": {func(g *wasmtest.Guest) {
			g.Handle = wasmtest.Op(wasmtest.Get(call), wasmtest.If(wasmtest.Unreachable), wasmtest.I64(0))
		}, statusTrap, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			g := wasmtest.NewGuest()
			c.change(g)
			w := &wire{Reader: frames(t, chunk("x"))}
			err := newPipe(inProcess(t, g.Bytes(), io.Discard), w).run()
			var ended *guestError
			if !errors.As(err, &ended) || ended.status != c.status || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
			if w.out.Len() > 0 {
				t.Errorf("it sent % x", w.out.Bytes())
			}
		})
	}
}

// Proves: SB-L2, AD-3
func TestGuestWithBadBufferOrVersion(t *testing.T) {
	module := func(buffer, abi wasmtest.Code) []byte {
		m := wasmtest.NewModule()
		m.Func("msup_abi", ":i", 0, abi)
		m.Func("msup_buffer", "i:i", 0, buffer)
		m.Func("msup_handle", "i:I", 0, wasmtest.I64(0))
		m.Func("msup_describe", ":I", 0, wasmtest.I64(0))
		m.Export("memory", 2, 0)
		return m.Bytes()
	}
	for name, c := range map[string]struct {
		buffer wasmtest.Code
		says   string
	}{
		"no room":        {wasmtest.I32(0), "has no room"},
		"outside":        {wasmtest.I32(0xffffff00), "outside of its memory"},
		"end outside":    {wasmtest.I32(2*65536 - 4), "outside of its memory"},
		"traps":          {wasmtest.Op(wasmtest.Unreachable), "unreachable"},
		"negative place": {wasmtest.I32(0xffffffff), "outside of its memory"},
	} {
		err := newPipe(inProcess(t, module(c.buffer, wasmtest.I32(1)), io.Discard), &wire{Reader: frames(t, chunk("x"))}).run()
		var ended *guestError
		if !errors.As(err, &ended) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, err := load(module(wasmtest.I32(1), wasmtest.I32(2)), nil, environment{stdout: io.Discard, stderr: io.Discard, pages: 8})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.start()
	var ended *guestError
	if !errors.As(err, &ended) || ended.status != statusABI || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version of the guest ABI: %v", err)
	}
}

// Proves: NN-7, SB-L2, SB-4
func TestGuestSeesItsStepAndItsEnvironmentOnly(t *testing.T) {
	g := wasmtest.NewGuest()
	write := g.WASI("fd_write", "iiii:i")
	clock, random := g.WASI("clock_time_get", "iIi:i"), g.WASI("random_get", "ii:i")
	sizes, environ := g.WASI("environ_sizes_get", "ii:i"), g.WASI("environ_get", "ii:i")
	open := g.WASI("path_open", "iiiiiIIii:i")
	said := g.Print(write, 1, "out\n")
	complained := g.Print(write, 2, "err\n")
	// A frame of 2 + 56 bytes at 600: a chunk's head is not needed, nobody decodes it.
	const at = 600
	g.Handle = wasmtest.Op(
		wasmtest.Get(wasmtest.Length), wasmtest.I32Eqz, wasmtest.If(wasmtest.I64(0), wasmtest.Return), said, complained,
		wasmtest.I32(at), wasmtest.I32(48<<24), wasmtest.Store(0), // the length, big-endian
		wasmtest.I32(0), wasmtest.I64(1), wasmtest.I32(at+4), wasmtest.Call(clock), wasmtest.Drop,
		wasmtest.I32(1), wasmtest.I64(1), wasmtest.I32(at+12), wasmtest.Call(clock), wasmtest.Drop,
		wasmtest.I32(at+20), wasmtest.I32(8), wasmtest.Call(random), wasmtest.Drop,
		wasmtest.I32(at+28), wasmtest.I32(at+32), wasmtest.Call(sizes), wasmtest.Drop,
		wasmtest.I32(700), wasmtest.I32(at+36), wasmtest.Call(environ), wasmtest.Drop,
		wasmtest.I32(at+48), wasmtest.I32(3), wasmtest.I32(0), wasmtest.I32(at), wasmtest.I32(1), wasmtest.I32(0), wasmtest.I64(0), wasmtest.I64(0),
		wasmtest.I32(0), wasmtest.I32(720), wasmtest.Call(open), wasmtest.Store(0),
		wasmtest.I64(wasmtest.Pack(at, 52)))
	var printed bytes.Buffer
	w := &wire{Reader: frames(t, initMessage, quote(7, 1_234_567_890_123))}
	if err := newPipe(inProcess(t, g.Bytes(), &printed), w).run(); err != nil {
		t.Fatal(err)
	}
	if printed.String() != "out\nerr\nout\nerr\n" {
		t.Errorf("it printed %q", printed.String())
	}
	rng := ipc.NewRNG(4711, "eur", 7)
	want := binaryFrame(1_234_567_890_123, 1_234_567_890_123, rng.Uint64(), 2, uint32(len("A=1\x00B=two=2\x00")), "A=1\x00B=two=2\x00")
	if got := w.out.Bytes()[52:]; !bytes.Equal(got[:48], want[:48]) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
	if errno := w.out.Bytes()[100]; errno == 0 {
		t.Error("a file was opened")
	}
}

// No allocation per event: the collector of a runner has nothing to do.
//
// Proves: SB-L2
func TestEventCostsNoAllocation(t *testing.T) {
	g := wasmtest.NewGuest()
	g.Handle = wasmtest.Echo()
	w := &wire{}
	p := newPipe(inProcess(t, g.Bytes(), io.Discard), w)
	frame := frameOf(t, quote(7, 9))
	if n := testing.AllocsPerRun(200, func() {
		w.out.Reset()
		if _, err := p.guest.clock.observe(frame); err != nil {
			t.Fatal(err)
		}
		if err := p.handle(frame); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per event", n)
	}
}

// binaryFrame lays out what the guest above writes.
func binaryFrame(wall, mono, random uint64, count, size uint32, environ string) []byte {
	b := []byte{0, 0, 0, 48}
	for _, v := range []uint64{wall, mono, random} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, count)
	b = binary.LittleEndian.AppendUint32(b, size)
	return append(b, environ...)
}

// Proves: SB-2, SB-L2
func TestMemoryThatCannotBeHadIsAnError(t *testing.T) {
	m := reserveMemory(0, 3*PageBytes)
	if b := m.Reallocate(3 * PageBytes); len(b) != 3*PageBytes || m.Reallocate(3*PageBytes+1) != nil || len(m.Reallocate(1)) != 1 {
		t.Error("the range is not what was reserved")
	}
	m.Free()
	if m.Reallocate(1) != nil {
		t.Error("freed memory is given out")
	}
	l, err := load(wasmtest.NewGuest().Bytes(), nil, environment{stdout: io.Discard, stderr: io.Discard, pages: 8})
	if err != nil {
		t.Fatal(err)
	}
	l.guest.ctx = experimental.WithMemoryAllocator(l.guest.ctx, experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return &reservedMemory{} }))
	_, err = l.start()
	var ended *guestError
	if !errors.As(err, &ended) || ended.status != statusInvalid || !strings.Contains(err.Error(), "no room") {
		t.Errorf("error %v", err)
	}
}
