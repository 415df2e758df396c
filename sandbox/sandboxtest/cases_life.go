package sandboxtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

func (s *suite) flood(t *testing.T) {
	limit := func(sp *sandbox.Spec) {
		sp.Limits.LogLinesPerSecond, sp.Limits.LogBurstLines, sp.Limits.LogBytesPerRun = 50, 20, 64<<10
	}
	for _, text := range []string{`spam\n`, `\x00\xff`, `\n`} {
		r := s.start(t, limit, "flood", text)
		report[struct{ Ready bool }](r)
		before, began := ownCPU(t), time.Now()
		time.Sleep(500 * time.Millisecond)
		used, took := ownCPU(t)-before, time.Since(began)
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		logs, lines := r.Logs(), r.logged()
		// 20 at once and 50/s until the kill, with room for what passed before the clock ran here.
		if most := 170 + int(50*time.Since(began).Seconds()); len(lines) > most || int64(len(lines)) != logs.Lines || logs.Bytes > 64<<10 || logs.DroppedBytes == 0 {
			t.Errorf("flood of %s: %d lines passed, stats %+v", text, len(lines), logs)
		}
		if used > floodCPU(took) {
			t.Errorf("flood of %s cost the supervisor %s of processor time in %s", text, used, took)
		}
		for _, l := range lines {
			if len(l.Text) > 1024 || strings.ContainsAny(l.Text, "\x00\n\x1b") {
				t.Fatalf("line %q", l.Text)
			}
		}
		vs := sandbox.Violations(sandbox.Limits{}.OrDefault(), r.Exit(), logs)
		if logs.DroppedLines > 0 && (len(vs) == 0 || vs[0].Reason != sandbox.ReasonLogCeiling) {
			t.Errorf("violations %v", vs)
		}
	}
}

// floodCPU is what a flood may cost the supervisor: half a processor. Under qemu's emulation, which scripts/test-cgroup2 announces, a system
// call costs ten times as much: 290 to 470 ms in half a second were measured beside other work.
func floodCPU(took time.Duration) time.Duration {
	if Emulated() {
		return took * 3 / 2
	}
	return took / 2
}

func (s *suite) logLines(t *testing.T) {
	r := s.start(t, func(sp *sandbox.Spec) { sp.NeedSocket = false }, "lines")
	e := r.wait()
	got := map[sandbox.Stream]string{}
	for _, l := range r.logged() {
		got[l.Stream] += l.Text + "|"
	}
	if e.Code != 0 || got[sandbox.Stdout] != "first|" || got[sandbox.Stderr] != `second \x1b[31mred|` {
		t.Errorf("exit %+v, lines %q", e, got)
	}
	if !strings.Contains(e.Stderr, `second \x1b`) {
		t.Errorf("stderr tail %q", e.Stderr)
	}
	if _, err := r.Conn(t.Context()); err == nil {
		t.Error("a job without a socket has a connection")
	}
}

func (s *suite) job(t *testing.T) {
	out, err := os.MkdirTemp("", "sbjob")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(out)
	r := s.start(t, func(sp *sandbox.Spec) {
		sp.NeedSocket = false
		sp.Writable = []sandbox.Writable{{Target: "/out", Source: out, Bytes: 1 << 20}, {Target: "/scratch", Bytes: 1 << 20}}
	}, "job", "/out")
	if e := r.wait(); e.Code != 0 {
		t.Fatalf("exit %+v", e)
	}
	if text, err := os.ReadFile(filepath.Join(out, "made")); err != nil || string(text) != "by the job" {
		t.Errorf("%q, %v", text, err)
	}
	// What the job wrote belongs to the supervisor afterwards.
	for _, p := range []string{".", "made", "deep/er"} {
		st, err := os.Stat(filepath.Join(out, p))
		if err != nil {
			t.Fatal(err)
		}
		if uid := ownerOf(st); uid != os.Geteuid() {
			t.Errorf("%s belongs to user %d", p, uid)
		}
	}
	if lines := r.logged(); len(lines) != 1 || lines[0].Text != "socket: None False" {
		t.Errorf("lines %v", lines)
	}
}

// jobFills fills its output folder: by bytes, and by empty folders.
func (s *suite) jobFills(t *testing.T) {
	for _, how := range []string{"bytes", "folders"} {
		out, err := os.MkdirTemp("", "sbjob")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(out)
		const limit = 2 << 20
		r := s.start(t, func(sp *sandbox.Spec) {
			sp.NeedSocket = false
			sp.Writable = []sandbox.Writable{{Target: "/out", Source: out, Bytes: limit}}
		}, "fill", "/out", how)
		e := r.wait()
		if e.Cause != sandbox.CauseKilled || e.Reason != sandbox.ReasonDisk || e.DiskBytes <= limit {
			t.Errorf("%s: exit %+v", how, e)
		}
		vs := sandbox.Violations(sandbox.DefaultLimits(), e, r.Logs())
		if len(vs) != 1 || vs[0].Kind != sandbox.ViolationDisk || vs[0].Limit != limit {
			t.Errorf("%s: violations %v", how, vs)
		}
	}
}

func (s *suite) badSpecs(t *testing.T) {
	good := s.Program("echo")
	good.Address = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
	good.Lane, good.NeedSocket = ipc.LaneCompute, s.Guest || s.Shared
	for name, spoil := range map[string]func(*sandbox.Spec){
		"no address":       func(sp *sandbox.Spec) { sp.Address.Bot = "" },
		"no lane":          func(sp *sandbox.Spec) { sp.Lane = 0 },
		"no program":       func(sp *sandbox.Spec) { sp.Argv = nil },
		"relative program": func(sp *sandbox.Spec) { sp.Argv = []string{"python3"} },
		"missing program":  func(sp *sandbox.Spec) { sp.Argv = []string{"/nowhere/python3"} },
		"not a program":    func(sp *sandbox.Spec) { sp.Argv = []string{"/usr/share"} },
		"missing bind":     func(sp *sandbox.Spec) { sp.Binds = append(sp.Binds, sandbox.Bind{Source: "/no/such/folder"}) },
		"host root":        func(sp *sandbox.Spec) { sp.Binds = append(sp.Binds, sandbox.Bind{Source: "/", Target: "/host"}) },
		"socket bind":      func(sp *sandbox.Spec) { sp.Binds = append(sp.Binds, sandbox.Bind{Source: "/usr", Target: "/run/msup"}) },
		"climbing bind": func(sp *sandbox.Spec) {
			sp.Binds = append(sp.Binds, sandbox.Bind{Source: "/usr", Target: "/a/../../b"})
		},
		"over proc": func(sp *sandbox.Spec) {
			sp.Binds = append(sp.Binds, sandbox.Bind{Source: "/usr", Target: "/proc/self"})
		},
		"zero byte":      func(sp *sandbox.Spec) { sp.Env = []string{"A=\x00"} },
		"no key":         func(sp *sandbox.Spec) { sp.Env = []string{"=x"} },
		"no memory":      func(sp *sandbox.Spec) { sp.Limits.MemoryBytes = 4096 },
		"no processes":   func(sp *sandbox.Spec) { sp.Limits.PIDs = -1 },
		"missing folder": func(sp *sandbox.Spec) { sp.Dir = "/no/such/folder" },
	} {
		t.Run(name, func(t *testing.T) {
			spec := good
			spec.Binds = append([]sandbox.Bind(nil), good.Binds...)
			spoil(&spec)
			r, err := s.box.Start(t.Context(), spec)
			if err == nil {
				t.Errorf("started; kill: %v", r.Kill())
			}
			var typed *sandbox.Error
			if !errors.As(err, &typed) || typed.Reason == "" {
				t.Errorf("error %v (%T) has no reason code", err, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := s.box.Start(ctx, good); err == nil {
		t.Errorf("started under a cancelled context; kill: %v", r.Kill())
	}
	s.onlyThisRunnersTraces(t)
}

// parallel starts many at once, as a supervisor does after a crash: every one has its own user id, socket and group.
func (s *suite) parallel(t *testing.T) {
	const n = 12
	runs := make([]*run, n)
	uids := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			spec := s.Program("echo")
			spec.Address = ipc.Address{Bot: "b", Strategy: "s", Instance: ipc.InstanceID(strconv.Itoa(i))}
			// One is of the compute lane, not all: beside 30 busy runners of the other one that lane has a hundredth of the processors, and
			// twelve starts in it did not end within their 30 s.
			if spec.Lane, spec.NeedSocket = ipc.LaneLL, true; i == 0 {
				spec.Lane = ipc.LaneCompute
			}
			patient(&spec)
			r, err := s.box.Start(t.Context(), spec)
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			runs[i] = &run{t: t, s: s, Runner: r}
			st, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID()))
			if err != nil {
				t.Error(err)
				return
			}
			uids[i] = ownerOf(st)
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for i, r := range runs {
		if r == nil {
			continue
		}
		c, err := r.Conn(t.Context())
		if err != nil {
			t.Errorf("connect %d: %v", i, err)
		} else if err := c.Close(); err != nil {
			t.Error(err)
		}
		if s.wall(sandbox.WallUserID) && (seen[uids[i]] || uids[i] == os.Geteuid()) {
			t.Errorf("user id %d twice", uids[i])
		}
		seen[uids[i]] = true
	}
	for _, r := range runs {
		if r != nil {
			r.wait()
		}
	}
	s.onlyThisRunnersTraces(t)
}

// childEnv makes the test binary act as a supervisor that will be killed.
const childEnv = "MSUP_SANDBOXTEST_SUPERVISOR_DIR"

// actAsSupervisor starts two runners, tells their process ids, and waits for its end.
func actAsSupervisor(cfg Config, dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	box, err := cfg.Open(dir)
	fail(err)
	var pids []string
	for i := range 2 {
		spec := cfg.Program("hog")
		spec.Address = ipc.Address{Bot: "b", Strategy: "orphan", Instance: ipc.InstanceID(strconv.Itoa(i))}
		spec.Lane, spec.NeedSocket = ipc.LaneLL, true
		patient(&spec)
		r, err := box.Start(context.Background(), spec)
		fail(err)
		_, err = r.Conn(context.Background())
		fail(err)
		pids = append(pids, strconv.Itoa(r.PID()))
	}
	fmt.Println("runners", strings.Join(pids, " "))
	select {}
}

// childSupervisor starts this test binary as a supervisor with two runners.
func childSupervisor(t *testing.T, dir string) (*exec.Cmd, []int) {
	t.Helper()
	top, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+top+"$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, "TMPDIR="+openFolder(t)) // what it made on its way there it cannot remove
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		words := strings.Fields(scan.Text())
		if len(words) < 3 || words[0] != "runners" {
			t.Logf("supervisor: %s", scan.Text())
			continue
		}
		var pids []int
		for _, w := range words[1:] {
			pid, err := strconv.Atoi(w)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return cmd, pids
	}
	t.Fatalf("the child supervisor told nothing: %v, %v", scan.Err(), cmd.Wait())
	return nil, nil
}

// killHard ends the child with SIGKILL and waits for it.
func killHard(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

func (s *suite) reap(t *testing.T) {
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd, pids := childSupervisor(t, dir)
	for _, pid := range pids {
		if gone(pid) == nil {
			t.Errorf("runner %d is not there", pid)
		}
	}
	killHard(t, cmd)
	if s.DiesWithSupervisor {
		allGone(t, pids, "its supervisor")
	}
	if s.ClearsUp {
		s.noLeftovers(t, dir)
	}
	box, err := s.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	reaped, err := box.Reap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := len(slices.Compact(slices.Clone(pids))) // runners may share a process
	if s.ClearsUp {
		want = 0
	}
	if reaped.Dirs != want || len(reaped.Details) != want {
		t.Errorf("reaped %+v of %d runners", reaped, len(pids))
	}
	allGone(t, pids, "its supervisor and Reap")
	if again, err := box.Reap(t.Context()); err != nil || !again.Empty() {
		t.Errorf("a second Reap found %+v, %v", again, err)
	}
	s.noLeftovers(t, dir)
}

// allGone waits until every process has ended. One that nobody has waited for yet has ended too: its parent is not us.
func allGone(t *testing.T, pids []int, survives string) {
	t.Helper()
	deadline := time.Now().Add(bound())
	for _, pid := range pids {
		for gone(pid) != nil && !zombie(pid) {
			if time.Now().After(deadline) {
				t.Errorf("runner %d survives %s", pid, survives)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func (s *suite) reapSparesTheLiving(t *testing.T) {
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd, pids := childSupervisor(t, dir)
	box, err := s.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if reaped, err := box.Reap(t.Context()); err != nil || !reaped.Empty() {
		t.Errorf("reaped %+v of a living supervisor, %v", reaped, err)
	}
	for _, pid := range pids {
		if err := gone(pid); err == nil {
			t.Errorf("runner %d of a living supervisor was killed", pid)
		}
	}
	killHard(t, cmd)
	if _, err := box.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	s.noLeftovers(t, dir)
}
