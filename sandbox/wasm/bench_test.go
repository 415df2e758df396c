package wasm

import (
	"io"
	"testing"

	"github.com/msup/msup/sandbox/wasm/wasmtest"
	"github.com/tetratelabs/wazero/api"
)

// The cost of one event in the runner, without the socket, against wazero called bare: what the pipe adds is the head of the
// frame, one more call (msup_buffer), two writes into the memory, and the check of what comes back.
func BenchmarkEvent(b *testing.B) {
	g := wasmtest.NewGuest()
	g.Handle = wasmtest.Echo()
	p := newPipe(inProcess(b, g.Bytes(), io.Discard), &wire{})
	p.out = io.Discard
	frame := frameOf(b, quote(7, 9))
	b.Run("runner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.guest.clock.observe(frame); err != nil {
				b.Fatal(err)
			}
			if err := p.handle(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.guest.stack[0] = api.EncodeI32(int32(len(frame)))
			if err := p.guest.handle.CallWithStack(p.guest.ctx, p.guest.stack[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
