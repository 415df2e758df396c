package ipc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// chunkFrame is a runner's frame of about n bytes.
func chunkFrame(t *testing.T, n int) []byte {
	t.Helper()
	b, err := AppendFrame(nil, &Chunk{Seq: 1, Total: uint64(n), StateVersion: 1, Data: make([]byte, n)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// budgeted is a session whose frames count on b, with the runner's end of it.
func budgeted(t *testing.T, b *Budget) (*Conn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	c := NewConn(ours, FromRunner)
	c.Frames().SetBudget(b)
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), theirs.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, theirs
}

// However many runners send their largest frame at once, no more is held than the budget, all of them come through, and nothing stays taken.
//
// Proves: SB-2
func TestFramesOfAllRunnersTogetherAreBounded(t *testing.T) {
	frame := chunkFrame(t, MaxChunkBytes)
	const runners, rounds = 24, 3
	b := NewBudget("frames", int64(3*len(frame)), time.Minute)
	var wg sync.WaitGroup
	for range runners {
		c, runner := budgeted(t, b)
		wg.Go(func() {
			for range rounds {
				if _, err := runner.Write(frame); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				m, err := c.Receive()
				if chunk, ok := m.(*Chunk); err != nil || !ok || len(chunk.Data) != MaxChunkBytes {
					t.Errorf("got %T, %v", m, err)
				}
				if held := b.Held(); held < 0 || held > int64(3*len(frame)) {
					t.Errorf("%d bytes are held", held)
				}
			}
		})
	}
	wg.Wait()
	if b.Held() != 0 || b.Refused() != 0 {
		t.Errorf("%d bytes stay held, %d refused", b.Held(), b.Refused())
	}
}

// Proves: SB-2, SB-8
func TestALargeFrameIsRefusedWhereASmallOneIsNot(t *testing.T) {
	large, small := chunkFrame(t, MaxChunkBytes), chunkFrame(t, 60<<10)
	b := NewBudget("frames", int64(len(large)), 20*time.Millisecond)
	hog, slow := budgeted(t, b)
	held := make(chan error)
	go func() { // it promises a megabyte, and sends all but a byte
		_, err := slow.Write(large[:len(large)-1])
		held <- err
	}()
	if err := hog.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := hog.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if b.Held() != int64(len(large)) {
		t.Fatalf("%d bytes are held", b.Held())
	}
	small1 := NewFrameReader(bytes.NewReader(small), FromRunner)
	small1.SetBudget(b)
	if _, err := small1.Next(); err != nil {
		t.Errorf("a small frame waits for the large one: %v", err)
	}
	other := NewFrameReader(bytes.NewReader(large), FromRunner)
	other.SetBudget(b)
	var crowded *BudgetError
	if _, err := other.Next(); !errors.As(err, &crowded) || crowded.Bytes != int64(len(large)) || crowded.Held != int64(len(large)) {
		t.Errorf("got %v", err)
	}
	// The hog's end, here by the supervisor's hand, makes room.
	if err := hog.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Next(); err != nil {
		t.Errorf("with room: %v", err)
	}
	if _, err := other.Next(); !errors.Is(err, io.EOF) || b.Held() != 0 {
		t.Errorf("%v, %d bytes stay held", err, b.Held())
	}
}

// A stream that ends or breaks in the middle of a large frame gives back what it took.
//
// Proves: SB-2
func TestABrokenStreamHoldsNothing(t *testing.T) {
	large := chunkFrame(t, MaxChunkBytes)
	b := NewBudget("frames", int64(len(large)), time.Millisecond)
	for _, src := range []io.Reader{
		bytes.NewReader(large[:len(large)/2]),
		io.MultiReader(bytes.NewReader(large[:len(large)/2]), &failing{}),
	} {
		f := NewFrameReader(src, FromRunner)
		f.SetBudget(b)
		if _, err := f.Next(); err == nil || errors.As(err, new(*BudgetError)) || b.Held() != 0 {
			t.Errorf("%v, %d bytes stay held", err, b.Held())
		}
	}
	f := NewFrameReader(bytes.NewReader(append(chunkFrame(t, MaxChunkBytes), 0, 0, 0, 0)), FromRunner)
	f.SetBudget(b)
	if _, err := f.Next(); err != nil || b.Held() == 0 {
		t.Fatalf("%v, %d bytes are held", err, b.Held())
	}
	if _, err := f.Next(); ClassOf(err) != ClassFrameEmpty || b.Held() != 0 {
		t.Errorf("%v, %d bytes stay held", err, b.Held())
	}
	if err := b.Take(int64(len(large)) + 1); !errors.As(err, new(*BudgetError)) {
		t.Errorf("more than there is was given: %v", err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, net.ErrClosed }
