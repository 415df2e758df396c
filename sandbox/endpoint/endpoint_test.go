package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
)

// bound is the time in which something has to happen that takes less than a ms on an idle machine.
const bound = 20 * time.Second

// listening makes an endpoint in a folder with a path short enough for a socket.
func listening(t *testing.T) (*Endpoint, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	e, err := Listen(filepath.Join(dir, "r"), os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	return e, filepath.Join(e.Dir(), filepath.Base(sandbox.SocketPath))
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	return c
}

// accepting runs Accept, and tells when it has returned.
func accepting(t *testing.T, e *Endpoint, recognise func(pid, uid int) error, refused func(error)) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Accept(recognise, refused)
	}()
	return done
}

func itself(pid, uid int) error {
	if pid != os.Getpid() || uid != os.Geteuid() {
		return fmt.Errorf("the peer is process %d of user %d", pid, uid)
	}
	return nil
}

func await(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(bound):
		t.Fatalf("%s does not come", what)
	}
}

// Proves: SB-L1, NN-2
func TestTheFirstRecognisedPeerHasTheOnePlace(t *testing.T) {
	e, path := listening(t)
	var turned []error
	calls := 0
	done := accepting(t, e, func(pid, uid int) error {
		if calls++; calls == 1 {
			return errors.New("a stranger")
		}
		return itself(pid, uid)
	}, func(err error) { turned = append(turned, err) })

	stranger := dial(t, path)
	if n, err := stranger.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the stranger read %d bytes, %v", n, err)
	}
	runner := dial(t, path)
	c, err := e.Conn(t.Context(), "connect", bound)
	if err != nil {
		t.Fatal(err)
	}
	await(t, done, "the end of Accept")
	if len(turned) != 1 || !strings.Contains(turned[0].Error(), "a stranger") {
		t.Errorf("refused %v", turned)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(runner, got); err != nil || got[0] != 'x' {
		t.Errorf("the runner read %q, %v", got, err)
	}
	// The socket is gone, its folder is not: it is bound inside.
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
	if _, err := os.Stat(e.Dir()); err != nil {
		t.Error(err)
	}
	if again, err := net.Dial("unix", path); err == nil {
		t.Error("a second connection was taken", again.Close())
	}
	// Everybody who asks gets the same answer, and the end of the runner does not take it back.
	e.End(errors.New("ended"))
	if again, err := e.Conn(t.Context(), "connect", bound); err != nil || again != c {
		t.Errorf("a second call got %v, %v", again, err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(e.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
	if _, err := c.Write([]byte("y")); err != nil {
		t.Errorf("the connection did not outlive the endpoint: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Proves: SB-L1
func TestTheKernelNamesThePeer(t *testing.T) {
	e, path := listening(t)
	seen := make(chan [2]int, 1)
	done := accepting(t, e, func(pid, uid int) error {
		seen <- [2]int{pid, uid}
		return nil
	}, func(err error) { t.Errorf("refused: %v", err) })
	dial(t, path)
	await(t, done, "the end of Accept")
	if got := <-seen; got != [2]int{os.Getpid(), os.Geteuid()} {
		t.Errorf("the peer is %v", got)
	}
	c, err := e.Conn(t.Context(), "connect", bound)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// Proves: SB-L1, SB-8
func TestNoConnectionSaysWhy(t *testing.T) {
	e, _ := listening(t)
	done := accepting(t, e, itself, func(err error) { t.Errorf("refused: %v", err) })
	typed := func(err error) *sandbox.Error {
		var known *sandbox.Error
		if !errors.As(err, &known) {
			t.Fatalf("error %v (%T)", err, err)
		}
		return known
	}
	_, err := e.Conn(t.Context(), "connect to bot/s/i", time.Millisecond)
	if k := typed(err); k.Reason != sandbox.ReasonNoConnection || k.Op != "connect to bot/s/i" || k.Remedy == "" {
		t.Errorf("after its time: %+v", k)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Conn(ctx, "connect", bound); !errors.Is(err, context.Canceled) || typed(err).Reason != sandbox.ReasonNoConnection {
		t.Errorf("under a cancelled context: %v", err)
	}
	select {
	case <-e.Settled():
		t.Error("settled, though the runner may still connect")
	default:
	}
	why := errors.New("the runner ended first")
	e.End(why)
	await(t, e.Settled(), "the answer")
	for range 2 {
		if c, err := e.Conn(t.Context(), "connect", bound); c != nil || !errors.Is(err, why) {
			t.Errorf("after the end: %v, %v", c, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	await(t, done, "the end of Accept")
}

// A peer that comes in the moment in which its runner is found dead gets nothing, and its descriptor is not kept.
//
// Proves: SB-L1
func TestAConnectionAfterTheEndIsClosed(t *testing.T) {
	e, path := listening(t)
	done := accepting(t, e, func(int, int) error {
		e.End(errors.New("ended"))
		return nil
	}, func(err error) { t.Errorf("refused: %v", err) })
	c := dial(t, path)
	await(t, done, "the end of Accept")
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Proves: SB-L1
func TestListenOpensNothingElse(t *testing.T) {
	e, path := listening(t)
	for p, want := range map[string]fs.FileMode{e.Dir(): fs.ModeDir | 0o711, path: fs.ModeSocket | 0o600} {
		if st, err := os.Stat(p); err != nil || st.Mode() != want {
			t.Errorf("%s has mode %v, want %v, %v", p, st.Mode(), want, err)
		}
	}
	if _, err := Listen(e.Dir(), os.Geteuid()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second endpoint in the same folder: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	// What cannot be made leaves nothing behind.
	long := filepath.Join(filepath.Dir(e.Dir()), strings.Repeat("x", 100))
	if _, err := Listen(long, os.Geteuid()); err == nil {
		t.Error("a socket with a path that the kernel does not take")
	}
	if _, err := os.Stat(long); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}
