package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const bound = 20 * time.Second

// pair is a direct connection and its peer.
func pair(t *testing.T) (direct net.Conn, peer *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "so")
	if err != nil {
		t.Fatal(err)
	}
	address := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	l, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	peer, err = net.DialUnix("unix", nil, address)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	if direct, err = Direct(accepted); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range []io.Closer{direct, peer, l} {
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []net.Conn{direct, peer} {
		if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
			t.Fatal(err)
		}
	}
	return direct, peer
}

// Proves: BC-A
func TestMoreThanTheSocketHoldsArrivesWhole(t *testing.T) {
	direct, peer := pair(t)
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	// What comes is sent back, in pieces of another size: both directions have to wait, and both go on.
	echoed := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{peer}, struct{ io.Reader }{io.LimitReader(peer, int64(len(sent)))}, make([]byte, 10_007))
		echoed <- err
	}()
	written := make(chan error, 1)
	go func() {
		n, err := direct.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		written <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(direct, got); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-written, <-echoed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
}

func TestNothingIsReadOrWrittenInto(t *testing.T) {
	direct, _ := pair(t)
	if n, err := direct.Read(nil); n != 0 || err != nil {
		t.Errorf("a read into nothing gave %d, %v", n, err)
	}
	if n, err := direct.Write(nil); n != 0 || err != nil {
		t.Errorf("a write of nothing gave %d, %v", n, err)
	}
}

// Proves: NN-2
func TestThePeersEndIsTold(t *testing.T) {
	direct, peer := pair(t)
	if _, err := peer.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(direct); string(got) != "last" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if n, err := direct.Read(make([]byte, 1)); n != 0 || err != io.EOF { // readers of frames compare with it
		t.Errorf("after the end: %d, %v", n, err)
	}
	if n, err := direct.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write to nobody gave %d, %v", n, err)
	}

	// A peer that goes while bytes for it are unread.
	direct, peer = pair(t)
	if _, err := direct.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := direct.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset connection: %v", err)
	}
}

// The pump's wait is interrupted by a deadline that another goroutine sets, and taken up again.
//
// Proves: BP-3
func TestADeadlineInterruptsAndTheReadGoesOn(t *testing.T) {
	direct, peer := pair(t)
	type result struct {
		n   int
		err error
	}
	reads := make(chan result)
	buffer := make([]byte, 10)
	read := func() { n, err := direct.Read(buffer); reads <- result{n, err} }
	go read()
	if err := direct.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := <-reads; got.n != 0 || !errors.Is(got.err, os.ErrDeadlineExceeded) {
		t.Errorf("interrupted: %+v", got)
	}
	if err := direct.SetReadDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	go read()
	if _, err := peer.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if got := <-reads; got.err != nil || string(buffer[:got.n]) != "answer" {
		t.Errorf("taken up again: %+v %q", got, buffer[:got.n])
	}
	// A write that waits for a peer who does not read ends as well, and says how far it came.
	if err := direct.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := direct.Write(make([]byte, 16<<20))
	if n == 0 || n == 16<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write to a peer that does not read: %d, %v", n, err)
	}
}

func TestCloseEndsAWait(t *testing.T) {
	direct, _ := pair(t)
	ended := make(chan error, 1)
	go func() { _, err := direct.Read(make([]byte, 1)); ended <- err }()
	time.Sleep(5 * time.Millisecond) // most often the read waits by now; both orders must end it
	if err := direct.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("the wait ended with %v", err)
		}
	case <-time.After(bound):
		t.Fatal("the wait does not end")
	}
	if _, err := direct.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}

func TestAnExchangeLeavesNoGarbage(t *testing.T) {
	direct, peer := pair(t)
	question, answer := make([]byte, 100), make([]byte, 200)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := direct.Write(question); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(answer); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, question); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(direct, answer); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations an exchange", n)
	}
}

// Whoever shares the socket's description may have made it blocking; a read waits in the poller all the same, where a deadline reaches it.
//
// Proves: BP-3
func TestASocketInBlockingModeHoldsNobodyUp(t *testing.T) {
	direct, _ := pair(t)
	raw, err := direct.(*conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var modeErr error
	if err := raw.Control(func(fd uintptr) { modeErr = syscall.SetNonblock(int(fd), false) }); err != nil || modeErr != nil {
		t.Fatal(err, modeErr)
	}
	if err := direct.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := direct.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
}

func TestOtherConnectionsStayWhatTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}()
	if got, err := Direct(a); err != nil || got != a {
		t.Errorf("%v, %v", got, err)
	}
}
