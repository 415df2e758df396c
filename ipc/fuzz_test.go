package ipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// seed adds the payload of every golden file, the invalid ones too.
func seed(f *testing.F, add func([]byte)) {
	for _, pattern := range []string{"vectors/*.bin", "vectors/invalid/*.bin"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files (%v); run go test ./ipc/vectors -update", pattern, len(names), err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(b) < 4096 {
				add(b)
			}
		}
	}
}

// decodeBound is what decoding n bytes may allocate at most: the widest ratio is an intent of 15 bytes on the wire, whose
// struct takes 300; beyond it only errors and slack of the size classes.
func decodeBound(n int) uint64 { return 64*uint64(n) + 64<<10 }

func fuzzMessage(f *testing.F, from Direction) {
	seed(f, func(b []byte) { f.Add(b[min(len(b), lengthBytes):]) })
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m Message
		var err error
		if spent := allocated(func() { m, err = DecodeMessage(frame, from) }); spent > decodeBound(len(frame)) {
			t.Fatalf("%d bytes allocated for a frame of %d", spent, len(frame))
		}
		if err != nil {
			if ClassOf(err) == "" || err.Error() == "" {
				t.Fatalf("an error without a class: %#v", err)
			}
			return
		}
		if peeked, err := PeekType(frame); err != nil || peeked != m.Type() || !from.Allows(peeked) {
			t.Fatalf("%s was peeked as %s (%v)", m.Type(), peeked, err)
		}
		checkStable(t, m)
		if a, ok := m.(*Answer); ok {
			if _, err := AnswerDigest(a); err != nil {
				t.Fatalf("an answer without a digest: %v", err)
			}
		}
	})
}

// Proves: NN-7
func FuzzDecodeRunnerMessage(f *testing.F) { fuzzMessage(f, FromRunner) }

// Proves: NN-7
func FuzzDecodeSupervisorMessage(f *testing.F) { fuzzMessage(f, FromSupervisor) }

// Proves: NN-7
func FuzzDecodeBoundaryMessage(f *testing.F) { fuzzMessage(f, FromPeer) }

// Proves: NN-7
func FuzzDecodeEvent(f *testing.F) {
	seed(f, func(b []byte) {
		if m, err := DecodeMessage(b[min(len(b), lengthBytes):], FromAnyone); err == nil {
			if d, ok := m.(*Deliver); ok {
				e, err := AppendEvent(nil, d.Event)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(e)
			}
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		var err error
		if spent := allocated(func() { e, err = DecodeEvent(b) }); spent > decodeBound(len(b)) {
			t.Fatalf("%d bytes allocated for an event of %d", spent, len(b))
		}
		if err != nil {
			return
		}
		first, err := AppendEvent(nil, e)
		if err != nil {
			t.Fatalf("%+v was read but cannot be written: %v", e, err)
		}
		back, err := DecodeEvent(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := AppendEvent(nil, back); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x is written again as %x (%v)", first, second, err)
		}
	})
}

// Cut into any pieces, a stream gives the same frames, or the same error.
// Proves: NN-7
func FuzzFrameReader(f *testing.F) {
	seed(f, func(b []byte) { f.Add(b, uint8(1)); f.Add(append(bytes.Clone(b), b...), uint8(7)) })
	f.Fuzz(func(t *testing.T, stream []byte, most uint8) {
		whole, wholeErr := readAll(t, stream, 1<<20)
		pieces, piecesErr := readAll(t, stream, int(most))
		if ClassOf(wholeErr) != ClassOf(piecesErr) || len(whole) != len(pieces) {
			t.Fatalf("%d frames and %v at once, %d frames and %v in pieces", len(whole), wholeErr, len(pieces), piecesErr)
		}
		for i := range whole {
			if !bytes.Equal(whole[i], pieces[i]) {
				t.Fatalf("frame %d differs", i)
			}
		}
	})
}

func readAll(t *testing.T, stream []byte, most int) (frames [][]byte, err error) {
	f := NewFrameReader(&script{data: bytes.Clone(stream), most: most}, FromRunner)
	at := 0
	for {
		frame, err := f.Next()
		if err != nil {
			if cap(f.buf) > 2*len(stream)+startBuffer {
				t.Fatalf("%d bytes are held for %d sent", cap(f.buf), len(stream))
			}
			if errors.Is(err, io.EOF) && at != len(stream) {
				t.Fatalf("the end at byte %d of %d", at, len(stream))
			}
			return frames, err
		}
		if n := int(binary.BigEndian.Uint32(stream[at:])); n != len(frame) || !bytes.Equal(stream[at+lengthBytes:at+lengthBytes+n], frame) {
			t.Fatalf("a frame of %d bytes in place of %d", len(frame), n)
		}
		at += lengthBytes + len(frame)
		frames = append(frames, bytes.Clone(frame))
	}
}

// Proves: NN-7
func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0", "-0.015", "12E-3", "9223372036854775807E127", "1E-128", ".5", "5.", "+1e+1", "1.000000000000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		if !d.Valid() {
			t.Fatalf("%q reads as %#v", s, d)
		}
		back, err := ParseDecimal(d.String())
		if err != nil || back != d {
			t.Fatalf("%q reads as %v, written %q reads as %v (%v)", s, d, d.String(), back, err)
		}
	})
}
