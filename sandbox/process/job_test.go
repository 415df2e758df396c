package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A build job may start processes and execute files, and nothing else that a runner may not.
//
// Proves: SB-3, SB-L1
func TestJobFilterDecides(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	machine := func(groups []syscallGroup) *bpf.VM {
		insts, err := assemble(info, groups, retRefuse)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Fatal(err)
		}
		return vm
	}
	runner, job := machine(syscallGroups), machine(jobGroups)
	more := []string{"clone", "execve", "fork", "vfork"}
	for nr, name := range info.SyscallNumbers {
		a, b := decide(t, runner, uint32(info.ID), uint32(nr)), decide(t, job, uint32(info.ID), uint32(nr))
		if a != b != slices.Contains(more, name) {
			t.Errorf("%s: a runner gets %#x, a job %#x", name, a, b)
		}
	}
	clone := uint32(info.SyscallNames["clone"])
	for _, c := range []struct {
		flags uint64
		want  uint32
	}{
		{uint64(unix.SIGCHLD), allow}, {unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD), allow}, {cloneVM | unix.CLONE_THREAD, allow},
		{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD), refuse}, {unix.CLONE_NEWNS, refuse}, {unix.CLONE_NEWNET, refuse}, {unix.CLONE_NEWPID, refuse},
		{unix.CLONE_NEWIPC, refuse}, {unix.CLONE_NEWUTS, refuse}, {unix.CLONE_NEWCGROUP, refuse}, {unix.CLONE_PTRACE, refuse},
		{cloneVM | unix.CLONE_THREAD | unix.CLONE_NEWUSER, refuse},
	} {
		if got := decide(t, job, uint32(info.ID), clone, c.flags); got != c.want {
			t.Errorf("clone(%#x): %#x, want %#x", c.flags, got, c.want)
		}
	}
	for _, info := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		if _, err := assemble(info, jobGroups, retRefuse); err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
	}
}

// Whatever talks to the supervisor never gets the right to start processes.
//
// Proves: SB-L1, SB-2
func TestJobsAreRefusedWhereTheyDoNotBelong(t *testing.T) {
	good := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneCompute, Argv: []string{"/bin/sh"}, BuildJob: true,
		Limits: sandbox.DefaultLimits()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(shortDir(t), "r"))
	for want, change := range map[string]func(*sandbox.Spec){
		"socket":           func(sp *sandbox.Spec) { sp.NeedSocket = true },
		"lane":             func(sp *sandbox.Spec) { sp.Lane = ipc.LaneLL },
		"built-in program": func(sp *sandbox.Spec) { sp.Argv = []string{"msup:store"} },
		"pids limit":       func(sp *sandbox.Spec) { sp.Limits.PIDs = 1 << 16 },
	} {
		bad := good
		change(&bad)
		var typed *sandbox.Error
		if _, err := s.Start(t.Context(), bad); !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSpec || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// runJob runs a shell script with the host's tools and a writable folder.
func runJob(t *testing.T, s *Sandbox, build bool, pids int64, script string) (string, sandbox.Exit) {
	t.Helper()
	var mu sync.Mutex
	var out strings.Builder
	dir := t.TempDir()
	r, err := s.Start(t.Context(), sandbox.Spec{
		Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneCompute, Argv: []string{"/bin/sh", "-c", script},
		Env:      []string{"PATH=/usr/bin:/bin"},
		Binds:    []sandbox.Bind{{Source: "/usr"}, {Source: "/bin"}, {Source: "/lib"}, {Source: "/lib64", Optional: true}},
		Writable: []sandbox.Writable{{Target: "/out", Source: dir, Bytes: 64 << 20}}, BuildJob: build, Limits: sandbox.Limits{PIDs: pids},
		Log: func(l sandbox.LogLine) {
			mu.Lock()
			defer mu.Unlock()
			out.WriteString(l.Text + "\n")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.Done():
	case <-time.After(max(time.Minute, sandboxtest.Patience())):
		t.Fatal(errors.Join(errors.New("the job hangs"), r.Kill()))
	}
	mu.Lock()
	defer mu.Unlock()
	return out.String(), r.Exit()
}

// Proves: SB-L1, SB-3, SB-6
func TestBuildJobsStartProcessesBehindAllWalls(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	const script = `
cp /usr/bin/true /out/own && /out/own && echo "own: yes" || echo "own: no"
echo "child: $(uname -s)"
unshare -U true 2>/dev/null && echo "namespace: yes" || echo "namespace: no"
mount -t tmpfs x /tmp 2>/dev/null && echo "mount: yes" || echo "mount: no"
touch /usr/x 2>/dev/null && echo "outside: yes" || echo "outside: no"
cp /usr/bin/true /tmp/own && /tmp/own 2>/dev/null && echo "tmp: yes" || echo "tmp: no"
ls /root /home /etc/passwd 2>/dev/null | head -1
kill -9 -1 2>/dev/null; echo "alive"
sleep 300 &
exit 7`
	out, exit := runJob(t, s, true, 64, script)
	want := "own: yes\nchild: Linux\nnamespace: no\nmount: no\noutside: no\ntmp: no\nalive\n"
	if out != want || exit.Cause != sandbox.CauseExited || exit.Code != 7 {
		t.Errorf("a job: %+v\n%s", exit, out)
	}
	// The same without the profile: not one process.
	out, exit = runJob(t, s, false, 64, "echo begun; /usr/bin/true; echo $?; (exit 3); echo after")
	if !strings.Contains(out, "begun") || strings.Contains(out, "after") || exit.Code == 0 {
		t.Errorf("no job: %+v\n%s", exit, out)
	}
}

// The ceiling counts processes, and all of them end with the job.
//
// Proves: SB-2, SB-6
func TestBuildJobsHaveACeilingOfProcesses(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	mark := fmt.Sprintf("%d.%d", 300, os.Getpid()) // sleeps that nobody else has
	out, exit := runJob(t, s, true, 20, "i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep "+mark+" & done; echo all")
	if strings.Contains(out, "all") || !strings.Contains(out, "fork") || exit.Code == 0 {
		t.Errorf("%+v\n%s", exit, out)
	}
	if exit.Usage.PIDsRefused == 0 && s.cgroups.HasPIDs() {
		t.Errorf("nothing was refused: %+v", exit.Usage)
	}
	left, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), mark) {
			t.Errorf("%s is alive", file)
		}
	}
}
