package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// A containerd that is killed while it makes a task may forget the container and keep its shim: such a shim and its folder go with their runner,
// and a shim that has other tasks goes on with them.
//
// Proves: SB-L3, LS-1
func TestStrayOfAKilledDaemon(t *testing.T) {
	for _, mode := range []ShimMode{ShimShared, ShimOwn} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			d := engine(t)
			s := open(t, d, func(c *Config) { c.Shim = mode })
			stray, other := startEcho(t, s), startEcho(t, s)
			r := stray.Runner.(*runner)
			shim, left := parentOf(t, stray.PID()), traces(d, r)
			forget(t, d, r)
			if err := stray.Kill(); err != nil {
				t.Error(err)
			}
			if err := unix.Kill(shim, 0); mode == ShimShared && err != nil {
				t.Errorf("the other's shim: %v", err)
			}
			other.say(t, "still here")
			if err := other.Kill(); err != nil {
				t.Error(err)
			}
			// A shared shim remembers the task that nobody else does, and waits for its removal.
			if _, err := s.Reap(t.Context()); err != nil {
				t.Error(err)
			}
			for _, path := range left {
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("left behind: %s (%v)", path, err)
				}
			}
			eventually(t, "the shim has ended", func() bool { return errors.Is(unix.Kill(shim, 0), unix.ESRCH) })
			startEcho(t, s).say(t, "again")
		})
	}
}

// The same of which not even msup's own record is left, as after a power cut that took a part of the folders.
//
// Proves: SB-L3, LS-1
func TestStrayWithoutARecord(t *testing.T) {
	d := engine(t)
	s := open(t, d, func(c *Config) { c.Shim = ShimOwn })
	stray, other := startEcho(t, s), startEcho(t, s)
	r := stray.Runner.(*runner)
	shim, left := parentOf(t, stray.PID()), traces(d, r)
	if err := os.Remove(r.record.path); err != nil {
		t.Fatal(err)
	}
	forget(t, d, r)
	// Its shim may be dead, too.
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	reaped, err := s.Reap(t.Context())
	if err != nil || reaped.Dirs == 0 {
		t.Errorf("%+v, %v", reaped, err)
	}
	for _, path := range left {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %s (%v)", path, err)
		}
	}
	wait(t, stray)
	other.say(t, "still here")
}

// traces are the paths that a task has outside of msup's own folders.
func traces(d *Daemon, r *runner) []string {
	state := filepath.Dir(filepath.Dir(filepath.Dir(d.bundles())))
	work := filepath.Join(d.keeper.cfg.StateDir, "root", "io.containerd.runtime.v2.task", Namespace, r.id)
	return []string{filepath.Join(d.bundles(), r.id), r.shimAt, filepath.Join(state, "runc", Namespace, r.id), work}
}

// forget brings about what a kill in the middle of a create leaves: a shim and its folder, of a container that the next containerd does not know.
func forget(t *testing.T, d *Daemon, r *runner) {
	t.Helper()
	for _, path := range traces(d, r) {
		if _, err := os.Lstat(path); err != nil {
			t.Fatalf("what this test looks for is elsewhere: %v", err)
		}
	}
	if err := d.Client().ContainerService().Delete(t.Context(), r.id); err != nil {
		t.Fatal(err)
	}
	pid := d.keeper.pidOf()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new daemon runs", func() bool { p := d.keeper.pidOf(); return p != 0 && p != pid })
	if !d.back(t.Context()) {
		t.Fatal("the daemon does not come back")
	}
}

// Two on one runtime directory: the groups above the runners' stay until the last has ended, also in the hierarchies that only runc uses, because
// runc fails where they vanish under it.
//
// Proves: SB-L3
func TestParentGroupsStayWhileAnybodyRuns(t *testing.T) {
	d := engine(t)
	dir, parent := filepath.Join(shortDir(t), "r"), sandboxtest.CgroupParent(t)
	same := func(c *Config) { c.RuntimeDir, c.CgroupParent = dir, parent }
	first, second := open(t, d, same), open(t, d, same)
	r := startEcho(t, first)
	// On a host with cgroup v2 alone there are none: the runner's own group, which is made before runc's, holds its parents.
	only := slices.DeleteFunc(slices.Clone(first.points), func(point string) bool {
		return slices.ContainsFunc(r.Runner.(*runner).group.Paths(), func(p string) bool { return strings.HasPrefix(p, point+"/") })
	})
	if len(only) == 0 && len(first.points) > 1 {
		t.Fatalf("no hierarchy of %v is runc's alone", first.points)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	stays := func(when string, want bool) {
		t.Helper()
		for _, point := range only {
			if _, err := os.Stat(filepath.Join(point, parent)); (err == nil) != want {
				t.Errorf("%s: the parent group in %s: %v", when, point, err)
			}
		}
	}
	stays("after the last runner", true)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	stays("while another runs", true)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	stays("after the last msup", false)
}
