package sandboxtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// guestCases are the counterparts of the cases that a Wasm guest cannot take part in as they are, by name.
var guestCases = map[string]func(*suite, *testing.T){
	"SecondConnectionRefused": (*suite).guestSecondConnection,
	"EndBeforeConnecting":     (*suite).guestEndsEarly,
	"ConnectTimeout":          (*suite).guestNeverSpeaks,
	"CrashIsASignal":          (*suite).guestTrap,
	"MemoryCeiling":           (*suite).guestMemory,
	"ThreadCeiling":           (*suite).guestThreads,
	"CPUQuota":                (*suite).guestCPU,
	"FileCeiling":             (*suite).guestFiles,
	"TmpCeiling":              (*suite).guestFiles,
	"NoNetwork":               (*suite).guestSockets,
	"SystemCallsRefused":      (*suite).guestCalls,
	"NothingOfTheHost":        (*suite).guestLook,
	"LogLines":                (*suite).guestLogLines,
	"JobWritesItsFolderOnly":  (*suite).guestNoFolder,
	"JobFillsItsFolder":       (*suite).guestNoFolder,
}

// refused checks that a guest program cannot even be made.
func (s *suite) refused(t *testing.T, name, says string) {
	t.Helper()
	err := s.Refuse(name)
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonWasmInvalid || typed.Remedy == "" || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: error %v", name, err)
	}
}

// guestSecondConnection: the one connection is the runner's own, made before the guest's first instruction, and the socket
// is gone from the file system once it is there.
func (s *suite) guestSecondConnection(t *testing.T) {
	r := s.start(t, nil, "echo").connect()
	r.say("x")
	if line, err := r.hear(); err != nil || line != "x" {
		t.Fatalf("got %q, %v", line, err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "*", "s")); err != nil || len(left) > 0 {
		t.Errorf("sockets %v, %v", left, err)
	}
	s.refused(t, "sockets", "sock_accept")
}

// guestEndsEarly: the runner connects before the guest runs, so its end is the end of the stream.
func (s *suite) guestEndsEarly(t *testing.T) {
	r := s.start(t, nil, "exit", "3").connect()
	if _, err := r.hear(); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	if e := r.wait(); e.Cause != sandbox.CauseExited || e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
}

// guestNeverSpeaks hangs before its first word: the connection is there, and silent, and the kill works.
func (s *suite) guestNeverSpeaks(t *testing.T) {
	r := s.start(t, nil, "never").connect()
	if err := r.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if line, err := r.hear(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it says %q, %v", line, err)
	}
	began := time.Now()
	if err := r.Kill(); err != nil || time.Since(began) > s.KillWithin {
		t.Errorf("kill after %s: %v", time.Since(began), err)
	}
}

func (s *suite) guestTrap(t *testing.T) {
	r := s.start(t, nil, "crash").connect()
	r.say("now")
	e := r.wait()
	if e.Cause != sandbox.CauseExited || e.Reason != sandbox.ReasonWasmTrap || !strings.Contains(e.Stderr, "unreachable") {
		t.Errorf("exit %+v", e)
	}
	if got := sandbox.Violations(sandbox.Limits{}.OrDefault(), e, r.Logs()); len(got) != 1 || got[0].Reason != sandbox.ReasonWasmTrap {
		t.Errorf("violations %v", got)
	}
}

// guestMemory grows to its ceiling, which lies below the process's, and is told no; nothing is killed.
func (s *suite) guestMemory(t *testing.T) {
	const limit = 96 << 20
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.MemoryBytes = limit }, "memory").connect()
	r.say("grow")
	line, err := r.hear()
	if err != nil {
		t.Fatalf("%v; exit %+v; log %v", err, r.Exit(), r.logged())
	}
	pages, err := strconv.Atoi(line)
	if err != nil || pages<<16 > limit || pages<<16 < limit/4 {
		t.Errorf("%q pages under a limit of %d bytes, %v", line, limit, err)
	}
	if u, err := r.Usage(); err != nil || (s.wall(sandbox.WallMemory) && u.OOMKills != 0) {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// guestThreads: a guest that imports threads is refused, and the runner's own are Go's, a handful, whatever is asked for.
func (s *suite) guestThreads(t *testing.T) {
	s.refused(t, "threads", "thread-spawn")
	s.refused(t, "import memory", "no function") // a shared one would be the other half of threads
	r := s.start(t, nil, "hog")
	report[struct{ Ready bool }](r)
	if u, err := r.Usage(); err != nil || (s.wall(sandbox.WallPIDs) && u.PIDs > 16) {
		t.Errorf("usage %+v, %v", u, err)
	}
}

func (s *suite) guestCPU(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.CPUQuota = 0.2 }, "cpu")
	report[struct{ Ready bool }](r)
	before, err := r.Usage()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.Sleep(burning())
	u, err := r.Usage()
	took, used := time.Since(began), u.CPU-before.CPU
	if err != nil || used <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if s.wall(sandbox.WallCPU) && (used.Seconds() > 0.2*took.Seconds()*1.5+0.1 || u.Throttled <= 0) {
		t.Errorf("%s of processor time in %s under a quota of 0.2, usage %+v", used, took, u)
	}
}

// guestFiles: every call that could open or make something fails; the guest traps when one does not.
func (s *suite) guestFiles(t *testing.T) {
	r := s.start(t, nil, "files")
	got := report[struct {
		Files int
		Why   string
	}](r)
	if got.Files != 0 || got.Why != "refused" {
		t.Errorf("%+v", got)
	}
}

func (s *suite) guestSockets(t *testing.T) { s.refused(t, "sockets", "sock_accept") }

func (s *suite) guestCalls(t *testing.T) {
	s.refused(t, "calls", "env.syscall")
	// And the process behind the guest: what the kernel itself says of it.
	r := s.start(t, nil, "hog")
	report[struct{ Ready bool }](r)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.PID()))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for _, f := range tasks {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has just ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %s", f, want)
			}
		}
	}
}

// guestLook: the guest sees its own environment and no argument; the process behind it is in namespaces of its own and
// holds its pipes and its socket.
func (s *suite) guestLook(t *testing.T) {
	if err := os.Setenv("MSUP_CONFORMANCE_SECRET", "of the host"); err != nil {
		t.Fatal(err)
	}
	defer os.Unsetenv("MSUP_CONFORMANCE_SECRET")
	r := s.start(t, func(sp *sandbox.Spec) { sp.Env = []string{"GIVEN=1"} }, "look")
	report[struct{ Ready bool }](r)
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.PID(), kind))
		outside, oerr := os.Readlink("/proc/self/ns/" + kind)
		if err != nil || oerr != nil || inside == outside {
			t.Errorf("%s namespace %s inside, %s outside, %v", kind, inside, outside, errors.Join(err, oerr))
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.PID()))
	if err != nil || len(fds) > 8 {
		t.Errorf("open descriptors %v, %v", fds, err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", r.PID(), fd.Name()))
		if err != nil || (target != "/dev/null" && !strings.HasPrefix(target, "pipe:") && !strings.HasPrefix(target, "socket:") && !strings.HasPrefix(target, "anon_inode:")) {
			t.Errorf("open descriptor %s: %s, %v", fd.Name(), target, err)
		}
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range r.logged() {
		all = append(all, l.Text)
	}
	if text := strings.Join(all, "|"); text != `env:GIVEN=1\x00|args:` {
		t.Errorf("it sees %q", text)
	}
}

func (s *suite) guestLogLines(t *testing.T) {
	r := s.start(t, nil, "lines")
	e := r.wait()
	got := map[sandbox.Stream]string{}
	for _, l := range r.logged() {
		got[l.Stream] += l.Text + "|"
	}
	if e.Code != 0 || got[sandbox.Stdout] != "first|" || got[sandbox.Stderr] != `second \x1b[31mred|` || !strings.Contains(e.Stderr, `second \x1b`) {
		t.Errorf("exit %+v, lines %q", e, got)
	}
}

// guestNoFolder: a guest has no output folder, so a spec with one is refused, and without one it finds none.
func (s *suite) guestNoFolder(t *testing.T) {
	spec := s.Program("echo")
	spec.Address, spec.Lane, spec.NeedSocket = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.LaneCompute, true
	spec.Writable = []sandbox.Writable{{Target: "/out", Bytes: 1 << 20}}
	r, err := s.box.Start(t.Context(), spec)
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSpec {
		t.Errorf("%v, %v", r, err)
	}
	s.guestFiles(t)
}
