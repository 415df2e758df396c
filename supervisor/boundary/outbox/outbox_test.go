package outbox

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

func pair(t *testing.T, limit int) (*Outbox, net.Conn, chan error) {
	t.Helper()
	a, b := net.Pipe()
	o := New(a, limit)
	done := make(chan error, 1)
	go func() { done <- o.Run() }()
	t.Cleanup(func() { o.Close(); _ = a.Close(); _ = b.Close() })
	return o, b, done
}

// A peer that reads nothing fills the queue; the one who puts is told, not held.
// Proves: BC-I
func TestSlowPeerHoldsNobody_BCI(t *testing.T) {
	o, peer, _ := pair(t, 100)
	var err error
	n := 0
	for ; n < 1000; n++ {
		if err = o.Put(&ipc.Sync{Seq: uint64(n)}); err != nil {
			time.Sleep(10 * time.Millisecond) // Run may not have taken the first frames yet
			if err = o.Put(&ipc.Sync{Seq: uint64(n)}); err != nil {
				break
			}
		}
	}
	if !errors.Is(err, ErrFull) || n > 60 {
		t.Fatalf("after %d frames: %v, want ErrFull", n, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := o.PutWait(ctx, &ipc.Sync{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("PutWait on a full queue: %v", err)
	}
	put := make(chan error, 1)
	go func() { put <- o.PutWait(context.Background(), &ipc.Sync{Seq: 9999}) }()
	in := ipc.NewFrameReader(peer, ipc.FromM)
	for want := uint64(0); want <= uint64(n); want++ {
		frame, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		m, err := ipc.DecodeMessage(frame, ipc.FromM)
		if err != nil {
			t.Fatal(err)
		}
		got := m.(*ipc.Sync).Seq
		if want == uint64(n) && got == 9999 {
			break
		}
		if got != want {
			t.Fatalf("frame %d arrives as number %d", got, want)
		}
	}
	if err := <-put; err != nil {
		t.Fatal(err)
	}
}

// Proves: BC-I
func TestCloseWritesWhatIsQueued_BCI(t *testing.T) {
	o, peer, done := pair(t, 1<<20)
	for i := range 100 {
		if err := o.Put(&ipc.Sync{Seq: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	o.Close()
	if err := o.Put(&ipc.Sync{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	in := ipc.NewFrameReader(peer, ipc.FromM)
	for i := range 100 {
		if _, err := in.Next(); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Proves: BC-I
func TestBrokenStreamIsTold_BCI(t *testing.T) {
	o, peer, done := pair(t, 100)
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	_ = o.Put(&ipc.Sync{}) // it may be the first to notice or not
	if err := <-done; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Run: %v", err)
	}
	if err := o.Put(&ipc.Sync{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Put: %v", err)
	}
}

// A message that cannot be encoded leaves no half frame behind.
// Proves: BC-I
func TestUnencodableMessageLeavesNothing_BCI(t *testing.T) {
	o, peer, _ := pair(t, 100)
	if err := o.Put(&ipc.Offer{}); err == nil {
		t.Fatal("an offer without intent was encoded")
	}
	if err := o.Put(&ipc.Sync{Seq: 5}); err != nil {
		t.Fatal(err)
	}
	frame, err := ipc.NewFrameReader(peer, ipc.FromM).Next()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := ipc.DecodeMessage(frame, ipc.FromM); err != nil || m.(*ipc.Sync).Seq != 5 {
		t.Errorf("%v %v", m, err)
	}
}
