package wasm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/wasm/wasmtest"
)

var patience = max(20*time.Second, sandboxtest.Patience())

// box is a Wasm sandbox with a store and a runtime folder of its own.
type box struct {
	*Sandbox
	dir   string
	store string
}

func open(t testing.TB, change func(*Config)) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "wb") // t.TempDir has paths too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("msup-wasm-%d", os.Getpid())
	p, err := process.New(process.Config{RuntimeDir: filepath.Join(dir, "r"), CgroupParent: parent, StartTimeout: sandboxtest.Patience()})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{dir: dir, store: filepath.Join(dir, "store")}
	cfg := Config{Process: p, StoreDir: b.store, CompileTimeout: sandboxtest.Patience()}
	if change != nil {
		change(&cfg)
	}
	if b.Sandbox, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "r", "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if left, err := filepath.Glob(filepath.Join(b.store, ".*-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind in the store: %v, %v", left, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// run is one started guest.
type run struct {
	sandbox.Runner
	conn *ipc.Conn

	mu    sync.Mutex
	lines []sandbox.LogLine
}

func (r *run) log() []sandbox.LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]sandbox.LogLine(nil), r.lines...)
}

func (b *box) compile(t testing.TB, module []byte) Compiled {
	t.Helper()
	c, err := b.Compile(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var limits = sandbox.Limits{MemoryBytes: 128 << 20}

// start starts a compiled guest and connects.
func (b *box) start(t testing.TB, c Compiled, env ...string) *run {
	t.Helper()
	r := &run{}
	spec := Spec(sandbox.Spec{Address: ipc.Address{Bot: "bot", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, NeedSocket: true, Limits: limits, Env: env,
		Log: func(l sandbox.LogLine) {
			r.mu.Lock()
			r.lines = append(r.lines, l)
			r.mu.Unlock()
		}}, c)
	var err error
	if r.Runner, err = b.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := r.Conn(ctx)
	if err != nil {
		t.Fatalf("%v; exit %+v; log %v", err, r.Exit(), r.log())
	}
	r.conn = ipc.NewConn(conn, ipc.FromRunner)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// ask sends a message and returns the data of the chunk that answers.
func (r *run) ask(t testing.TB, m ipc.Message) []byte {
	t.Helper()
	if err := r.conn.Send(m); err != nil {
		t.Fatalf("%v; log %v", err, r.log())
	}
	return r.receive(t)
}

func (r *run) receive(t testing.TB) []byte {
	t.Helper()
	m, err := r.conn.Receive()
	c, ok := m.(*ipc.Chunk)
	if err != nil || !ok {
		t.Fatalf("got %T, %v; exit %+v; log %v", m, err, r.Exit(), r.log())
	}
	return c.Data
}

func (r *run) wait(t testing.TB) sandbox.Exit {
	t.Helper()
	select {
	case <-r.Done():
		return r.Exit()
	case <-time.After(patience):
		t.Fatal("the runner does not end")
		return sandbox.Exit{}
	}
}

func chunk(data string) *ipc.Chunk {
	return &ipc.Chunk{Seq: 1, Total: uint64(len(data)), StateVersion: 1, Data: []byte(data)}
}

// Proves: SB-L2, NN-2, AD-3
func TestGuestEchoesAndEndsWithItsSocket(t *testing.T) {
	b := open(t, nil)
	g := wasmtest.NewGuest()
	g.Handle = wasmtest.Echo()
	r := b.start(t, b.compile(t, g.Bytes()))
	for _, text := range []string{"ping", "", string(make([]byte, 900_000))} {
		if got := r.ask(t, chunk(text)); string(got) != text {
			t.Errorf("%d bytes came back as %d", len(text), len(got))
		}
	}
	if u, err := r.Usage(); err != nil || u.CPU <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := r.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if e := r.wait(t); e.Cause != sandbox.CauseExited || e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
}
