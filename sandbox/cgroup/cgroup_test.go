package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

const hybridMounts = `24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/with\040space rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
`

// Proves: SB-2
func TestLayoutIsReadFromMountinfo(t *testing.T) {
	l, err := parseLayout(strings.NewReader(hybridMounts), strings.NewReader("2:cpu,cpuacct:/a/b\n1:memory:/m\n0::/u\nbroken\n"))
	if err != nil {
		t.Fatal(err)
	}
	if l.Kind != V1 || l.V1[cpu] != "/sys/fs/cgroup/cpu,cpuacct" || l.V1[cpuacct] != l.V1[cpu] || l.V1[memory] != "/sys/fs/cgroup/with space" {
		t.Errorf("layout %+v", l)
	}
	if l.self[cpuacct] != "/a/b" || l.self[memory] != "/m" || l.self[""] != "/u" {
		t.Errorf("own groups %v", l.self)
	}
	none, err := parseLayout(strings.NewReader("24 1 254:0 / / rw - ext4 /dev/vda rw\n"), strings.NewReader(""))
	if err != nil || none.Kind != None {
		t.Errorf("layout %+v, %v", none, err)
	}
}

// Proves: NN-6
func TestSlowMovesAreNamed(t *testing.T) {
	const quick = "35 30 0:31 / /run/quick rw - cgroup none rw,favordynmods,name=quick\n"
	const none = "24 1 254:0 / / rw - ext4 /dev/vda rw\n"
	for mounts, want := range map[string]string{
		none:                 "",
		hybridMounts:         "mkdir -p /run/cgroup-quick && mount -t cgroup -o none,name=quick,favordynmods none /run/cgroup-quick",
		hybridMounts + quick: "",
	} {
		l, err := parseLayout(strings.NewReader(mounts), strings.NewReader(""))
		if err != nil || l.SlowMoves() != want {
			t.Errorf("%s%q, %v, want %q", mounts, l.SlowMoves(), err, want)
		}
	}
	l := Layout{Kind: Hybrid, Unified: "/sys/fs/cgroup/unified"}
	if got := l.SlowMoves(); got != "mount -o remount,favordynmods /sys/fs/cgroup/unified" {
		t.Errorf("hybrid: %q", got)
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for options, favored := range map[string]bool{"": false, ",favordynmods": true} {
		l, err := parseLayout(strings.NewReader(fmt.Sprintf("1 0 0:1 / %s rw - cgroup2 cgroup2 rw%s\n", root, options)), strings.NewReader(""))
		if err != nil || l.favored != favored || l.SlowMoves() != "" {
			t.Errorf("v2 alone%s: %+v, %v", options, l, err)
		}
	}
}

// imitateV2 makes a directory tree that behaves like a v2 hierarchy as far as files and directories go.
func imitateV2(t *testing.T) *Manager {
	t.Helper()
	root := t.TempDir()
	populate := func(dir string) {
		for name, text := range map[string]string{
			"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.kill": "",
			"cpu.weight": "100\n", "cpu.max": "max 100000\n", "cpu.stat": "usage_usec 1500\nthrottled_usec 20\n",
			"memory.max": "max\n", "memory.swap.max": "max\n", "memory.oom.group": "0\n", "memory.current": "4096\n", "memory.peak": "8192\n",
			"memory.events": "low 0\noom 2\noom_kill 1\n", "pids.max": "max\n", "pids.current": "3\n", "pids.events": "max 7\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	populate(root)
	l, err := parseLayout(strings.NewReader(fmt.Sprintf("1 0 0:1 / %s rw - cgroup2 cgroup2 rw\n", root)), strings.NewReader("0::/\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{layout: l, parent: "msup",
		mkdir: func(p string) error {
			if err := os.Mkdir(p, 0o755); err != nil {
				return err
			}
			populate(p)
			return nil
		},
		rmdir: func(p string) error {
			children, err := filepath.Glob(filepath.Join(p, "*", "cgroup.procs"))
			if err != nil || len(children) > 0 {
				return errors.Join(err, unix.EBUSY)
			}
			return os.RemoveAll(p)
		}}
	if err := m.probe(); err != nil {
		t.Fatal(err)
	}
	return m
}

// Proves: SB-2, NN-4, LN-3, LN-7
func TestV2GroupCarriesEveryLimit(t *testing.T) {
	m := imitateV2(t)
	if missing := sandbox.Missing(m.Walls()); len(missing) > 0 {
		t.Fatalf("walls missing on v2: %+v", missing)
	}
	g, err := m.Create(ipc.LaneCompute, "r1", sandbox.Limits{MemoryBytes: 64 << 20, CPUQuota: 0.5, PIDs: 20}.OrDefault())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.layout.Unified, "msup", "compute", "r1")
	for file, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1",
		"cpu.max": "10000 20000", "pids.max": "20", "../cpu.weight": "1", "../../ll/cpu.weight": "100"} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", file, got, err, want)
		}
	}
	if err := g.SetPIDs(5); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "pids.max")); err != nil || string(got) != "5" {
		t.Errorf("pids.max holds %q, %v", got, err)
	}
	for _, c := range []struct {
		lowered bool
		want    string
	}{{true, "10"}, {false, "100"}} {
		if err := g.SetLowered(c.lowered); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "cpu.weight")); err != nil || string(got) != c.want {
			t.Errorf("lowered %v: cpu.weight holds %q, %v", c.lowered, got, err)
		}
	}
	small, err := m.Create(ipc.LaneLL, "r2", sandbox.Limits{CPUQuota: 0.02}.OrDefault())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(small.Paths()[0], "cpu.max")); err != nil || string(got) != "2000 100000" {
		t.Errorf("cpu.max holds %q, %v", got, err)
	}
	if err := small.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	u, err := g.Usage()
	want := sandbox.Usage{CPU: 1500 * time.Microsecond, Throttled: 20 * time.Microsecond, MemoryBytes: 4096, MemoryPeakBytes: 8192, PIDs: 3, OOMKills: 1, PIDsRefused: 7}
	if err != nil || u != want {
		t.Errorf("usage %+v (%v), want %+v", u, err, want)
	}
	if err := g.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(m.layout.Unified, "msup")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty parent stays: %v", err)
	}
}

// Proves: NN-4, SB-2
func TestShallowGroupsLieBesideTheirLane(t *testing.T) {
	l, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	cpuDir, memoryDir := filepath.Join(base, "cpu"), filepath.Join(base, "memory")
	l.V1, l.V2, l.Unified, l.self = map[string]string{cpu: cpuDir, cpuacct: cpuDir, memory: memoryDir}, nil, "", map[string]string{}
	files := map[string]string{"cpu.shares": "1024", "cpu.cfs_period_us": "", "cpu.cfs_quota_us": "", "memory.limit_in_bytes": ""}
	m := &Manager{layout: l, parent: "msup", shallow: true,
		mkdir: func(p string) error {
			if err := os.MkdirAll(p, 0o755); err != nil {
				return err
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(p, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		}, rmdir: os.RemoveAll}
	if err := m.probe(); err != nil {
		t.Fatal(err)
	}
	shares := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append(path, "cpu.shares")...))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	var groups []*Group
	for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
		g, err := m.Create(lane, "r-"+lane.String(), sandbox.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	if err := groups[0].SetLowered(true); err != nil || shares(cpuDir, "msup-r-ll") != "102" {
		t.Errorf("a lowered low-latency group has %s shares, %v", shares(cpuDir, "msup-r-ll"), err)
	}
	if err := groups[0].SetLowered(false); err != nil {
		t.Error(err)
	}
	if got := shares(cpuDir, "msup-r-ll"); got != "1024" {
		t.Errorf("a low-latency group has %s shares", got)
	}
	if shares(cpuDir, "msup-compute", "r-compute") != "1024" || shares(cpuDir, "msup-compute") != "10" {
		t.Error("the compute lane is not a hundredth of a low-latency group")
	}
	if _, err := os.Stat(filepath.Join(memoryDir, "msup", "ll", "r-ll")); err != nil {
		t.Errorf("where the scheduler does not walk, a lane is a folder: %v", err)
	}
	if got := m.Open(ipc.LaneLL, "r-ll").Paths(); len(got) != 2 {
		t.Errorf("a dead supervisor's group is found in %v", got)
	}
}

// Proves: SB-2
func TestUnprivilegedHostNamesItsMissingWalls(t *testing.T) {
	m := imitateV2(t)
	denied := func(string) error { return os.ErrPermission }
	m = &Manager{layout: m.layout, parent: "msup", mkdir: denied, rmdir: func(string) error { return nil }}
	if err := m.probe(); err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Walls() {
		if w.Name != sandbox.WallKill && (w.Standing || w.Remedy == "" || !strings.Contains(w.Detail, "permission denied")) {
			t.Errorf("wall %+v", w)
		}
	}
	g, err := m.Create(ipc.LaneLL, "r1", sandbox.DefaultLimits())
	if err != nil || len(g.Paths()) != 0 {
		t.Fatalf("group %v, %v", g, err)
	}
	if u, err := g.Usage(); err != nil || u != sandbox.UnknownUsage() {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Remove(t.Context())); err != nil {
		t.Error(err)
	}
}

// v2 lets the threaded controllers into a group that holds processes, and then never memory: so the supervisor leaves first, or says who is there.
//
// Proves: SB-2
func TestAGivenGroupIsLeftBeforeItsChildrenGetLimits(t *testing.T) {
	m := imitateV2(t)
	root, own := m.layout.Unified, fmt.Sprint(os.Getpid())
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	probe := func(inside string) []sandbox.Wall {
		file("cgroup.type", "domain\n") // the real root has none
		file("cgroup.procs", inside)
		file("cgroup.subtree_control", "")
		m.hierarchies = nil
		if err := m.probe(); err != nil {
			t.Fatal(err)
		}
		return sandbox.Missing(m.Walls())
	}
	for _, w := range probe(own + "\n1\n") {
		if !strings.Contains(w.Detail, "holds other processes") {
			t.Errorf("wall %+v", w)
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control")); err != nil || len(text) > 0 || m.HasMemory() {
		t.Errorf("a group with others inside was told %q, %v", text, err)
	}
	if missing := probe(own + "\n"); len(missing) > 0 {
		t.Errorf("walls missing: %+v", missing)
	}
	for name, want := range map[string]string{"supervisor/cgroup.procs": own, "cgroup.subtree_control": "+cpu +memory +pids"} {
		if text, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(text) != want {
			t.Errorf("%s holds %q (%v), want %q", name, text, err, want)
		}
	}
	if got := given("/sys/fs/cgroup", "/a.scope/supervisor"); got != "/sys/fs/cgroup/a.scope" {
		t.Errorf("who comes from the leaf is given %s", got)
	}
}

// Proves: SB-2
func TestLimitThatCannotBeSetIsAnError(t *testing.T) {
	m := imitateV2(t)
	plain := m.mkdir
	m.mkdir = func(p string) error {
		err := plain(p)
		if filepath.Base(p) == "r1" {
			err = errors.Join(err, os.Remove(filepath.Join(p, "memory.max")))
		}
		return err
	}
	if _, err := m.Create(ipc.LaneLL, "r1", sandbox.DefaultLimits()); err == nil || !strings.Contains(err.Error(), "memory.max") {
		t.Errorf("error %v does not name memory.max", err)
	}
	if _, err := os.Stat(filepath.Join(m.layout.Unified, "msup")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover after a failed create: %v", err)
	}
}

// The real host: whatever it offers, a group takes a process, reports it, kills it with its children, and vanishes. A
// second time without the unified hierarchy, so that a hybrid host shows the way of v1, by its freezer, too.
//
// Proves: SB-2, SB-6
func TestRealGroupKillsTreeAndVanishes(t *testing.T) {
	for _, unified := range []bool{true, false} {
		t.Run(fmt.Sprintf("unified=%v", unified), func(t *testing.T) {
			m, err := New(Config{Parent: fmt.Sprintf("msup-cgrouptest-%d", os.Getpid())})
			if err != nil {
				t.Fatal(err)
			}
			if !unified {
				m.layout.Unified, m.layout.V2, m.hierarchies = "", nil, nil
				if err := m.probe(); err != nil {
					t.Fatal(err)
				}
			}
			killTree(t, m)
		})
	}
}

func killTree(t *testing.T, m *Manager) {
	t.Helper()
	g, err := m.Create(ipc.LaneLL, "r1", sandbox.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Paths()) == 0 {
		t.Logf("this host gives no control group here; walls: %+v", sandbox.Missing(m.Walls()))
		return
	}
	// The shell waits until it is inside, so that its children are too.
	cmd := exec.Command("sh", "-c", "read go; sleep 1000 & sleep 1000 & wait")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if pids, err := g.PIDs(); err != nil {
			t.Fatal(err)
		} else if len(pids) == 3 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("processes inside: %v, want 3", pids)
		}
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("the shell ended by itself")
	}
	if u, err := g.Usage(); err != nil || (m.HasMemory() && u.MemoryPeakBytes <= 0) {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func leftovers(t *testing.T, m *Manager) []string {
	t.Helper()
	var out []string
	for _, h := range m.hierarchies {
		if _, err := os.Stat(filepath.Join(h.base, m.parent)); err == nil {
			out = append(out, filepath.Join(h.base, m.parent))
		}
	}
	slices.Sort(out)
	return out
}
