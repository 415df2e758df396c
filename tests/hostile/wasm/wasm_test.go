package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/wasm"
	w "github.com/msup/msup/sandbox/wasm/wasmtest"
	"github.com/msup/msup/tests/hostile/heartbeat"
)

func TestMain(m *testing.M) {
	process.Init(wasm.Programs()...)
	os.Exit(m.Run())
}

// The bounds of verification.md.
const (
	hardDeadline = 500 * time.Millisecond
	killWithin   = 250 * time.Millisecond
	patience     = 30 * time.Second
)

var limits = sandbox.Limits{MemoryBytes: 128 << 20, CPUQuota: 1}

// Proves: NN-2, SB-L2, SB-1, SB-2, SB-3, SB-4, SB-8
func TestHostileWasmIsRefusedBoundedOrKilled(t *testing.T) {
	modules := modules()
	all := names(modules)
	if n := len(slices.Compact(slices.Clone(all))); n != len(modules) || n < 25 {
		t.Fatalf("%d names for %d modules", n, len(modules))
	}
	h := newHost(t)
	neighbour := h.start(t, "neighbour", h.compile(t, act(func(*w.Guest) w.Code { return w.Echo() })))
	neighbour.ask(t)
	files := openFiles(t)
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			// A stall that the module causes comes again; one that comes from a busy machine does not.
			for try := 1; ; try++ {
				beat := heartbeat.New()
				h.run(t, m)
				if late := beat.Stop(); late > heartbeat.MaxLateness {
					h.tooSlow("the supervisor's heartbeat was late by %s", late)
				}
				slow := h.slow
				if h.slow = nil; len(slow) == 0 {
					break
				}
				if try == 3 {
					t.Errorf("%v, the third time in a row", slow)
					break
				}
				t.Logf("%v: once more", slow)
			}
			neighbour.ask(t)
		})
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d descriptors are open, %d were before", now, files)
	}
}

type host struct {
	box  *wasm.Sandbox
	slow []string // bounds that the present try broke
}

func (h *host) tooSlow(format string, args ...any) {
	h.slow = append(h.slow, fmt.Sprintf(format, args...))
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "wb")
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("msup-hostile-wasm-%d", os.Getpid())
	p, err := process.New(process.Config{RuntimeDir: filepath.Join(dir, "r"), CgroupParent: parent})
	if err != nil {
		t.Fatal(err)
	}
	for _, wall := range sandbox.Missing(p.Walls()) {
		t.Logf("wall missing on this host: %s: %s", wall.Name, wall.Detail)
	}
	store := filepath.Join(dir, "store")
	box, err := wasm.Open(wasm.Config{Process: p, StoreDir: store, CompileTimeout: 20 * time.Second, CompileMemoryBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(box.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		for _, pattern := range []string{filepath.Join(dir, "r", "*"), filepath.Join(store, ".*-*"), "/sys/fs/cgroup/*/" + parent} {
			if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &host{box: box}
}

func (h *host) compile(t *testing.T, module []byte) wasm.Compiled {
	t.Helper()
	c, err := h.box.Compile(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runner is one started module.
type runner struct {
	sandbox.Runner
	host *host
	conn *ipc.Conn

	mu    sync.Mutex
	lines []string
}

func (r *runner) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines[:min(len(r.lines), 5)])
}

func (h *host) start(t *testing.T, name string, c wasm.Compiled) *runner {
	t.Helper()
	r := &runner{host: h}
	var err error
	if r.Runner, err = h.box.Start(t.Context(), r.spec(name, c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
		if r.conn != nil {
			if err := r.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := r.Conn(ctx)
	if err != nil {
		t.Fatalf("%v; log %v", err, r.log())
	}
	r.conn = ipc.NewConn(conn, ipc.FromRunner)
	return r
}

func (r *runner) spec(name string, c wasm.Compiled) sandbox.Spec {
	return wasm.Spec(sandbox.Spec{
		Address: ipc.Address{Bot: "bot", Strategy: "hostile", Instance: ipc.InstanceID(name)}, Lane: ipc.LaneLL, NeedSocket: true, Limits: limits,
		Log: func(l sandbox.LogLine) {
			r.mu.Lock()
			r.lines = append(r.lines, l.Text)
			r.mu.Unlock()
		},
	}, c)
}

// deliver gives the module one frame and waits for an answer.
func (r *runner) deliver(deadline time.Duration) (ipc.Message, error) {
	if err := r.conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return nil, err
	}
	if err := r.conn.Send(&ipc.Chunk{Seq: 1, Total: 2, StateVersion: 1, Data: []byte("go")}); err != nil {
		return nil, err
	}
	return r.conn.Receive()
}

func (r *runner) ask(t *testing.T) {
	t.Helper()
	if m, err := r.deliver(patience); err != nil {
		t.Errorf("the neighbour answers %+v, %v; log %v", m, err, r.log())
	}
}

// run lets one module act, as a supervisor would.
func (h *host) run(t *testing.T, m hostile) {
	c, err := h.box.Compile(t.Context(), m.module)
	if m.want.refused != "" {
		if err == nil { // then the limits of the instance have to refuse it
			var r sandbox.Runner
			if r, err = h.box.Start(t.Context(), (&runner{}).spec(m.name, c)); err == nil {
				t.Fatalf("it was started; kill: %v", r.Kill())
			}
		}
		var typed *sandbox.Error
		if !errors.As(err, &typed) || typed.Reason != m.want.refused || typed.Op == "" || typed.Remedy == "" {
			t.Errorf("error %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	r := h.start(t, m.name, c)
	deadline := patience
	if m.want.hangs {
		deadline = hardDeadline
	}
	began := time.Now()
	answer, err := r.deliver(deadline)
	switch {
	case m.want.answers:
		if got, ok := answer.(*ipc.Chunk); err != nil || !ok || string(got.Data) != "all refused" {
			t.Errorf("answer %+v, %v; exit %+v; log %v", answer, err, r.Exit(), r.log())
		}
		r.kill(t)
	case m.want.hangs:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("answer %+v, %v; exit %+v", answer, err, r.Exit())
		}
		r.kill(t)
		if took := time.Since(began); took > hardDeadline+killWithin {
			h.tooSlow("it lived for %s", took)
		}
	case m.want.lies != "":
		if ipc.ClassOf(err) != m.want.lies {
			t.Errorf("answer %+v, error %v of class %q", answer, err, ipc.ClassOf(err))
		}
		r.kill(t)
	default:
		r.ended(t, m.want, answer, err)
	}
	r.check(t, m.want)
}

// ended checks a runner that has to end by itself.
func (r *runner) ended(t *testing.T, want want, answer ipc.Message, err error) {
	t.Helper()
	if err == nil || (!errors.Is(err, io.EOF) && ipc.ClassOf(err) != "") {
		t.Errorf("answer %+v, %v", answer, err)
	}
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("it lives on")
	}
	e := r.Exit()
	if !slices.Contains(want.ends, e.Reason) || (want.code != 0 && e.Code != want.code) {
		t.Errorf("exit %+v", e)
	}
}

// check looks at what every end has in common.
func (r *runner) check(t *testing.T, want want) {
	t.Helper()
	e := r.Exit()
	if e.Reason == "" || e.Detail == "" {
		t.Errorf("exit %+v does not say why", e)
	}
	found := sandbox.Violations(limits.OrDefault(), e, r.Logs())
	if want.violation != "" && !slices.ContainsFunc(found, func(v sandbox.Violation) bool { return v.Kind == want.violation && v.Reason != "" }) {
		t.Errorf("violations %v, want %s", found, want.violation)
	}
	if e.Usage.MemoryPeakBytes > limits.MemoryBytes+1<<20 { // the kernel overshoots by a page
		t.Errorf("it had %d bytes of memory", e.Usage.MemoryPeakBytes)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("process %d is still there: %v", r.PID(), err)
	}
}

// kill ends it and checks the bound.
func (r *runner) kill(t *testing.T) {
	t.Helper()
	began := time.Now()
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > killWithin {
		r.host.tooSlow("the kill took %s", took)
	}
	if e := r.Exit(); e.Cause != sandbox.CauseKilled {
		t.Errorf("exit %+v", e)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
