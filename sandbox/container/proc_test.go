package container

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/userid"
	"golang.org/x/sys/unix"
)

// procMounts are the options of what lies at /proc in a process's mounts, the lowest first.
func procMounts(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 && (fields[4] == "/proc" || strings.HasPrefix(fields[4], "/proc/")) {
			out = append(out, fields[4]+" "+fields[len(fields)-1])
		}
	}
	return out
}

// What runc's init needs of /proc is gone before a container is ready for the strategy, also while it waits for its start.
//
// Proves: SB-L3, DOD-2
func TestProcIsNarrowBeforeTheStart(t *testing.T) {
	s := open(t, engine(t), nil)
	spec := script(t, echoCode)
	if err := s.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	r := s.ready[spec.Address.String()]
	s.mu.Unlock()
	for _, when := range []string{"prepared", "running"} {
		got := procMounts(t, r.pid)
		if len(got) != 1 || !strings.Contains(got[0], "subset=pid") || !strings.Contains(got[0], "hidepid=") {
			t.Errorf("%s: /proc is %q", when, got)
		}
		if when == "prepared" {
			connect(t, s, spec).say(t, "hello")
		}
	}
}

// A process that is not the runner's, because the runner's has ended and its number was given away, keeps its mounts.
//
// Proves: SB-L3, LS-1
func TestForeignMountsAreLeftAlone(t *testing.T) {
	other := exec.CommandContext(t.Context(), "unshare", "--mount", "sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait() // killed
	}()
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has mounts of its own", func() bool {
		now, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", other.Process.Pid))
		return err == nil && now != own
	})
	ids, err := userIDs(filepath.Join(t.TempDir(), "ids")).Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer func(c *userid.Claim) {
		if err := c.Release(); err != nil {
			t.Error(err)
		}
	}(ids)
	r := &runner{box: &Sandbox{log: slog.New(slog.DiscardHandler)}, ids: ids, pid: other.Process.Pid, gone: make(chan struct{})}
	if err := r.hold(); err != nil {
		t.Fatal(err)
	}
	before := procMounts(t, r.pid)
	if err := r.narrowProc(); err == nil || !strings.Contains(err.Error(), "does not have the runner's mounts") {
		t.Errorf("error %v", err)
	}
	if after := procMounts(t, r.pid); len(before) == 0 || len(after) != len(before) {
		t.Errorf("/proc was %q and is %q", before, after)
	}
	if err := r.letGo(); err != nil {
		t.Error(err)
	}
}

// A thread that went into other mounts does not come back, and it is never the first one, whose mounts are those of the program.
//
// Proves: SB-L3
func TestOnEndingThread(t *testing.T) {
	var mu sync.Mutex
	used := map[int]bool{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			err := onEndingThread(func() error {
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					return err
				}
				if err := unix.Chdir("/proc"); err != nil {
					return err
				}
				mu.Lock()
				used[unix.Gettid()] = true
				mu.Unlock()
				time.Sleep(time.Millisecond)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(used) == 0 || used[unix.Getpid()] {
		t.Errorf("threads %v were used, of which %d is the first", used, unix.Getpid())
	}
	eventually(t, "they have ended", func() bool {
		for tid := range used {
			if at, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/cwd", tid)); err == nil && at == "/proc" {
				return false
			}
		}
		return true
	})
}

// Nothing else may be mounted at /proc, nor may what lies over it stay out of a specification.
//
// Proves: SB-L3
func TestPlacesOfProc(t *testing.T) {
	spec := sandbox.Spec{Limits: sandbox.Limits{}.OrDefault()}
	all, err := places(spec, "")
	if err != nil {
		t.Fatal(err)
	}
	var options []string
	for _, p := range all {
		if p.mount.Destination == "/proc" {
			options = append(options, strings.Join(p.mount.Options, ","))
		}
	}
	if len(options) != 2 || !strings.Contains(options[0], "subset=pid") || strings.Contains(options[1], "subset=pid") || !strings.HasPrefix(options[1], "ro,nosuid,nodev,noexec") {
		t.Errorf("at /proc lie %q", options)
	}
	spec.Binds = []sandbox.Bind{{Source: "/usr", Target: "/proc"}}
	if _, err := places(spec, ""); err == nil {
		t.Error("a bind over /proc is accepted")
	}
}
