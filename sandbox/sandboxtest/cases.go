package sandboxtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/syscalls"
)

// cases is the suite. The Proves lines of the implementations' TestConformance name what it shows.
var cases = []struct {
	name string
	run  func(*suite, *testing.T)
}{
	{"Echo", (*suite).echo},
	{"SecondConnectionRefused", (*suite).secondConnection},
	{"ForeignPeerRefused", (*suite).foreignPeer},
	{"ExitCode", (*suite).exitCode},
	{"EndBeforeConnecting", (*suite).endBeforeConnecting},
	{"ConnectTimeout", (*suite).connectTimeout},
	{"CrashIsASignal", (*suite).crash},
	{"KillSpinning", (*suite).killSpinning},
	{"CloseKills", (*suite).closeKills},
	{"MemoryCeiling", (*suite).memory},
	{"ThreadCeiling", (*suite).threads},
	{"CPUQuota", (*suite).cpu},
	{"FileCeiling", (*suite).files},
	{"TmpCeiling", (*suite).tmp},
	{"NoNetwork", (*suite).sockets},
	{"SystemCallsRefused", (*suite).calls},
	{"NothingOfTheHost", (*suite).look},
	{"LogFloodBounded", (*suite).flood},
	{"LogLines", (*suite).logLines},
	{"JobWritesItsFolderOnly", (*suite).job},
	{"JobFillsItsFolder", (*suite).jobFills},
	{"BadSpecs", (*suite).badSpecs},
	{"ParallelStarts", (*suite).parallel},
	{"ReapAfterSupervisorKill", (*suite).reap},
	{"ReapSparesTheLiving", (*suite).reapSparesTheLiving},
}

func (s *suite) echo(t *testing.T) {
	r := s.start(t, nil, "echo").connect()
	for range 3 {
		r.say("ping")
		if line, err := r.hear(); err != nil || line != "ping" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	if u, err := r.Usage(); err != nil || u.CPU <= 0 || u.MemoryBytes <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	} else if u.Refused.Total() != 0 {
		t.Errorf("an honest program is blamed for %s", u.Refused.Names())
	}
	again, err := r.Conn(t.Context())
	if err != nil || again != r.conn {
		t.Errorf("a second call of Conn got %v, %v", again, err)
	}
	if e := r.Exit(); e.Cause != sandbox.CauseNone {
		t.Errorf("exit of a living runner: %+v", e)
	}
	// A runner ends when its supervisor closes the socket.
	if err := r.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if e := r.wait(); e.Cause != sandbox.CauseExited || e.Code != 0 || e.OOM {
		t.Errorf("exit %+v", e)
	}
	if err := gone(r.PID()); err != nil {
		t.Error(err)
	}
	if err := r.Kill(); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
}

func (s *suite) secondConnection(t *testing.T) {
	r := s.start(t, nil, "second").connect()
	if _, err := r.conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := report[struct{ Second string }](r); got.Second == "" {
		t.Error("a second connection was taken")
	}
}

// foreignPeer connects from this process, which may do so as the socket's owner or root, before the runner does.
func (s *suite) foreignPeer(t *testing.T) {
	r := s.start(t, nil, "echo")
	sockets, err := filepath.Glob(filepath.Join(s.dir, "*", "s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sockets { // the runner may have been faster: then there is none
		c, err := net.Dial("unix", path)
		if err != nil {
			continue
		}
		if err := c.SetDeadline(time.Now().Add(bound())); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello\n")); err == nil {
			if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a foreign process was taken for the runner")
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	r.connect()
	r.say("x")
	if line, err := r.hear(); err != nil || line != "x" {
		t.Errorf("the runner itself got %q, %v", line, err)
	}
}

func (s *suite) exitCode(t *testing.T) {
	for _, code := range []int{0, 1, 7, 137} { // 137 looks like a kill and is none
		r := s.start(t, nil, "exit", strconv.Itoa(code))
		e := r.wait()
		if e.Cause != sandbox.CauseExited || e.Code != code || e.Signal != 0 || e.OOM || e.Detail == "" || e.Reason != sandbox.ReasonExited {
			t.Errorf("status %d: exit %+v", code, e)
		}
	}
}

func (s *suite) endBeforeConnecting(t *testing.T) {
	r := s.start(t, nil, "exit", "3")
	_, err := r.Conn(t.Context())
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonNoConnection {
		t.Errorf("error %v", err)
	}
}

func (s *suite) connectTimeout(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.ConnectTimeout = 50 * time.Millisecond }, "never")
	_, err := r.Conn(t.Context())
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonNoConnection {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Conn(ctx); !errors.Is(err, context.Canceled) && !errors.As(err, &typed) {
		t.Errorf("error %v", err)
	}
}

func (s *suite) crash(t *testing.T) {
	r := s.start(t, nil, "crash")
	e := r.wait()
	if e.Cause != sandbox.CauseSignaled || e.Signal != 11 || e.Reason != sandbox.ReasonSignaled {
		t.Errorf("exit %+v", e)
	}
}

// killSpinning kills a program that holds the interpreter's lock in one C call and ignores every signal it can.
func (s *suite) killSpinning(t *testing.T) {
	r := s.start(t, nil, "spin")
	report[struct{ Spinning bool }](r)
	began := time.Now()
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > s.KillWithin {
		t.Errorf("kill took %s, more than %s", took, s.KillWithin)
	}
	if e := r.Exit(); e.Cause != sandbox.CauseKilled || e.Signal != 9 || e.Reason != sandbox.ReasonKilled {
		t.Errorf("exit %+v", e)
	}
	if err := gone(r.PID()); err != nil {
		t.Error(err)
	}
	s.onlyThisRunnersTraces(t)
}

// onlyThisRunnersTraces checks that the runtime directory is empty while no runner lives.
func (s *suite) onlyThisRunnersTraces(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the runtime directory: %v, %v", left, err)
	}
}

func (s *suite) closeKills(t *testing.T) {
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	box, err := s.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := &suite{Config: s.Config, dir: dir, box: box}
	r := other.start(t, nil, "hog")
	report[struct{ Ready bool }](r)
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	if e := r.wait(); e.Cause != sandbox.CauseKilled {
		t.Errorf("exit %+v", e)
	}
	if _, err := box.Start(t.Context(), s.Program("hog")); err == nil {
		t.Error("a closed sandbox starts runners")
	}
}

func (s *suite) memory(t *testing.T) {
	const limit = 96 << 20
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.MemoryBytes = limit }, "memory")
	report[struct{ Ready bool }](r)
	e := r.wait()
	if !s.wall(sandbox.WallMemory) {
		// The address space is limited instead: the allocation fails inside, and nothing can tell that from another exit.
		if e.Cause != sandbox.CauseExited || e.Code != 1 {
			t.Errorf("exit %+v", e)
		}
		return
	}
	// Whom it is about to kill the kernel lets go over by some pages: v2's memory.peak then holds one page more than memory.max.
	if e.Cause != sandbox.CauseOOM || !e.OOM || e.Reason != sandbox.ReasonOOM || e.Usage.OOMKills < 1 || e.Usage.MemoryPeakBytes > limit+1<<20 {
		t.Errorf("exit %+v", e)
	}
	got := sandbox.Violations(sandbox.Limits{MemoryBytes: limit}, e, r.Logs())
	if !slices.ContainsFunc(got, func(v sandbox.Violation) bool { return v.Kind == sandbox.ViolationMemory && v.Limit == limit }) {
		t.Errorf("violations %v", got)
	}
}

func (s *suite) threads(t *testing.T) {
	// Fewer than the sandbox itself may need for a start are possible, too.
	few := s.start(t, func(sp *sandbox.Spec) { sp.Limits.PIDs = 3 }, "threads")
	if got := report[struct{ Threads int }](few); got.Threads > 3 {
		t.Errorf("%d threads under a limit of 3", got.Threads)
	}
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.PIDs = 24 }, "threads")
	got := report[struct {
		Threads int
		Why     string
	}](r)
	if got.Threads > 24 || got.Threads < 8 || got.Why == "" {
		t.Errorf("%+v under a limit of 24", got)
	}
	if err := r.conn.Close(); err != nil { // until then it stays
		t.Error(err)
	}
	e := r.wait()
	if s.wall(sandbox.WallPIDs) && e.Usage.PIDsRefused < 1 {
		t.Errorf("usage %+v counts no refusal", e.Usage)
	}
}

// burning is how long a program is watched that uses all the processor time that it gets. In an emulated machine a program is charged what its
// processor waited for other programs of the host, and pays it back afterwards: so the longer, the smaller the fault.
func burning() time.Duration {
	if Emulated() {
		return 5 * time.Second
	}
	return 1500 * time.Millisecond
}

func (s *suite) cpu(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.CPUQuota = 0.2 }, "cpu", strconv.FormatFloat(burning().Seconds(), 'f', -1, 64))
	got := report[struct{ Seconds, Took float64 }](r)
	u, err := r.Usage()
	if err != nil || u.CPU.Seconds() < got.Seconds/2 {
		t.Errorf("usage %+v (%v), but the program used %.2f s", u, err, got.Seconds)
	}
	if !s.wall(sandbox.WallCPU) {
		return
	}
	if got.Seconds > 0.2*got.Took*1.5+0.1 || got.Took < 1 || u.Throttled <= 0 {
		t.Errorf("%.2f s of processor time in %.2f s under a quota of 0.2, usage %+v", got.Seconds, got.Took, u)
	}
}

func (s *suite) files(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.OpenFiles = 40 }, "files")
	got := report[struct {
		Files int
		Why   string
	}](r)
	if got.Files > 40 || got.Files < 10 || got.Why != "EMFILE" {
		t.Errorf("%+v under a limit of 40", got)
	}
}

func (s *suite) tmp(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.Limits.TmpBytes, sp.Limits.TmpInodes = 4<<20, 64 }, "tmp")
	got := report[struct {
		Bytes, Made          int64
		Why, Inodes, Execute string
	}](r)
	if got.Bytes > 4<<20 || got.Why != "ENOSPC" || got.Made > 64 || got.Inodes != "ENOSPC" || got.Execute == "" {
		t.Errorf("%+v under a limit of 4 MiB and 64 inodes", got)
	}
	r = s.start(t, func(sp *sandbox.Spec) { sp.Limits.FileSizeBytes = 1 << 20 }, "tmp")
	if got := report[struct {
		Bytes int64
		Why   string
	}](r); got.Bytes > 1<<20 || got.Why != "EFBIG" {
		t.Errorf("%+v under a file size limit of 1 MiB", got)
	}
}

func (s *suite) sockets(t *testing.T) {
	r := s.start(t, nil, "sockets")
	got := report[struct {
		Made   [][2]int
		Listen string
	}](r)
	if len(got.Made) > 0 || got.Listen == "" {
		t.Errorf("sockets of [family type] %v were made; listen: %q", got.Made, got.Listen)
	}
}

func (s *suite) calls(t *testing.T) {
	r := s.start(t, nil, "calls")
	got := report[struct{ Refused map[string]string }](r)
	if len(got.Refused) < 60 {
		t.Errorf("only %d calls tried", len(got.Refused))
	}
	for name, why := range got.Refused {
		if why != "EPERM" && why != "ENOSYS" && why != "EACCES" {
			t.Errorf("%s: %q", name, why)
		}
	}
	s.counted(t, r, slices.Collect(maps.Keys(got.Refused)))
}

// counted checks that refusals of which the program itself said nothing to the supervisor are typed violations that name the calls, while it
// lives and in its end.
func (s *suite) counted(t *testing.T, r *run, tried []string) {
	t.Helper()
	if !s.wall(sandbox.WallRefusals) {
		t.Error("nobody counts refusals on this host")
		return
	}
	want := map[string]bool{"clone": slices.Contains(tried, "fork")} // what the C library's fork asks for
	for _, g := range syscalls.Counted() {
		for _, name := range g.Names {
			want[name] = slices.Contains(tried, name)
		}
	}
	delete(want, "fork") // nobody asks for it by this number
	delete(want, "vfork")
	u, err := r.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for name, asked := range want {
		if n := u.Refused.Of(name); (n > 0) != asked {
			t.Errorf("%s was refused %d times, tried: %v", name, n, asked)
		}
	}
	vs := sandbox.Since(sandbox.Usage{}, u, sandbox.LogStats{}, sandbox.LogStats{})
	if len(vs) != 1 || vs[0].Kind != sandbox.ViolationCalls || vs[0].Reason != ipc.ReasonSandboxCall || vs[0].Observed < 10 || !strings.Contains(vs[0].Unit, "clone, ") {
		t.Errorf("violations %v of %s", vs, u.Refused.Names())
	}
	if again, err := r.Usage(); err != nil || len(sandbox.Since(u, again, sandbox.LogStats{}, sandbox.LogStats{})) != 0 {
		t.Errorf("%v: refusals count again: %s", err, again.Refused.Since(u.Refused).Names())
	}
	if err := r.conn.Close(); err != nil {
		t.Fatal(err)
	}
	e := r.wait()
	if vs := sandbox.Violations(sandbox.DefaultLimits(), e, r.Logs()); e.Usage.Refused != u.Refused || len(vs) != 1 || vs[0].Kind != sandbox.ViolationCalls {
		t.Errorf("violations %v in the end, refused %s", vs, e.Usage.Refused.Names())
	}
}

// look checks what a program sees: nothing of the host, nobody else, nothing writable but /tmp.
func (s *suite) look(t *testing.T) {
	if err := os.Setenv("MSUP_CONFORMANCE_SECRET", "of the host"); err != nil {
		t.Fatal(err)
	}
	defer os.Unsetenv("MSUP_CONFORMANCE_SECRET")
	spec := s.Program("look")
	r := s.start(t, nil, "look", strconv.Itoa(os.Getpid()))
	got := report[struct {
		Env, Namespaces                 map[string]string
		ListRoot                        string `json:"list_root"`
		Root, Writable, Pids, Caps, Fds []string
		Uid, Pid, Ppid                  int
		NoNewPrivs                      string `json:"no_new_privs"`
		Host, Kill, Chmod, Unlink       string
		Interfaces, Devices             string
		Sysctl, Sysfs                   bool
		Core                            [2]int64
		Groups                          []int
	}](r)
	allowed := map[string]bool{"MSUP_SOCKET": true, "HOME": s.box.Level() == sandbox.L3}
	for _, kv := range spec.Env {
		k, _, _ := strings.Cut(kv, "=")
		allowed[k] = true
	}
	for k := range got.Env {
		if !allowed[k] && k != "LC_CTYPE" { // Python sets that one itself
			t.Errorf("environment holds %s", k)
		}
	}
	if home := got.Env["HOME"]; home != "" && home != "/tmp" {
		t.Errorf("HOME=%q", home)
	}
	if got.Env["MSUP_SOCKET"] != sandbox.SocketPath {
		t.Errorf("MSUP_SOCKET=%q", got.Env["MSUP_SOCKET"])
	}
	if !slices.Equal(got.Writable, []string{"/tmp"}) {
		t.Errorf("writable: %v", got.Writable)
	}
	for _, p := range got.Pids {
		if p != strconv.Itoa(got.Pid) {
			t.Errorf("process %s is visible", p)
		}
	}
	for _, c := range got.Caps {
		if c != "" {
			t.Errorf("capabilities %v", got.Caps)
		}
	}
	for kind, inside := range got.Namespaces {
		if outside, err := os.Readlink("/proc/self/ns/" + kind); err != nil || outside == inside {
			t.Errorf("%s namespace %s inside, %s outside, %v", kind, inside, outside, err)
		}
	}
	if s.wall(sandbox.WallLandlock) && got.ListRoot != "EACCES" { // no rule names the root itself, and no other wall minds
		t.Errorf("listing the root: %q", got.ListRoot)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got.Uid == 0 || strings.TrimSpace(got.NoNewPrivs) != "1" || got.Host == host || got.Kill == "" || got.Chmod == "" || got.Unlink == "" ||
		got.Sysctl || got.Sysfs || got.Core != [2]int64{} || got.Interfaces == "" || got.Devices != "" || got.Ppid > 1 {
		t.Errorf("seen from inside: %+v", got)
	}
	for _, name := range got.Root {
		if !slices.ContainsFunc(spec.Binds, func(b sandbox.Bind) bool { return strings.HasPrefix(b.Source, "/"+name+"/") }) {
			t.Errorf("the host's /%s is there", name)
		}
	}
	for _, fd := range got.Fds { // 0, 1, 2, the socket, and the program's own file
		if !strings.Contains(fd, "/dev/null") && !strings.Contains(fd, "pipe:") && !strings.Contains(fd, "socket:") && !strings.Contains(fd, "/app/") {
			t.Errorf("open descriptor %s", fd)
		}
	}
	most := 5
	if s.Shared { // three of the instance's own, with the process's
		most += 3
	}
	if len(got.Fds) > most {
		t.Errorf("open descriptors %v", got.Fds)
	}
	if s.wall(sandbox.WallUserID) && len(got.Groups) > 1 {
		t.Errorf("supplementary groups %v", got.Groups)
	}
}
