package ipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// script is a stream whose reads and writes are counted and cut as the test wants.
type script struct {
	data  []byte
	most  int // bytes a read
	reads int
}

func (s *script) Read(p []byte) (int, error) {
	s.reads++
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), max(s.most, 1))], s.data)
	s.data = s.data[n:]
	return n, nil
}

func frameOf(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := AppendFrame(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func seqOf(t *testing.T, frame []byte, from Direction) uint64 {
	t.Helper()
	m, err := DecodeMessage(frame, from)
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *Answer:
		return m.Seq
	case *Chunk:
		return m.Seq
	}
	t.Fatalf("unexpected %T", m)
	return 0
}

// Proves: BC-F
func TestFrameReaderCutsAnyStream(t *testing.T) {
	var stream []byte
	const count = 50
	for i := range count {
		stream = append(stream, frameOf(t, &Answer{Seq: uint64(i), Step: 1})...)
		stream = append(stream, frameOf(t, &Chunk{Seq: uint64(i), Data: make([]byte, i*1500)})...)
	}
	for _, most := range []int{1, 2, 3, 5, 7, 100, 4096, 1 << 20} {
		f := NewFrameReader(&script{data: bytes.Clone(stream), most: most}, FromRunner)
		for i := range 2 * count {
			frame, err := f.Next()
			if err != nil {
				t.Fatalf("%d bytes a read, frame %d: %v", most, i, err)
			}
			if got := seqOf(t, frame, FromRunner); got != uint64(i/2) {
				t.Fatalf("%d bytes a read: frame %d has seq %d", most, i, got)
			}
		}
		if _, err := f.Next(); !errors.Is(err, io.EOF) || f.Buffered() != 0 {
			t.Errorf("%d bytes a read: at the end %v, %d bytes left", most, err, f.Buffered())
		}
	}
}

// Proves: NN-4
func TestSmallFramesCostOneReadAndOneWrite(t *testing.T) {
	s := &script{data: frameOf(t, &Answer{Seq: 1, Step: 1}), most: 1 << 20}
	f := NewFrameReader(s, FromRunner)
	if _, err := f.Next(); err != nil || s.reads != 1 {
		t.Errorf("%d reads (%v)", s.reads, err)
	}
	var w countingWriter
	out := NewFrameWriter(&w)
	for i := range 3 {
		if err := out.Write(&Stop{Seq: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	event, err := AppendEvent(nil, &Shutdown{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.WriteDeliver(4, 1, 1, "", event), out.WriteBatch(5, 2, []EncodedEvent{{Event: event}})); err != nil {
		t.Fatal(err)
	}
	if w.writes != 5 {
		t.Errorf("%d writes for five frames", w.writes)
	}
	in := NewFrameReader(&w.Buffer, FromSupervisor)
	for i := range 5 {
		frame, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeMessage(frame, FromSupervisor); err != nil {
			t.Errorf("frame %d: %v", i, err)
		}
	}
}

type countingWriter struct {
	bytes.Buffer
	writes int
	err    error
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	if w.err != nil {
		return 0, w.err
	}
	return w.Buffer.Write(p)
}

// Proves: BC-F
func TestFrameWriterEndsWithTheStream(t *testing.T) {
	w := countingWriter{}
	out := NewFrameWriter(&w)
	if err := out.Write(&Hello{}); err == nil || w.writes != 0 {
		t.Errorf("a message that cannot be encoded: %v, %d writes", err, w.writes)
	}
	if err := out.Write(&Stop{}); err != nil {
		t.Errorf("after an encoding error the stream is broken: %v", err)
	}
	w.err = io.ErrClosedPipe
	if err := out.Write(&Stop{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken stream: %v", err)
	}
	w.err = nil
	if err := out.Write(&Stop{}); !errors.Is(err, io.ErrClosedPipe) || w.writes != 2 {
		t.Errorf("after half a frame may be out, %d writes (%v)", w.writes, err)
	}
}

func unixPair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// A blocked read can be poked in the middle of a frame and goes on afterwards.
// Proves: BP-3
func TestReadIsResumedAfterATimeout(t *testing.T) {
	peer, mine := unixPair(t)
	conn := NewConn(mine, FromRunner)
	frame := frameOf(t, &Chunk{Seq: 3, Data: bytes.Repeat([]byte("s"), 3000)})
	for _, part := range [][]byte{frame[:2], frame[2:4], frame[4:9], frame[9:2000]} {
		if _, err := peer.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if m, err := conn.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("expected a timeout, got %v, %v", m, err)
		}
	}
	done := make(chan error, 1)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { // another goroutine pokes the blocked read
		_, err := conn.Receive()
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the poked read ended with %v", err)
	}
	if _, err := peer.Write(frame[2000:]); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	m, err := conn.Receive()
	if c, ok := m.(*Chunk); err != nil || !ok || c.Seq != 3 || len(c.Data) != 3000 {
		t.Fatalf("the whole frame reads as %v, %v", m, err)
	}
	peer.Close()
	if _, err := conn.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// Proves: BC-F
func TestConnCarriesBothWays(t *testing.T) {
	a, b := unixPair(t)
	runner, supervisor := NewConn(a, FromSupervisor), NewConn(b, FromRunner)
	event, err := AppendEvent(nil, &Timer{TimerID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, send := range []func() error{
		func() error { return supervisor.SendDeliver(1, 2, 3, "", event) },
		func() error { return supervisor.SendBatch(1, 2, []EncodedEvent{{Event: event}}) },
		func() error { return supervisor.Send(&Stop{Seq: 4}) },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []MessageType{TypeDeliver, TypeBatch, TypeStop} {
		if m, err := runner.Receive(); err != nil || m.Type() != want {
			t.Fatalf("received %v (%v), expected %v", m, err, want)
		}
	}
	if err := runner.Send(&Answer{Seq: 1, Step: 2}); err != nil {
		t.Fatal(err)
	}
	if err := runner.Send(&Answer{Seq: 1, Step: 2}); err != nil {
		t.Fatal(err)
	}
	if frame, err := supervisor.ReceiveFrame(); err != nil || seqOf(t, frame, FromRunner) != 1 {
		t.Fatal(err)
	}
	if supervisor.Frames().Buffered() == 0 { // both were there before the one read
		t.Error("the second answer went unnoticed")
	}
}

// Proves: SB-2, NN-7
func TestFrameLimitsAreJudgedFromTheFirstBytes(t *testing.T) {
	head := func(n uint32, rest ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), rest...) }
	for _, c := range []struct {
		name  string
		from  Direction
		bytes []byte
		limit int
		class ErrorClass
	}{
		{"answer of 64 KiB and one", FromRunner, head(64<<10+1, 0x99, 3), 0, ClassFrameTooLarge},
		{"answer above the descriptor's limit", FromRunner, head(1001, 0x99, 3), 1000, ClassFrameTooLarge},
		{"chunk above its limit", FromRunner, head(1<<20+65, 0x96, 8), 0, ClassFrameTooLarge},
		{"anything above 16 MiB", FromPeer, head(16<<20 + 1), 0, ClassFrameTooLarge},
		{"empty frame", FromPeer, head(0), 0, ClassFrameEmpty},
		{"wrong side", FromRunner, head(50, 0x96, 4), 0, ClassDirection},
		{"unknown type", FromRunner, head(50, 0x96, 99), 0, ClassUnknownType},
		{"no array", FromRunner, head(50, 'G', 'E', 'T'), 0, ClassWrongType},
		{"whole frame, head cut", FromRunner, head(2, 0xdc, 0), 0, ClassTruncated},
	} {
		s := &script{data: c.bytes, most: 1}
		f := NewFrameReader(s, c.from)
		f.SetAnswerLimit(c.limit)
		_, err := f.Next()
		if ClassOf(err) != c.class {
			t.Errorf("%s: %v, expected class %s", c.name, err, c.class)
		}
		if _, again := f.Next(); !errors.Is(again, err) {
			t.Errorf("%s: the next call gives %v", c.name, again)
		}
	}
	for name, at := range map[string][]byte{"answer": head(64<<10, 0x99, 3), "chunk": head(1<<20+64, 0x96, 8)} {
		f := NewFrameReader(&script{data: at, most: 100}, FromRunner)
		if _, err := f.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s at its limit: %v", name, err)
		}
	}
}

// A peer that promises much and sends little makes the reader hold little; a large frame's buffer is given back.
// Proves: SB-2
func TestFrameReaderMemoryFollowsWhatWasSent(t *testing.T) {
	promise := append(binary.BigEndian.AppendUint32(nil, MaxFrameBytes), 0x96, byte(TypeEvent))
	f := NewFrameReader(&script{data: append(promise, make([]byte, 20_000)...), most: 1 << 20}, FromPeer)
	if _, err := f.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if cap(f.buf) > 64<<10 {
		t.Errorf("%d bytes are held for 20,000 sent", cap(f.buf))
	}
	large := frameOf(t, &Chunk{Data: make([]byte, MaxChunkBytes)})
	f = NewFrameReader(&script{data: append(large, frameOf(t, &Chunk{Seq: 1})...), most: 4096}, FromRunner)
	for range 2 {
		if _, err := f.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(f.buf) > keepBuffer {
		t.Errorf("%d bytes are kept after a large frame", cap(f.buf))
	}
}

// silent never sends and never ends.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// Proves: NN-7
func TestFrameReaderEndsOnAStreamWithoutProgress(t *testing.T) {
	if _, err := NewFrameReader(silent{}, FromPeer).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("ended with %v", err)
	}
}
