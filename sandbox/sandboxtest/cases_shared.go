package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// sharedCases are the counterparts of the cases that ask for a process of one's own, by name.
var sharedCases = map[string]func(*suite, *testing.T){
	"LogLines":               (*suite).sharedNoJob,
	"JobWritesItsFolderOnly": (*suite).sharedNoJob,
	"JobFillsItsFolder":      (*suite).sharedNoJob,
	"ParallelStarts":         (*suite).sharedParallel,
}

// neighbourCases show what stands between threads of one process, and what does not.
var neighbourCases = []struct {
	name string
	run  func(*suite, *testing.T)
}{
	{"NeighboursShareAProcess", (*suite).neighboursShare},
	{"NeighbourLeaves", (*suite).neighbourLeaves},
	{"NeighbourIsKilled", (*suite).neighbourKilled},
	{"NeighbourHangs", (*suite).neighbourHangs},
	{"NeighbourHoldsTheInterpreter", (*suite).neighbourHolds},
	{"NeighbourCrashes", (*suite).neighbourCrashes},
	{"NeighbourEatsTheMemory", (*suite).neighbourEats},
	{"NeighboursPrintApart", (*suite).neighboursPrint},
}

// sharedNoJob: what has no socket is no instance.
func (s *suite) sharedNoJob(t *testing.T) {
	for name, change := range map[string]func(*sandbox.Spec){
		"no socket": func(sp *sandbox.Spec) { sp.NeedSocket = false },
		"a folder": func(sp *sandbox.Spec) {
			sp.Writable = []sandbox.Writable{{Target: "/out", Source: t.TempDir(), Bytes: 1 << 20}}
		},
	} {
		spec := s.Program("lines")
		spec.Address = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
		spec.Lane, spec.NeedSocket = ipc.LaneCompute, true
		change(&spec)
		r, err := s.box.Start(t.Context(), spec)
		if err == nil {
			t.Errorf("%s: started; kill: %v", name, r.Kill())
		}
		var typed *sandbox.Error
		if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSpec {
			t.Errorf("%s: error %v", name, err)
		}
	}
	s.onlyThisRunnersTraces(t)
}

// sharedParallel starts many at once: all are threads of one process, whose user id is not the supervisor's.
func (s *suite) sharedParallel(t *testing.T) {
	const n = 12
	runs := make([]*run, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { runs[i] = s.neighbour(t, fmt.Sprint(i)) })
	}
	wg.Wait()
	for i, r := range runs {
		r.connect()
		r.obey("write", fmt.Sprint(i))
		if r.PID() != runs[0].PID() {
			t.Errorf("instance %d has process %d, the first one %d", i, r.PID(), runs[0].PID())
		}
	}
	st, err := os.Stat(fmt.Sprintf("/proc/%d", runs[0].PID()))
	if err != nil {
		t.Fatal(err)
	}
	if s.wall(sandbox.WallUserID) && ownerOf(st) == os.Geteuid() {
		t.Error("the process has the supervisor's user id")
	}
	for _, r := range runs {
		if err := r.conn.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, r := range runs {
		if e := r.wait(); e.Cause != sandbox.CauseExited || e.Code != 0 {
			t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
		}
	}
	if err := gone(runs[0].PID()); err != nil {
		t.Error(err)
	}
	s.onlyThisRunnersTraces(t)
}

// neighbour starts one instance of the program that obeys.
func (s *suite) neighbour(t *testing.T, name string) *run {
	t.Helper()
	return s.start(t, func(sp *sandbox.Spec) { sp.Address.Instance = ipc.InstanceID(name) }, "obey")
}

// pair starts two that share a process.
func (s *suite) pair(t *testing.T) (a, b *run) {
	t.Helper()
	a, b = s.neighbour(t, "first").connect(), s.neighbour(t, "second").connect()
	if a.PID() != b.PID() {
		t.Fatalf("equal specs got processes %d and %d", a.PID(), b.PID())
	}
	return a, b
}

// obey has an order carried out, and returns what came of it.
func (r *run) obey(what, about string) string {
	r.t.Helper()
	r.say(what + " " + about)
	got := report[struct{ Did, About string }](r)
	if got.Did != what {
		r.t.Fatalf("order %s was answered with %+v", what, got)
	}
	return got.About
}

// neighboursShare: no wall stands between them, and Walls says so.
func (s *suite) neighboursShare(t *testing.T) {
	a, b := s.pair(t)
	a.obey("write", "from the first")
	if got := b.obey("read", ""); got != "from the first" {
		t.Errorf("the second read %q", got)
	}
	missing := sandbox.Missing(s.box.Walls())
	found := false
	for _, w := range missing {
		found = found || w.Name == "instances" && w.Detail != "" && w.Remedy != ""
	}
	if !found || s.box.Level() != sandbox.L0 {
		t.Errorf("level %s does not tell which wall is missing: %+v", s.box.Level(), missing)
	}
	// Whoever differs in what it runs, or in what it may, has a process of its own.
	other := s.start(t, func(sp *sandbox.Spec) { sp.Limits.MemoryBytes = 300 << 20 }, "obey").connect()
	if other.PID() == a.PID() {
		t.Error("instances with different limits share a process")
	}
}

func (s *suite) neighbourLeaves(t *testing.T) {
	a, b := s.pair(t)
	a.say("leave 7")
	if e := a.wait(); e.Cause != sandbox.CauseExited || e.Code != 7 || e.Reason != sandbox.ReasonExited {
		t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
	b.obey("write", "still here")
	b.say("raise oops")
	if e := b.wait(); e.Cause != sandbox.CauseExited || e.Code != 1 || !strings.Contains(e.Stderr, "RuntimeError: oops") {
		t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
	if err := gone(b.PID()); err != nil {
		t.Errorf("the last one left, and %v", err)
	}
}

// neighbourKilled: one whose thread listens leaves alone.
func (s *suite) neighbourKilled(t *testing.T) {
	a, b := s.pair(t)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := a.Exit(); e.Cause != sandbox.CauseKilled || e.Reason != sandbox.ReasonKilled {
		t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
	b.obey("write", "still here")
	again := s.neighbour(t, "first").connect()
	if again.PID() != b.PID() {
		t.Error("the place that it left was not used again")
	}
	again.obey("write", "here again")
}

// takenAlong checks the ends of two: of the one that is to blame, and of its neighbour.
func takenAlong(t *testing.T, guilty, innocent *run, name string) {
	t.Helper()
	if e := guilty.wait(); e.Cause != sandbox.CauseKilled || e.Signal != 9 || e.Reason != sandbox.ReasonKilled || !strings.Contains(e.Detail, name) {
		t.Errorf("the guilty one: exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
	e := innocent.wait()
	if e.Cause != sandbox.CauseSignaled || e.Reason != sandbox.ReasonSignaled || !strings.Contains(e.Detail, name) {
		t.Errorf("its neighbour: exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
	vs := sandbox.Violations(sandbox.DefaultLimits(), e, innocent.Logs())
	if len(vs) != 1 || vs[0].Kind != sandbox.ViolationSignal {
		t.Errorf("violations %v", vs)
	}
	if err := gone(guilty.PID()); err != nil {
		t.Error(err)
	}
}

// neighbourHangs: a thread that does not leave takes the process along, and is named.
func (s *suite) neighbourHangs(t *testing.T) {
	for _, how := range []string{"sleep", "spin"} {
		a, b := s.pair(t)
		a.say(how)
		b.obey("write", "x")
		began := time.Now()
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > s.KillWithin {
			t.Errorf("%s: kill took %s, more than %s", how, took, s.KillWithin)
		}
		takenAlong(t, a, b, "the thread of bot/conformance/first did not leave")
		// Both come back.
		c, d := s.pair(t)
		c.obey("write", "y")
		d.obey("write", "y")
	}
}

// neighbourHolds: the first to miss its deadline is not the one that holds the interpreter, which is named.
func (s *suite) neighbourHolds(t *testing.T) {
	a, b := s.pair(t)
	c := s.neighbour(t, "third").connect()
	b.say("hold")
	time.Sleep(50 * time.Millisecond) // so that it holds; if it does not yet, it will before the first one can leave
	a.say("write x")
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	const name = "because that of bot/conformance/second held the interpreter"
	takenAlong(t, b, c, name)
	if e := a.wait(); e.Cause != sandbox.CauseKilled || !strings.Contains(e.Detail, name) {
		t.Errorf("who was killed for it: exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
	}
}

func (s *suite) neighbourCrashes(t *testing.T) {
	a, b := s.pair(t)
	a.say("crash")
	for _, r := range []*run{a, b} {
		if e := r.wait(); e.Cause != sandbox.CauseSignaled || e.Signal != 11 || !strings.Contains(e.Detail, "2 instances shared") || !strings.Contains(e.Stderr, "Segmentation fault") {
			t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
		}
	}
	a, b = s.pair(t)
	a.say("exit 3") // of the process, past everything
	for _, r := range []*run{a, b} {
		if e := r.wait(); e.Cause != sandbox.CauseExited || e.Code != 3 || !strings.Contains(e.Detail, "2 instances shared") {
			t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
		}
	}
}

// neighbourEats: the limit is everybody's.
func (s *suite) neighbourEats(t *testing.T) {
	if !s.wall(sandbox.WallMemory) {
		return // the address space is limited instead, and the allocation fails inside: see MemoryCeiling
	}
	small := func(name string) *run {
		return s.start(t, func(sp *sandbox.Spec) {
			sp.Address.Instance, sp.Limits.MemoryBytes = ipc.InstanceID(name), 96<<20
		}, "obey").connect()
	}
	a, b := small("first"), small("second")
	b.obey("eat", "40")
	a.say("eat 90")
	for _, r := range []*run{a, b} {
		if e := r.wait(); e.Cause != sandbox.CauseOOM || !e.OOM || e.Reason != sandbox.ReasonOOM || !strings.Contains(e.Detail, "2 instances shared") {
			t.Errorf("exit %s: %s, %s: %s", e, e.Reason, e.Detail, e.Stderr)
		}
	}
}

// neighboursPrint: each has its own lines and its own limit.
func (s *suite) neighboursPrint(t *testing.T) {
	a, b := s.pair(t)
	a.obey("print", "of the first")
	b.obey("print", "of the second")
	for r, want := range map[*run]string{a: "of the first", b: "of the second"} {
		if err := r.conn.Close(); err != nil {
			t.Error(err)
		}
		e := r.wait()
		got := r.logged()
		if len(got) != 2 || got[0].Text != want || got[1].Text != want || got[0].Stream == got[1].Stream || !strings.Contains(e.Stderr, want) {
			t.Errorf("lines %v, stderr %q", got, e.Stderr)
		}
	}
}
