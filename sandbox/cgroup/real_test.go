package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// The limits as the kernel of this host takes them, and what it does to who breaks them: on a hybrid host by v1's files, under
// make test-cgroup2 by v2's. Each test starts this test binary again as the one that breaks a limit.

// actEnv tells that process what to do.
const actEnv = "MSUP_TEST_CGROUP_ACT"

// TestAct is what the processes of the other tests do; run as a test it does nothing.
func TestAct(t *testing.T) {
	act := os.Getenv(actEnv)
	if act == "" {
		return
	}
	// Not before it is inside.
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	switch act {
	case "eat":
		if err := exec.Command("sleep", "1000").Start(); err != nil {
			t.Fatal(err)
		}
		for held := [][]byte(nil); ; {
			page := make([]byte, 1<<20)
			for i := 0; i < len(page); i += 4096 {
				page[i] = 1
			}
			held = append(held, page)
			if len(held) > 4<<10 {
				t.Fatal("4 GiB were given")
			}
		}
	case "fork":
		n := 0
		for ; n < 100; n++ {
			if err := exec.Command("sleep", "1000").Start(); err != nil {
				break
			}
		}
		fmt.Println("began", n)
		select {}
	case "burn":
		began, before := time.Now(), burnt()
		for burnt()-before < 100*time.Millisecond {
		}
		fmt.Println("took", time.Since(began).Microseconds())
		select {}
	}
}

func burnt() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// member is a process inside a group.
type member struct {
	*exec.Cmd
	out *bufio.Reader
}

// actIn starts an act in a group. It ends with the test.
func actIn(t *testing.T, g *Group, act string) *member {
	t.Helper()
	return startIn(t, g, exec.Command("/proc/self/exe", "-test.run=^TestAct$"), actEnv+"="+act)
}

// startIn starts a program that waits for a line, moves it into the group, and gives it the line.
func startIn(t *testing.T, g *Group, cmd *exec.Cmd, env ...string) *member {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	return &member{cmd, bufio.NewReader(out)}
}

// number waits for the one line that an act says.
func (m *member) number(t *testing.T, word string) int64 {
	t.Helper()
	line, err := m.out.ReadString('\n')
	text, ok := strings.CutPrefix(strings.TrimSpace(line), word+" ")
	n, perr := strconv.ParseInt(text, 10, 64)
	if err != nil || !ok || perr != nil {
		t.Fatalf("it says %q, %v", line, errors.Join(err, perr))
	}
	return n
}

// real makes a group for one test, and removes it with all that is inside.
func real(t *testing.T, limits sandbox.Limits) (*Manager, *Group) {
	t.Helper()
	m, err := New(Config{Parent: fmt.Sprintf("msup-cgroupreal-%d", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Create(ipc.LaneLL, "r1", limits.OrDefault())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own is over
		defer cancel()
		if err := errors.Join(g.Kill(ctx), g.Remove(ctx), m.Close()); err != nil {
			t.Error(err)
		}
		if left := leftovers(t, m); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return m, g
}

// within waits for something that takes ms on an idle machine.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// Proves: SB-2, NN-4, LN-3
func TestTheKernelTakesEveryLimit(t *testing.T) {
	m, g := real(t, sandbox.Limits{MemoryBytes: 64 << 20, CPUQuota: 0.5, PIDs: 20})
	files := map[string]map[string]string{
		memory: {"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1"},
		cpu:    {"cpu.max": "10000 20000", "cpu.weight": "100", "../cpu.weight": "100", "../../compute/cpu.weight": "1"},
		pids:   {"pids.max": "20"},
	}
	for controller, wanted := range files {
		v2, ok := m.has(controller)
		if !ok {
			t.Logf("this host gives no %s controller: %s", controller, m.why[controller])
			continue
		}
		if !v2 {
			wanted = map[string]map[string]string{memory: {"memory.limit_in_bytes": "67108864"}, pids: {"pids.max": "20"},
				cpu: {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "10000", "../cpu.shares": "10240", "../../compute/cpu.shares": "2"}}[controller]
		}
		for file, want := range wanted {
			text, err := os.ReadFile(filepath.Join(g.dirs[controller], file))
			if errors.Is(err, os.ErrNotExist) && file == "memory.swap.max" {
				continue // a kernel without swap
			}
			if got := strings.TrimSpace(string(text)); err != nil || got != want {
				t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
			}
		}
	}
	if err := g.SetPIDs(7); err != nil {
		t.Error(err)
	}
	if dir, ok := g.dirs[pids]; ok {
		if text, err := os.ReadFile(filepath.Join(dir, "pids.max")); err != nil || strings.TrimSpace(string(text)) != "7" {
			t.Errorf("pids.max holds %q, %v", text, err)
		}
	}
}

// Where v2 has every controller, a process begins inside its group; where v1 has one, it must be moved.
//
// Proves: SB-2, NN-6
func TestAProcessIsClonedIntoAWholeGroup(t *testing.T) {
	m, g := real(t, sandbox.Limits{})
	dir, err := g.Whole()
	if err != nil {
		t.Fatal(err)
	}
	everywhere := true
	for _, controller := range []string{memory, cpu, pids} {
		v2, ok := m.has(controller)
		everywhere = everywhere && v2 && ok
	}
	if (dir != nil) != everywhere {
		t.Fatalf("the group lies in %v, whole is %v", g.Paths(), dir)
	}
	if dir == nil {
		return
	}
	defer dir.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inside, err := g.PIDs()
	if err != nil || !slices.Equal(inside, []int{cmd.Process.Pid}) {
		t.Errorf("inside are %v, %v, want %d", inside, err, cmd.Process.Pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
}

// Out of memory is told by the group's own counter, and on v2 ends all that is inside at once (memory.oom.group).
//
// Proves: SB-2, SB-L1
func TestWhoEatsTooMuchIsEndedAndCounted(t *testing.T) {
	const limit = 96 << 20
	m, g := real(t, sandbox.Limits{MemoryBytes: limit})
	if !m.HasMemory() {
		t.Logf("this host gives no memory controller: %s", m.why[memory])
		return
	}
	eater := actIn(t, g, "eat")
	var exit *exec.ExitError
	if err := eater.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
	u, err := g.Usage()
	// Whom the kernel is about to kill it lets go over by some pages.
	if err != nil || u.OOMKills < 1 || u.MemoryPeakBytes > limit+1<<20 || u.MemoryPeakBytes < limit/2 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if v2, _ := m.has(memory); v2 {
		within(t, "its child ends with it", func() bool {
			inside, err := g.PIDs()
			return err == nil && len(inside) == 0
		})
	}
}

// Proves: SB-2
func TestForksAreRefusedAndCounted(t *testing.T) {
	const limit = 16 // the Go program itself has some threads
	m, g := real(t, sandbox.Limits{PIDs: limit})
	if !m.HasPIDs() {
		t.Logf("this host gives no pids controller: %s", m.why[pids])
		return
	}
	began := actIn(t, g, "fork").number(t, "began")
	u, err := g.Usage()
	if err != nil || began >= limit || began < 1 || u.PIDsRefused < 1 || u.PIDs > limit || u.PIDs <= began {
		t.Errorf("%d processes began, usage %+v, %v", began, u, err)
	}
}

// Proves: SB-2
func TestTheQuotaHoldsAndIsCounted(t *testing.T) {
	m, g := real(t, sandbox.Limits{CPUQuota: 0.05})
	if _, ok := m.has(cpu); !ok {
		t.Logf("this host gives no cpu controller: %s", m.why[cpu])
		return
	}
	took := time.Duration(actIn(t, g, "burn").number(t, "took")) * time.Microsecond
	// 0.1 s at a twentieth of a processor is 2 s. A processor that others take does not throttle, so that time has no floor but 0.
	u, err := g.Usage()
	if err != nil || took < time.Second || u.Throttled <= 0 || (u.CPU >= 0 && (u.CPU < 50*time.Millisecond || u.CPU > took/5)) {
		t.Errorf("0.1 s of processor time took %s, usage %+v, %v", took, u, err)
	}
}

// Kill empties a group whatever is going on inside.
//
// Proves: SB-6
func TestKillEmptiesTheGroup(t *testing.T) {
	for name, c := range map[string]struct {
		shell string // what happens inside, until it says "began 1"
		then  func(t *testing.T, m *Manager, g *Group)
	}{
		"forking": {"(while :; do sleep 0.01 & done) & echo began 1; wait", func(*testing.T, *Manager, *Group) {}},
		"stopped": {"sleep 1000 & echo began 1; kill -STOP $! $$", func(t *testing.T, _ *Manager, g *Group) {
			within(t, "both are stopped", func() bool {
				inside, err := g.PIDs()
				return err == nil && len(inside) == 2 && stopped(inside[0]) && stopped(inside[1])
			})
		}},
		"frozen": {"sleep 1000 & echo began 1; wait", freeze},
	} {
		t.Run(name, func(t *testing.T) {
			m, g := real(t, sandbox.Limits{PIDs: 200})
			cmd := startIn(t, g, exec.Command("sh", "-c", "read go; "+c.shell))
			cmd.number(t, "began")
			c.then(t, m, g)
			began := time.Now()
			if err := g.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			if inside, err := g.PIDs(); err != nil || len(inside) > 0 {
				t.Errorf("%v are inside, %v", inside, err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it ended by itself")
			}
			t.Logf("empty after %s", time.Since(began))
		})
	}
}

func stopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") T ")
}

// freeze is what somebody else, systemd for example, may have done to a group.
func freeze(t *testing.T, m *Manager, g *Group) {
	t.Helper()
	file, value, told, frozen := "cgroup.freeze", "1", "cgroup.events", "frozen 1"
	dir := g.unified
	if own, ok := g.dirs[freezer]; ok {
		dir, file, value, told, frozen = own, "freezer.state", "FROZEN", "freezer.state", "FROZEN"
	}
	if dir == "" {
		t.Logf("this host gives no freezer: %s", m.why[freezer])
		return
	}
	if err := write(dir, file, value); err != nil {
		t.Fatal(err)
	}
	within(t, "the group is frozen", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, told))
		return err == nil && strings.Contains(string(text), frozen)
	})
}

// delegatedEnv tells the test binary that it is nobody, in a group that was given to it.
const delegatedEnv = "MSUP_TEST_CGROUP_DELEGATED"

// A supervisor without root in a group that was delegated to it, as systemd does it with Delegate=yes: on v2 every wall stands there.
//
// Proves: SB-2, SB-L1
func TestADelegatedGroupIsUsed(t *testing.T) {
	if base := os.Getenv(delegatedEnv); base != "" {
		asDelegate(t, base)
		return
	}
	l, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if l.Unified == "" || os.Geteuid() != 0 {
		t.Logf("nobody can be given a group here: layout %s, user %d", l.Kind, os.Geteuid())
		return
	}
	const nobody = 65534
	base := filepath.Join(l.Unified, fmt.Sprintf("msup-delegated-%d", os.Getpid()))
	for _, c := range l.V2 {
		if _, taken := l.V1[c]; !taken && (c == memory || c == cpu || c == pids) {
			if err := write(l.Unified, "cgroup.subtree_control", "+"+c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	defer within(t, "the delegated group can be removed", func() bool {
		err := unix.Rmdir(filepath.Join(base, "supervisor")) // where it had to make one
		return (err == nil || errors.Is(err, unix.ENOENT)) && unix.Rmdir(base) == nil
	})
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(base, file), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestADelegatedGroupIsUsed$", "-test.v")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", delegatedEnv + "=" + base}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestADelegatedGroupIsUsed") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// asDelegate is the supervisor: it leaves the group that it was given for a leaf, since v2 wants none inside, and makes its groups there.
func asDelegate(t *testing.T, base string) {
	t.Helper()
	m, err := New(Config{Parent: "msup"})
	if err != nil {
		t.Fatal(err)
	}
	if m.layout.Kind == V2 {
		if missing := sandbox.Missing(m.Walls()); len(missing) > 0 {
			t.Errorf("walls missing in a delegated group: %+v", missing)
		}
	}
	g, err := m.Create(ipc.LaneCompute, "r1", sandbox.Limits{PIDs: 16, MemoryBytes: 96 << 20}.OrDefault())
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(base, "msup", "compute", "r1"); g.unified != want {
		t.Fatalf("the group is %q, want %q", g.unified, want)
	}
	// It has left for a leaf by now; whoever looks again, to reap for example, finds the same place.
	again, err := New(Config{Parent: "msup"})
	if err != nil {
		t.Fatal(err)
	}
	if found := again.Open(ipc.LaneCompute, "r1"); found.unified != g.unified || len(sandbox.Missing(again.Walls())) != len(sandbox.Missing(m.Walls())) {
		t.Errorf("a second look finds %q, walls %+v", found.unified, again.Walls())
	}
	cmd := startIn(t, g, exec.Command("sh", "-c", "read go; echo began 1; sleep 1000 & wait"))
	cmd.number(t, "began")
	if u, err := g.Usage(); err != nil || (m.HasPIDs() && u.PIDs < 1) {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	if err := errors.Join(g.Remove(t.Context()), m.Close()); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
