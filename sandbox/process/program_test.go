package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// testPrograms are built into the test binary.
var testPrograms = []Program{
	{Name: "msup:look", Load: lookAround},
	{Name: "msup:store", Stores: true, Load: func(args, env []string) (func() int, error) {
		return func() int {
			if err := os.WriteFile("/out/made", []byte(strings.Join(append(args, env...), " ")), 0o600); err != nil {
				return 3
			}
			if err := os.WriteFile("/etc/made", nil, 0o600); err == nil {
				return 4
			}
			return 0
		}, nil
	}},
	{Name: "msup:fails", Load: func([]string, []string) (func() int, error) { return nil, errors.New("on purpose") }},
	{Name: "msup:refuses", Load: func([]string, []string) (func() int, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonWasmInvalid, Op: "load it", Err: errors.New("on purpose"), Remedy: "none"}
	}},
	{Name: "msup:status", Load: func([]string, []string) (func() int, error) { return func() int { return 77 }, nil }},
}

// seen is what msup:look tells.
type seen struct {
	Threads         []string          // "CapEff NoNewPrivs Seccomp" of each thread that is not as it should be
	Count           int               // threads
	While, After    map[string]string // attempt → error, "" when it was possible
	Env             []string
	NewThreadsCapEf string
}

// lookAround tries the same things while it loads and afterwards.
func lookAround(args, env []string) (func() int, error) {
	// Threads of Go's runtime that exist and threads that come: all must be without privilege.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { runtime.LockOSThread(); time.Sleep(time.Millisecond) })
	}
	wg.Wait()
	s := seen{Env: env}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return nil, err
	}
	for _, f := range tasks {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has just ended
		}
		s.Count++
		for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(text), want) {
				s.Threads = append(s.Threads, f+" lacks "+want)
			}
		}
	}
	s.While = attempts()
	return func() int {
		s.After = attempts()
		text, err := json.Marshal(s)
		if err != nil {
			return 3
		}
		fmt.Println(string(text))
		return 0
	}, nil
}

func attempts() map[string]string {
	got := map[string]string{}
	try := func(name string, err error) {
		got[name] = ""
		if err != nil {
			got[name] = err.Error()
		}
	}
	errnoOf := func(e syscall.Errno) error {
		if e == 0 {
			return nil
		}
		return e
	}
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	try("open", err)
	if err == nil {
		_ = unix.Close(fd)
	}
	for name, family := range map[string]int{"unix socket": unix.AF_UNIX, "inet socket": unix.AF_INET, "netlink socket": unix.AF_NETLINK} {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		try(name, err)
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	for name, prot := range map[string]int{"page": unix.PROT_READ, "executable page": unix.PROT_READ | unix.PROT_EXEC} {
		b, err := unix.Mmap(-1, 0, 4096, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		try(name, err)
		if err == nil {
			_ = unix.Munmap(b)
		}
	}
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err == nil {
		try("make a page executable", unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
	}
	try("execve", unix.Exec("/proc/self/exe", []string{"x"}, nil))
	_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|unix.CLONE_PARENT, 0, 0, 0, 0, 0)
	try("fork", errnoOf(errno))
	_, _, errno = unix.RawSyscall(unix.SYS_PTRACE, 0, 0, 0)
	try("ptrace", errnoOf(errno))
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	try("mount", unix.Mount("", "/", "", unix.MS_REMOUNT, ""))
	try("sethostname", unix.Sethostname([]byte("x")))
	return got
}

func runProgram(t *testing.T, s *Sandbox, name string, change func(*sandbox.Spec)) (string, sandbox.Exit, error) {
	t.Helper()
	var out strings.Builder
	spec := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, Argv: []string{name, "arg"}, Env: []string{"A=1"},
		Limits: sandbox.Limits{LogLineBytes: 32 << 10},
		Log:    func(l sandbox.LogLine) { out.WriteString(l.Text) }}
	if change != nil {
		change(&spec)
	}
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	<-r.Done()
	return out.String(), r.Exit(), nil
}

// Proves: SB-L2, SB-3, SB-L1
func TestBuiltInProgramHasLessThanAnExecutedOne(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	out, exit, err := runProgram(t, s, "msup:look", nil)
	if err != nil || exit.Code != 0 {
		t.Fatalf("%v, exit %+v, %s", err, exit, out)
	}
	var got seen
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(got.Threads) > 0 || (got.Count < 3 && got.Count != 0) {
		t.Errorf("%d threads, of which %v", got.Count, got.Threads)
	}
	if len(got.Env) != 1 || got.Env[0] != "A=1" {
		t.Errorf("environment %v", got.Env)
	}
	possible := map[string]bool{"open": true, "unix socket": true, "page": true, "executable page": true, "make a page executable": true}
	for name, why := range got.While {
		if (why == "") != possible[name] {
			t.Errorf("while loading, %s: %q", name, why)
		}
	}
	for name, why := range got.After {
		if (why == "") != (name == "page") {
			t.Errorf("afterwards, %s: %q", name, why)
		}
	}
	for _, name := range []string{"clone", "execve", "ptrace", "unshare", "mount", "sethostname"} { // once: what loading was refused is msup's own
		if n := exit.Usage.Refused.Of(name); n != 1 {
			t.Errorf("%s was refused %d times, it says", name, n)
		}
	}
	if n := exit.Usage.Refused.Total(); n != 6 {
		t.Errorf("%d refusals are counted: %s", n, exit.Usage.Refused.Names())
	}
	if len(got.While) != 13 || len(got.After) != 13 {
		t.Errorf("tried %d and %d", len(got.While), len(got.After))
	}
}

// Proves: SB-L2, SB-8
func TestBuiltInProgramsStartFailAndStore(t *testing.T) {
	dir := shortDir(t)
	s := open(t, filepath.Join(dir, "r"))
	if _, exit, err := runProgram(t, s, "msup:status", nil); err != nil || exit.Code != 77 || exit.Cause != sandbox.CauseExited {
		t.Errorf("%+v, %v", exit, err)
	}
	var typed *sandbox.Error
	if _, _, err := runProgram(t, s, "msup:fails", nil); !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSetupFailed || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("a program that does not load: %v", err)
	}
	if _, _, err := runProgram(t, s, "msup:refuses", nil); !errors.As(err, &typed) || typed.Reason != sandbox.ReasonWasmInvalid || typed.Op != "load it" || typed.Remedy != "none" {
		t.Errorf("a program that refuses: %v", err)
	}
	if _, _, err := runProgram(t, s, "msup:nobody", nil); !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSpec || !strings.Contains(err.Error(), "process.Init") {
		t.Errorf("a program that is not there: %v", err)
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	_, exit, err := runProgram(t, s, "msup:store", func(sp *sandbox.Spec) {
		sp.Writable = []sandbox.Writable{{Target: "/out", Source: out, Bytes: 1 << 20}}
	})
	if err != nil || exit.Code != 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "made")); err != nil || string(text) != "arg A=1" {
		t.Errorf("%q, %v", text, err)
	}
}

// Proves: SB-3, SB-L2
func TestProgramFilterDecides(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	const exec, plain = uint64(unix.PROT_READ | unix.PROT_EXEC), uint64(unix.PROT_READ | unix.PROT_WRITE)
	for _, f := range []struct {
		groups []syscallGroup
		allow  bool // what only loading may
		store  bool
	}{{programGroups, false, false}, {loadingGroups, true, false}, {storingGroups, true, true}} {
		insts, err := assemble(info, f.groups, retRefuse)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]uint32{true: allow, false: refuse}
		for _, c := range []struct {
			name string
			args []uint64
			want uint32
		}{
			{"read", nil, allow}, {"write", nil, allow}, {"futex", nil, allow}, {"exit_group", nil, allow},
			{"mmap", []uint64{0, 1, plain}, allow}, {"mprotect", []uint64{0, 1, plain}, allow},
			{"mmap", []uint64{0, 1, exec}, want[f.allow]}, {"mprotect", []uint64{0, 1, exec}, want[f.allow]},
			{"openat", nil, want[f.allow]}, {"connect", nil, want[f.allow]}, {"seccomp", nil, want[f.allow]},
			{"socket", []uint64{unix.AF_UNIX}, want[f.allow]}, {"socket", []uint64{unix.AF_INET}, refuse},
			{"mkdirat", nil, want[f.store]}, {"renameat", nil, want[f.store]}, {"unlinkat", nil, want[f.store]},
			{"clone", []uint64{cloneVM | unix.CLONE_THREAD}, allow}, {"clone", []uint64{uint64(unix.SIGCHLD)}, refuse}, {"clone3", nil, nosys},
			{"execve", nil, refuse}, {"execveat", []uint64{execFD, 0, 0, 0, unix.AT_EMPTY_PATH}, refuse}, {"ptrace", nil, refuse},
			{"kill", nil, refuse}, {"memfd_create", nil, refuse}, {"bpf", nil, refuse}, {"io_uring_setup", nil, refuse}, {"ioctl", nil, refuse},
			{"prctl", []uint64{unix.PR_SET_VMA}, allow}, {"prctl", []uint64{unix.PR_SET_DUMPABLE}, refuse}, {"bind", nil, refuse}, {"listen", nil, refuse},
		} {
			if got := decide(t, vm, uint32(info.ID), uint32(info.SyscallNames[c.name]), c.args...); got != c.want {
				t.Errorf("loading %v, storing %v: %s%v: %#x, want %#x", f.allow, f.store, c.name, c.args, got, c.want)
			}
		}
	}
	for _, groups := range [][]syscallGroup{programGroups, loadingGroups, storingGroups} {
		seen := map[string]bool{}
		for _, g := range groups {
			for _, n := range g.names {
				if seen[n] || g.why == "" {
					t.Errorf("%s is there twice, or without a reason", n)
				}
				seen[n] = true
			}
		}
	}
	for _, info := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		for _, groups := range [][]syscallGroup{programGroups, loadingGroups, storingGroups} {
			if _, err := assemble(info, groups, retRefuse); err != nil {
				t.Errorf("%s: %v", info.Name, err)
			}
		}
	}
}
