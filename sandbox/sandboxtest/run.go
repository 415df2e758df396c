package sandboxtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// Config says what to test.
type Config struct {
	// Open makes the sandbox under test, which keeps its runtime state below dir.
	Open func(dir string) (sandbox.Sandbox, error)
	// Program fills Argv, Env and Binds of a spec that runs one of the suite's programs.
	Program func(name string, args ...string) sandbox.Spec
	// Leftovers lists what the sandbox has left below dir and elsewhere: directories, groups, containers.
	Leftovers func(dir string) ([]string, error)
	// DiesWithSupervisor says that the kernel ends runners with their supervisor, before anybody calls Reap.
	DiesWithSupervisor bool
	// ClearsUp says that something outlives a supervisor that was killed, and removes what that has left: Reap finds nothing then.
	ClearsUp bool
	// Guest says that the programs are Wasm guests: they speak whole frames (chunks), act on the second one, and cannot even try
	// what a process can. Such cases run their counterpart from cases_guest.go.
	Guest bool
	// Shared says that the programs are threads of one process where their specs are equal (level L0). Cases for which a process of
	// one's own is what matters run their counterpart from cases_shared.go, which adds what neighbours can do to each other.
	Shared bool
	// Refuse tries to make a guest program that must not come to be, and returns the refusal. Guest only.
	Refuse func(name string) error
	// Without names cases that are left out, each with the reason: where they would only repeat, for seconds, what the suite shows elsewhere.
	Without map[string]string
	// KillWithin bounds Kill; 0 means 2 s.
	KillWithin time.Duration
}

// Emulated tells that scripts/test-cgroup2 runs the tests in an emulated machine: a system call takes ten times as long there, and all the
// more beside other work.
func Emulated() bool { return os.Getenv("MSUP_TEST_EMULATED") != "" }

// bound is the time in which something has to happen that takes ms on an idle machine.
func bound() time.Duration {
	if Emulated() {
		return 5 * time.Minute // it may also get a fifth of a processor
	}
	return 20 * time.Second
}

// Patience is the bound for what a sandbox waits for in its starts: 0, its own, but for an emulated machine.
func Patience() time.Duration {
	if Emulated() {
		return bound()
	}
	return 0
}

// suite is one run with its sandbox.
type suite struct {
	Config
	dir string
	box sandbox.Sandbox
}

// Run runs the whole suite. Each case is a subtest that names the requirements it proves.
func Run(t *testing.T, cfg Config) {
	if dir := os.Getenv(childEnv); dir != "" {
		actAsSupervisor(cfg, dir) // never returns
	}
	if cfg.KillWithin == 0 {
		cfg.KillWithin = bound() / 10
	}
	t.Setenv("GORACE", withoutSleep())
	dir, err := os.MkdirTemp("", "sb") // t.TempDir has paths too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	before := hostState(t)
	s := &suite{Config: cfg, dir: dir}
	if s.box, err = cfg.Open(dir); err != nil {
		t.Fatal(err)
	}
	for _, w := range sandbox.Missing(s.box.Walls()) {
		t.Logf("wall missing on this host: %s: %s (%s)", w.Name, w.Detail, w.Remedy)
	}
	without := maps.Clone(cfg.Without)
	for _, c := range cases {
		if why, ok := without[c.name]; ok {
			t.Logf("without %s: %s", c.name, why)
			delete(without, c.name)
			continue
		}
		test := c.run
		if counterpart := guestCases[c.name]; cfg.Guest && counterpart != nil {
			test = counterpart
		}
		if counterpart := sharedCases[c.name]; cfg.Shared && counterpart != nil {
			test = counterpart
		}
		t.Run(c.name, func(t *testing.T) { test(s, t) })
	}
	for name := range without {
		t.Errorf("there is no case %s to be without", name)
	}
	if cfg.Shared {
		for _, c := range neighbourCases {
			t.Run(c.name, func(t *testing.T) { c.run(s, t) })
		}
	}
	if err := s.box.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	s.noLeftovers(t, dir)
	if err := os.Remove(filepath.Join(dir)); err != nil {
		t.Errorf("the runtime directory is not empty: %v", err)
	}
	after := hostState(t)
	for began := time.Now(); len(after.fds) != len(before.fds) && time.Since(began) < bound(); after = hostState(t) {
		time.Sleep(20 * time.Millisecond) // a connection that was closed is let go of in the background
	}
	if len(after.fds) != len(before.fds) || after.children != before.children {
		t.Errorf("left behind on the host: descriptors %q, before %q; children %d, %d before", after.fds, before.fds, after.children, before.children)
	}
	// Others mount meanwhile, too, and go on doing so; what they have mounted by now goes again, and what was left behind here stays.
	left := after.newMounts(before)
	for began := time.Now(); len(left) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > bound() {
			t.Errorf("left behind on the host: mounts %v", left)
			break
		}
		now := hostState(t)
		left = slices.DeleteFunc(left, func(m string) bool { return !slices.Contains(now.mounts, m) })
	}
}

// withoutSleep is the race detector's setting for processes that are started from here: it would sleep a second at the end of each, which
// adds up to a third of a suite.
func withoutSleep() string { return strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=0") }

func (s *suite) noLeftovers(t *testing.T, dir string) {
	t.Helper()
	left, err := s.Leftovers(dir)
	for begin := time.Now(); s.ClearsUp && err == nil && len(left) > 0 && time.Since(begin) < bound(); left, err = s.Leftovers(dir) {
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil || len(left) > 0 {
		t.Errorf("leftovers %v, %v", left, err)
	}
}

// state is what the suite must leave as it found it.
type state struct {
	mounts   []string // mount points
	fds      []string // what is open, by number
	children int
}

// newMounts are the mount points that were not there before.
func (s state) newMounts(before state) []string {
	return slices.DeleteFunc(slices.Clone(s.mounts), func(m string) bool { return slices.Contains(before.mounts, m) })
}

func hostState(t *testing.T) state {
	t.Helper()
	runtime.GC() // closes what only a finalizer holds, so that a leak shows and a late close does not
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var mounts []string
	for line := range strings.Lines(string(info)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			mounts = append(mounts, fields[4])
		}
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var fds []string
	for _, fd := range open {
		what, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil {
			what = err.Error() // the folder's own, which is closed by now
		}
		fds = append(fds, fd.Name()+" "+what)
	}
	n := 0
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil { // a thread may end meanwhile
			n += len(strings.Fields(string(b)))
		}
	}
	return state{mounts: mounts, fds: fds, children: n}
}

// wall tells whether a wall stands.
func (s *suite) wall(name string) bool {
	return slices.ContainsFunc(s.box.Walls(), func(w sandbox.Wall) bool { return w.Name == name && w.Standing })
}

// run is one started program.
type run struct {
	t *testing.T
	s *suite
	sandbox.Runner
	conn net.Conn
	in   *bufio.Reader

	mu    sync.Mutex
	lines []sandbox.LogLine
}

// start starts a program; change may adjust the spec. The runner is killed when the test ends.
func (s *suite) start(t *testing.T, change func(*sandbox.Spec), name string, args ...string) *run {
	t.Helper()
	r := &run{t: t, s: s}
	spec := s.Program(name, args...)
	spec.Address = ipc.Address{Bot: "bot", Strategy: "conformance", Instance: ipc.InstanceID(name)}
	spec.Lane, spec.NeedSocket = ipc.LaneLL, true
	spec.Log = func(l sandbox.LogLine) {
		r.mu.Lock()
		r.lines = append(r.lines, l)
		r.mu.Unlock()
	}
	patient(&spec)
	if change != nil {
		change(&spec)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound())
	defer cancel()
	var err error
	if r.Runner, err = s.box.Start(ctx, spec); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Errorf("kill %s: %v", name, err)
		}
		if r.conn == nil { // a connection that no case asked for is ours to close as well
			if c, err := r.Conn(context.Background()); err == nil {
				r.conn = c
			}
		}
		if r.conn != nil {
			if err := r.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("close: %v", err)
			}
		}
	})
	return r
}

// patient lets a program take its time to connect where everything takes ten times as long.
func patient(spec *sandbox.Spec) {
	if Emulated() {
		spec.Limits.ConnectTimeout = bound()
	}
}

func (r *run) logged() []sandbox.LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// connect waits for the program's connection.
func (r *run) connect() *run {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), bound())
	defer cancel()
	c, err := r.Conn(ctx)
	if err != nil {
		r.t.Fatalf("connect: %v; exit %+v; log %v", err, r.Exit(), r.logged())
	}
	if err := c.SetDeadline(time.Now().Add(2 * bound())); err != nil {
		r.t.Fatal(err)
	}
	r.conn, r.in = c, bufio.NewReader(c)
	return r
}

// say sends one line, or one frame with it.
func (r *run) say(line string) {
	r.t.Helper()
	b := []byte(line + "\n")
	if r.s.Guest {
		b = guestFrame(r.t, line)
	}
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatalf("say %q: %v; exit %+v; log %v", line, err, r.Exit(), r.logged())
	}
}

// hear reads one line, or what is in one frame.
func (r *run) hear() (string, error) {
	if r.s.Guest {
		return hearGuest(r.in)
	}
	line, err := r.in.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// report decodes the program's next report. A guest needs a frame to make it, and one to go on.
func report[T any](r *run) T {
	r.t.Helper()
	if r.conn == nil {
		r.connect()
	}
	if r.s.Guest {
		r.say("report")
	}
	var v T
	line, err := r.hear()
	if err == nil {
		err = json.Unmarshal([]byte(line), &v)
	}
	if err != nil {
		r.t.Fatalf("report: %v; exit %+v; log %v", err, r.Exit(), r.logged())
	}
	if r.s.Guest {
		r.say("go on")
	}
	return v
}

// wait returns how the program ended.
func (r *run) wait() sandbox.Exit {
	r.t.Helper()
	select {
	case <-r.Done():
		return r.Exit()
	case <-time.After(2 * bound()):
		r.t.Fatal("the program does not end")
		return sandbox.Exit{}
	}
}

// gone checks that the process does not exist any more.
func gone(pid int) error {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("process %d is still there: %v", pid, err)
	}
	return nil
}
