package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
)

func TestMain(m *testing.M) {
	process.Init()
	os.Exit(m.Run())
}

// The bounds of verification.md: a runner that does not answer is dead this long after its deadline.
const (
	hardDeadline = 500 * time.Millisecond
	killWithin   = 250 * time.Millisecond
	patience     = 30 * time.Second // for what takes ms on an idle machine
)

// want says how a hostile strategy has to end.
type want struct {
	entry     string // module:Class
	refused   bool   // it lives, answers, and every attempt was refused
	hangs     bool   // it does not answer; the hard deadline kills it
	lies      ipc.ErrorClass
	seq       bool // an answer to no question
	end       sandbox.Cause
	code      int
	signal    int
	violation sandbox.ViolationKind
}

var strategies = []want{
	{entry: "hostile_resources:MemoryHog", end: sandbox.CauseOOM, signal: 9, violation: sandbox.ViolationMemory},
	{entry: "hostile_resources:ForkBomb", refused: true},
	{entry: "hostile_resources:ThreadBomb", refused: true, violation: sandbox.ViolationPIDs},
	{entry: "hostile_resources:FileHog", refused: true},
	{entry: "hostile_resources:DiskFiller", refused: true},
	{entry: "hostile_resources:LogFlooder", hangs: true, violation: sandbox.ViolationLog},
	{entry: "hostile_resources:Recursion", end: sandbox.CauseSignaled, signal: 11, violation: sandbox.ViolationSignal},
	{entry: "hostile_resources:Spinner", hangs: true},
	{entry: "hostile_escape:Dialer", refused: true},
	{entry: "hostile_escape:Tracer", refused: true},
	{entry: "hostile_escape:Mounter", refused: true},
	{entry: "hostile_escape:KernelProber", refused: true},
	{entry: "hostile_escape:Linker", refused: true},
	{entry: "hostile_escape:Snoop", refused: true},
	{entry: "hostile_escape:Killer", refused: true},
	{entry: "hostile_escape:Pickler", refused: true},
	{entry: "hostile_protocol:Garbage", lies: ipc.ClassWrongType},
	{entry: "hostile_protocol:LengthBomb", lies: ipc.ClassFrameTooLarge},
	{entry: "hostile_protocol:DeepBomb", lies: ipc.ClassTooDeep},
	{entry: "hostile_protocol:Repeater", seq: true},
	{entry: "hostile_protocol:Mute", hangs: true},
	{entry: "hostile_protocol:Quitter", end: sandbox.CauseExited, code: 137, violation: sandbox.ViolationExit},
	{entry: "hostile_protocol:Crasher", end: sandbox.CauseSignaled, signal: 11, violation: sandbox.ViolationSignal},
	{entry: "hostile_protocol:HangUp", hangs: true},
	{entry: "hostile_protocol:Smuggler", lies: ipc.ClassFrameEmpty},
}

var limits = sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 32, OpenFiles: 64, TmpBytes: 4 << 20, TmpInodes: 64, CPUQuota: 1}.OrDefault()

// Proves: NN-2, SB-1, SB-2, SB-3, SB-4, SB-6, SB-8
func TestHostilePythonIsRefusedBoundedOrKilled(t *testing.T) {
	h := newHost(t)
	neighbour := h.start(t, "neighbour:Neighbour")
	neighbour.begin(t)
	files := openFiles(t)
	for _, w := range strategies {
		_, name, _ := strings.Cut(w.entry, ":")
		t.Run(name, func(t *testing.T) {
			h.run(t, w)
			neighbour.ask(t, patience)
		})
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d descriptors are open, %d were before", now, files)
	}
}

// host is the sandbox with what all runners share.
type host struct {
	box     *process.Sandbox
	runtime python.Runtime
	dir     string // of the strategies
}

func newHost(t *testing.T) *host {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	interpreter := os.Getenv("MSUP_PYTHON")
	if interpreter == "" {
		interpreter = filepath.Join(root, ".venv", "bin", "python3")
	}
	rt, err := python.Discover(t.Context(), interpreter)
	if err != nil {
		t.Fatalf("%v (make setup makes .venv; MSUP_PYTHON names another interpreter that has the SDK)", err)
	}
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("msup-hostile-%d", os.Getpid())
	box, err := process.New(process.Config{RuntimeDir: dir, CgroupParent: parent})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range sandbox.Missing(box.Walls()) {
		t.Logf("wall missing on this host: %s: %s", w.Name, w.Detail)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil { // not RemoveAll: it has to be empty
			t.Errorf("left behind: %v", err)
		}
		if groups, err := filepath.Glob("/sys/fs/cgroup/*/" + parent); err != nil || len(groups) > 0 {
			t.Errorf("left behind: %v, %v", groups, err)
		}
	})
	return &host{box: box, runtime: rt, dir: filepath.Join(root, "tests", "hostile", "python")}
}

// runner is one started strategy.
type runner struct {
	sandbox.Runner
	conn *ipc.Conn
	seq  uint64
	step ipc.Step

	mu    sync.Mutex
	lines []string
}

func (h *host) start(t *testing.T, entry string) *runner {
	t.Helper()
	r := &runner{}
	_, name, _ := strings.Cut(entry, ":")
	spec := sandbox.Spec{
		Address: ipc.Address{Bot: "bot", Strategy: "hostile", Instance: ipc.InstanceID(name)}, Lane: ipc.LaneLL,
		Argv:  h.runtime.Argv("-m", "msup.runner"),
		Env:   append(slices.Clone(h.runtime.Env), "MSUP_ENTRY="+entry, "MSUP_PACKAGE_HASH="+strings.Repeat("0", 64)),
		Binds: append(slices.Clone(h.runtime.Binds), sandbox.Bind{Source: h.dir, Target: "/strategy", NoExec: true}),
		Dir:   "/strategy", Limits: limits, NeedSocket: true,
		Log: func(l sandbox.LogLine) {
			r.mu.Lock()
			r.lines = append(r.lines, l.Text)
			r.mu.Unlock()
		},
	}
	var err error
	if r.Runner, err = h.box.Start(t.Context(), spec); err != nil {
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
	c, err := r.Conn(ctx)
	if err != nil {
		t.Fatalf("%v; log %v", err, r.log())
	}
	r.conn = ipc.NewConn(c, ipc.FromRunner)
	return r
}

func (r *runner) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// begin takes the handshake and initialises the strategy.
func (r *runner) begin(t *testing.T) {
	t.Helper()
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	m, err := r.conn.Receive()
	if _, ok := m.(*ipc.Hello); !ok {
		t.Fatalf("handshake: %T, %v; log %v", m, err, r.log())
	}
	r.seq, r.step = 1, 1
	err = r.conn.Send(&ipc.Init{Seq: r.seq, Step: r.step, ProcessedTS: 1, Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"},
		StrategyVersion: "1.0.0", RunID: "run", Epoch: 1, Lane: ipc.LaneLL, Mode: ipc.ModeLive,
		MaxAnswerBytes: ipc.MaxAnswerBytes, MaxStateBytes: ipc.MaxStateBytes, MaxIntents: 8})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := r.answer(); err != nil || a.Fault != nil {
		t.Fatalf("init: %+v, %v; log %v", a, err, r.log())
	}
}

var errNoQuestion = errors.New("an answer to no question")

func (r *runner) answer() (*ipc.Answer, error) {
	m, err := r.conn.Receive()
	if err != nil {
		return nil, err
	}
	a, ok := m.(*ipc.Answer)
	if !ok {
		return nil, fmt.Errorf("a %T instead of an answer", m)
	}
	if a.Seq != r.seq || a.Step != r.step {
		return a, errNoQuestion
	}
	return a, nil
}

// deliver asks for one step.
func (r *runner) deliver(deadline time.Duration) (*ipc.Answer, error) {
	r.seq, r.step = r.seq+1, r.step+1
	quote := &ipc.Quote{Market: ipc.Market{Instrument: "BTCUSDT.BINANCE", Source: "test", RecvTS: 2, Seq: r.seq}}
	if err := r.conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return nil, err
	}
	if err := r.conn.Send(&ipc.Deliver{Seq: r.seq, Step: r.step, ProcessedTS: ipc.Nanos(r.step), Event: quote}); err != nil {
		return nil, err
	}
	return r.answer()
}

func (r *runner) ask(t *testing.T, deadline time.Duration) {
	t.Helper()
	if a, err := r.deliver(deadline); err != nil || a.Fault != nil {
		t.Errorf("the neighbour answers %+v, %v; log %v", a, err, r.log())
	}
}

// run lets one hostile strategy act, as a supervisor would: an answer in time, a breach of the protocol, or the end.
func (h *host) run(t *testing.T, w want) {
	r := h.start(t, w.entry)
	r.begin(t)
	deadline := patience
	if w.hangs {
		deadline = hardDeadline
	}
	a, err := r.deliver(deadline)
	switch {
	case w.refused:
		if err != nil || a.Fault != nil {
			t.Errorf("answer %+v, %v; exit %+v; log %v", a, err, r.Exit(), r.log())
		}
		r.kill(t)
		r.checkOutcome(t)
	case w.hangs:
		if err == nil {
			t.Errorf("it answered: %+v", a)
		}
		r.kill(t)
	case w.lies != "":
		if ipc.ClassOf(err) != w.lies {
			t.Errorf("answer %+v, error %v of class %q, want %q", a, err, ipc.ClassOf(err), w.lies)
		}
		r.kill(t)
	case w.seq:
		if !errors.Is(err, errNoQuestion) {
			t.Errorf("answer %+v, %v", a, err)
		}
		r.kill(t)
	default:
		if err == nil || (!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && ipc.ClassOf(err) != "") {
			t.Errorf("answer %+v, %v", a, err)
		}
		select {
		case <-r.Done():
		case <-time.After(patience):
			t.Fatal("it lives on")
		}
		if e := r.Exit(); e.Cause != w.end || e.Signal != w.signal || (w.code != 0 && e.Code != w.code) {
			t.Errorf("exit %+v", e)
		}
	}
	e := r.Exit()
	if e.Reason == "" || e.Detail == "" {
		t.Errorf("exit %+v does not say why", e)
	}
	found := sandbox.Violations(limits, e, r.Logs())
	if w.violation != "" && !slices.ContainsFunc(found, func(v sandbox.Violation) bool { return v.Kind == w.violation && v.Reason != "" }) {
		t.Errorf("violations %v of %+v, want %s", found, e.Usage, w.violation)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("process %d is still there: %v", r.PID(), err)
	}
	if s := r.Logs(); s.Bytes > limits.LogBytesPerRun {
		t.Errorf("log %+v", s)
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
		t.Errorf("the kill took %s, more than %s", took, killWithin)
	}
	if e := r.Exit(); e.Cause != sandbox.CauseKilled {
		t.Errorf("exit %+v", e)
	}
}

// checkOutcome reads what the strategy told: every attempt has to name what stopped it.
func (r *runner) checkOutcome(t *testing.T) {
	t.Helper()
	for _, line := range r.log() {
		text, ok := strings.CutPrefix(line, "OUTCOME ")
		if !ok {
			continue
		}
		var attempts map[string]string
		if err := json.Unmarshal([]byte(text), &attempts); err != nil {
			t.Fatalf("outcome %q: %v", text, err)
		}
		for name, stopped := range attempts {
			if stopped == "" {
				t.Errorf("escape: nothing stopped %s", name)
			}
		}
		t.Logf("%d attempts refused", len(attempts))
		return
	}
	t.Errorf("it told nothing: %v", r.log())
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
