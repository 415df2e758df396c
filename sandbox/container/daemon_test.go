package container

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/version/v1"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Proves: SB-L3
func TestDaemonAbsent(t *testing.T) {
	dir := shortDir(t)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*DaemonConfig)
		words  []string
	}{
		"no socket":    {func(c *DaemonConfig) { c.Address = filepath.Join(dir, "none") }, []string{"find containerd at " + dir, "no such file"}},
		"no socket 2":  {func(c *DaemonConfig) { c.Address = plain }, []string{"not a socket"}},
		"no binary":    {func(c *DaemonConfig) { c.Binary = "containerd-nowhere" }, []string{"containerd-nowhere", "install"}},
		"no runc":      {func(c *DaemonConfig) { c.RuncBinary = "/nowhere/runc" }, []string{"/nowhere/runc", "install"}},
		"ends at once": {func(c *DaemonConfig) { c.Binary, c.StartTimeout = "/bin/false", time.Second }, []string{"/bin/false", "ended by itself", "containerd.log"}},
		"long path":    {func(c *DaemonConfig) { c.RuntimeDir = filepath.Join(dir, strings.Repeat("x", 100)) }, []string{"path of", "shorter"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := daemonIn(dir)
			c.change(&cfg)
			d, err := OpenDaemon(t.Context(), cfg)
			if err == nil {
				t.Fatalf("opened; close: %v", d.Close())
			}
			typed(t, err, c.words...)
		})
	}
}

// A daemon that starts and never answers is killed; the error says that it is silent, and where.
//
// Proves: SB-L3
func TestDaemonSilentAtStart(t *testing.T) {
	dir := shortDir(t)
	program := filepath.Join(dir, "containerd")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+dir+"/pid\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := daemonIn(dir)
	cfg.Binary, cfg.StartTimeout = program, 300*time.Millisecond
	_, err := OpenDaemon(t.Context(), cfg)
	typed(t, err, "start a private containerd", "does not answer", program)
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if pid := strings.TrimSpace(string(text)); alive(pid) {
		t.Errorf("process %s is left", pid)
	}
}

func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// oldServer answers the version question only.
type oldServer struct {
	version.UnimplementedVersionServer
	text string
	hang bool
}

func (s oldServer) Version(ctx context.Context, _ *emptypb.Empty) (*version.VersionResponse, error) {
	if s.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &version.VersionResponse{Version: s.text}, nil
}

func serve(t *testing.T, s oldServer) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	version.RegisterVersionServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// Proves: SB-L3
func TestDaemonTooOldOrHung(t *testing.T) {
	for _, v := range []string{"1.4.13", "v1.5.9+unknown", "0.9", "nonsense", ""} {
		_, err := OpenDaemon(t.Context(), DaemonConfig{Address: serve(t, oldServer{text: v})})
		typed(t, err, "its version is "+v, "1.6")
	}
	for _, v := range []string{"1.6.20~ds1", "v2.4.2", "1.10.0"} {
		d, err := OpenDaemon(t.Context(), DaemonConfig{Address: serve(t, oldServer{text: v})})
		if err != nil {
			t.Fatal(err)
		}
		if d.Version() != v || d.Private() {
			t.Errorf("%q, private %v", d.Version(), d.Private())
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := OpenDaemon(t.Context(), DaemonConfig{Address: serve(t, oldServer{hang: true}), CallTimeout: 200 * time.Millisecond})
	typed(t, err, "does not answer", "state T")
}

// pidOf is the process of a private daemon that this process runs.
func (k *keeper) pidOf() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.child == nil {
		return 0
	}
	return k.child.Pid
}

// A stopped daemon does not stop a Kill, is an error for a start that says so, and is replaced.
//
// Proves: SB-L3, SB-6
func TestDaemonHung(t *testing.T) {
	dir := shortDir(t)
	cfg := daemonIn(dir)
	cfg.CallTimeout = max(time.Second, callTimeout()/100) // before the daemon is replaced, which begins after askPeriod
	d, err := OpenDaemon(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := open(t, d, nil)
	r := startEcho(t, s)
	r.say(t, "before")
	pid := d.keeper.pidOf()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err = s.Start(t.Context(), script(t, echoCode))
	typed(t, err, "does not answer", d.Address())
	r.say(t, "while it hangs")
	killed := make(chan error, 1)
	go func() { killed <- r.Kill() }()
	eventually(t, "the killed process is gone", func() bool { return !alive(strconv.Itoa(r.PID())) })
	eventually(t, "the daemon is replaced", func() bool { p := d.keeper.pidOf(); return p != 0 && p != pid })
	if err := <-killed; err != nil {
		t.Logf("kill: %v", err) // it may have given up on the daemon; then Reap tidies up
	}
	if e := wait(t, r); e.Cause != sandbox.CauseKilled {
		t.Errorf("exit %+v", e)
	}
	eventually(t, "runners start again", func() bool {
		next, err := s.Start(t.Context(), script(t, echoCode))
		return err == nil && next.Kill() == nil
	})
	if _, err := s.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	left, err := d.Client().Containers(t.Context())
	if err != nil || len(left) > 0 {
		t.Errorf("containers %v, %v", left, err)
	}
}

// A daemon killed under running strategies: they go on, a new daemon finds them, and one that ends while no daemon runs
// still tells how it ended.
//
// Proves: SB-L3, SB-6, SB-8
func TestDaemonKilled(t *testing.T) {
	d := engine(t)
	s := open(t, d, nil)
	stays, leaves, dies := startEcho(t, s), startEcho(t, s), startEcho(t, s)
	pid := d.keeper.pidOf()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := leaves.conn.Write([]byte("\n")); err != nil { // exits with status 7
		t.Fatal(err)
	}
	if err := dies.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
	if e := dies.Exit(); e.Cause != sandbox.CauseKilled {
		t.Errorf("the killed one: %+v", e)
	}
	if e := wait(t, leaves); e.Cause != sandbox.CauseExited || e.Code != 7 {
		t.Errorf("the one that left: %+v", e)
	}
	eventually(t, "a new daemon runs", func() bool { p := d.keeper.pidOf(); return p != 0 && p != pid })
	stays.say(t, "still here")
	next := startEcho(t, s)
	next.say(t, "new")
	if err := stays.Kill(); err != nil {
		t.Error(err)
	}
	if err := next.Kill(); err != nil {
		t.Error(err)
	}
	if left, err := d.Client().Containers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("containers %v, %v", left, err)
	}
}

// A killed shim takes its runner along; the exit says that a signal did it, where the kernel tells that of an orphan (6.15), else that nobody
// knows it, and why; and the next start works.
//
// Proves: SB-L3, SB-8
func TestShimKilled(t *testing.T) {
	for _, mode := range []ShimMode{ShimShared, ShimOwn} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			d := engine(t)
			s := open(t, d, func(c *Config) { c.Shim = mode })
			a, b := startEcho(t, s), startEcho(t, s)
			shims := map[int]bool{parentOf(t, a.PID()): true, parentOf(t, b.PID()): true}
			if want := map[ShimMode]int{ShimShared: 1, ShimOwn: 2}[mode]; len(shims) != want {
				t.Fatalf("%d shims, want %d", len(shims), want)
			}
			if err := syscall.Kill(parentOf(t, a.PID()), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			e := wait(t, a)
			known := e.Cause == sandbox.CauseSignaled && e.Signal == int(syscall.SIGKILL) && e.Detail != ""
			lost := e.Cause == sandbox.CauseSetupFailed && strings.Contains(e.Detail, "killed its shim")
			if !known && (!lost || tellsOrphans(t)) {
				t.Errorf("exit %+v", e)
			}
			if mode == ShimOwn {
				b.say(t, "unharmed")
			}
			socket := a.Runner.(*runner).shimAt
			if _, err := os.Stat(socket); socket == "" || !os.IsNotExist(err) {
				t.Errorf("the dead shim's socket %q is there: %v", socket, err)
			}
			startEcho(t, s).say(t, "again")
		})
	}
}

// tellsOrphans tells whether this kernel says of a process that another one has waited for how it ended.
func tellsOrphans(t *testing.T) bool {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	v, ok := parseVersion(strings.TrimSpace(string(release)))
	if !ok {
		t.Fatalf("kernel %q", release)
	}
	return !less(v, [3]int{6, 15, 0})
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(line, "PPid:\t"); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no parent")
	return 0
}

// A second msup on the same folders joins the daemon, and takes over when the owner ends.
//
// Proves: SB-L3
func TestDaemonJoined(t *testing.T) {
	cfg := daemonIn(shortDir(t))
	owner, err := OpenDaemon(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenDaemon(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, second, nil)
	r := startEcho(t, s)
	if owner.keeper.pidOf() == 0 || second.keeper.pidOf() != 0 {
		t.Errorf("owner runs %d, the second %d", owner.keeper.pidOf(), second.keeper.pidOf())
	}
	if err := owner.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the second takes over", func() bool { return second.keeper.pidOf() != 0 })
	r.say(t, "over the change")
	startEcho(t, s).say(t, "after the change")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// supervisorEnv makes the test binary a supervisor with a private daemon, to be killed.
const supervisorEnv = "MSUP_TEST_SUPERVISOR"

// actAsSupervisor runs one strategy until it is killed.
func actAsSupervisor(t *testing.T, dir string) {
	cfg := Config{Daemon: daemonIn(dir), RuntimeDir: filepath.Join(dir, "r"), CgroupParent: sandboxtest.CgroupParent(t), Prepare: true}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := startEcho(t, s)
	eventually(t, "the next start is prepared", func() bool { return s.Prepared() == 1 })
	fmt.Println("daemon", s.Engine().keeper.pidOf(), "runner", r.PID(), "end")
	select {}
}

// kill -9 of the supervisor: its daemon goes with it, at once; the next supervisor's Reap removes runners, prepared
// containers, shims, groups and folders.
//
// Proves: SB-L3, SB-6
func TestSupervisorKilled(t *testing.T) {
	if dir := os.Getenv(supervisorEnv); dir != "" {
		actAsSupervisor(t, dir)
	}
	dir, parent := shortDir(t), sandboxtest.CgroupParent(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSupervisorKilled$")
	cmd.Env = append(os.Environ(), supervisorEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var daemon, runner string
	if _, err := fmt.Fscanf(out, "daemon %s runner %s end", &daemon, &runner); err != nil {
		t.Fatal(err, cmd.Wait())
	}
	if !alive(daemon) || !alive(runner) {
		t.Fatal("they do not live")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	eventually(t, "the daemon follows its supervisor", func() bool { return !alive(daemon) })
	s, err := Open(t.Context(), Config{Daemon: daemonIn(dir), RuntimeDir: filepath.Join(dir, "r"), CgroupParent: parent})
	if err != nil {
		t.Fatal(err)
	}
	reaped, err := s.Reap(t.Context())
	if err != nil || len(reaped.Details) != 2 || reaped.Dirs != 2 || reaped.Cgroups == 0 {
		t.Errorf("reaped %+v, %v", reaped, err)
	}
	eventually(t, "the runner is gone", func() bool { return !alive(runner) })
	if again, err := s.Reap(t.Context()); err != nil || !again.Empty() {
		t.Errorf("a second Reap found %+v, %v", again, err)
	}
	if left, err := s.Engine().Client().Containers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("containers %v, %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir, parent)
}

// nothingLeft looks for mounts, groups and shims.
func nothingLeft(t *testing.T, dir, parent string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts below %s are left (%v)", dir, err)
	}
	for _, layout := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1 and hybrid, v2
		if groups, err := filepath.Glob(layout + parent); err != nil || len(groups) > 0 {
			t.Errorf("groups %v, %v", groups, err)
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no shim is left", func() bool {
		for _, c := range commands {
			if text, err := os.ReadFile(c); err == nil && strings.Contains(string(text), filepath.Join(dir, "run", "s")) {
				return false
			}
		}
		return true
	})
}
