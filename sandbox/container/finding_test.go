package container

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

func makeExecutable(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Proves: SB-L3
func TestHoles(t *testing.T) {
	for _, c := range []struct {
		component, version string
		holes              []hole
		want               string // one CVE, "" for none
		not                string
	}{
		{"runc", "1.1.5+ds1", runcHoles, "CVE-2024-21626", ""},
		{"runc", "1.1.5+ds1-1+deb12u1", runcHoles, "CVE-2025-31133", "CVE-2024-21626"},
		{"runc", "1.1.15", runcHoles, "CVE-2025-52881", "CVE-2024-45310"},
		{"runc", "1.2.7", runcHoles, "CVE-2025-52565", ""},
		{"runc", "1.2.8", runcHoles, "CVE-2026-41579", "CVE-2025-31133"},
		{"runc", "1.3.2", runcHoles, "CVE-2025-31133", ""},
		{"runc", "1.3.3-0ubuntu1~24.04.3", runcHoles, "CVE-2026-41579", "CVE-2025-31133"},
		{"runc", "1.3.6", runcHoles, "", ""},
		{"runc", "1.4.0-rc.2", runcHoles, "CVE-2025-31133", ""},
		{"runc", "1.4.0", runcHoles, "CVE-2026-41579", "CVE-2025-31133"},
		{"runc", "1.4.3", runcHoles, "", ""},
		{"runc", "1.5.0-rc.2", runcHoles, "CVE-2026-41579", ""},
		{"runc", "1.5.1", runcHoles, "", ""},
		{"runc", "2.0.0", runcHoles, "", ""},
		{"containerd", "1.6.20~ds1", containerdHoles, "CVE-2024-25621", "CVE-2023-25153"},
		{"containerd", "v2.4.2", containerdHoles, "", ""},
		{"containerd", "v2.1.4", containerdHoles, "CVE-2024-25621", "CVE-2025-47290"},
		{"containerd", "v2.1.0", containerdHoles, "CVE-2025-47290", ""},
		{"containerd", "v2.0.6", containerdHoles, "CVE-2024-25621", "CVE-2025-47290"},
		{"containerd", "v2.2.0-rc.1", containerdHoles, "CVE-2024-25621", ""},
		{"containerd", "v2.2.9", containerdHoles, "", ""},
		{"containerd", "1.7.35", containerdHoles, "", ""},
		{"kernel", "5.15.20-generic", kernelHoles, "CVE-2022-0847", "CVE-2023-3269"},
		{"kernel", "6.1.30", kernelHoles, "CVE-2023-3269", "CVE-2022-0847"},
		{"kernel", "6.1.76-1", kernelHoles, "", ""},
		{"kernel", "6.18.44", kernelHoles, "", ""},
	} {
		got := judge(c.component, c.version, c.version, [3]int{}, c.holes)
		has := func(cve string) bool {
			return slices.ContainsFunc(got, func(f Finding) bool {
				return slices.Contains(f.CVE, cve) && f.Severity == SeverityHole && f.Remedy != ""
			})
		}
		if c.want == "" && (len(got) != 1 || got[0].Severity != SeverityOK) || c.want != "" && !has(c.want) || c.not != "" && has(c.not) {
			t.Errorf("%s %s: %+v", c.component, c.version, got)
		}
	}
	if got := judge("runc", "1.0.3", "1.0.3", [3]int{1, 1, 0}, runcHoles); len(got) != 1 || got[0].Severity != SeverityBlocks {
		t.Errorf("%+v", got)
	}
	if got := judgeKernel("6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)"); len(got) != 1 || got[0].Version != "6.1.76-1 (2024-02-01)" {
		t.Errorf("%+v", got)
	}
}

// Proves: SB-L3
func TestExamine(t *testing.T) {
	got := Examine(t.Context(), DaemonConfig{})
	for _, want := range []string{"containerd", "runc", "kernel"} {
		if !slices.ContainsFunc(got, func(f Finding) bool { return f.Component == want && f.Version != "" && f.Severity != SeverityBlocks }) {
			t.Errorf("nothing on %s in %+v", want, got)
		}
	}
	old := filepath.Join(shortDir(t), "runc")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho runc version 1.0.0-rc93\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	got = Examine(t.Context(), DaemonConfig{Address: "/nowhere/s", RuncBinary: old})
	for _, want := range []string{"containerd", "runc"} {
		if !slices.ContainsFunc(got, func(f Finding) bool { return f.Component == want && f.Severity == SeverityBlocks && f.Remedy != "" }) {
			t.Errorf("nothing against %s in %+v", want, got)
		}
	}
}

const insideEnv = "MSUP_TEST_INSIDE"

// inside runs one test of this binary behind a shell's preparations.
func inside(t *testing.T, test, unshare, prepare string) {
	t.Helper()
	cmd := exec.Command("unshare", append(strings.Fields(unshare), "sh", "-ec", prepare+"\nexec \"$@\"", "sh", "/proc/self/exe", "-test.run=^"+test+"$", "-test.v")...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[slices.Index(cmd.Args, "/proc/self/exe")] = self
	cmd.Env = append(os.Environ(), insideEnv+"="+test)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("%v\n%s", err, out)
	}
}

// On a host that gives no user namespace nothing is started without one.
//
// Proves: SB-L3
func TestNoUserNamespaces(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		inside(t, "TestNoUserNamespaces", "--user --map-root-user", "echo 0 > /proc/sys/user/max_user_namespaces")
		return
	}
	_, err := Open(t.Context(), Config{RuntimeDir: filepath.Join(shortDir(t), "r")})
	typed(t, err, "user namespace", "user.max_user_namespaces")
	if got := Examine(t.Context(), DaemonConfig{}); !slices.ContainsFunc(got, func(f Finding) bool { return f.Component == "user namespaces" && f.Severity == SeverityBlocks }) {
		t.Errorf("%+v", got)
	}
}

// unifiedControllers is there where the host has cgroup v2 alone.
const unifiedControllers = "/sys/fs/cgroup/cgroup.controllers"

// fewControllers makes a v2 host that was given the cpu controller alone, as a container's is or what systemd delegates: a namespace whose
// root is a group that has no other. The test itself leaves that root, since groups are to be made below it.
const fewControllers = `
echo +cpu > /sys/fs/cgroup/cgroup.subtree_control
mkdir $top
echo +cpu > $top/cgroup.subtree_control
mkdir $top/host $top/host/own
echo $$ > $top/host/cgroup.procs
exec unshare --cgroup sh -ec '
echo $$ > "$0/host/own/cgroup.procs"
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec "$@"' $top "$@"`

// Without the memory and pids controllers the older walls stand in, and Walls says so.
//
// Proves: SB-L3, SB-2
func TestNoMemoryController(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		parent := sandboxtest.CgroupParent(t)
		if _, err := os.Stat(unifiedControllers); err == nil {
			top := "/sys/fs/cgroup/" + parent + "-few"
			t.Cleanup(func() {
				eventually(t, "the groups that a host with few controllers was made of can be removed", func() bool {
					_ = errors.Join(unix.Rmdir(top+"/host/own"), unix.Rmdir(top+"/host"), unix.Rmdir(top))
					_, err := os.Stat(top)
					return errors.Is(err, os.ErrNotExist)
				})
			})
			inside(t, "TestNoMemoryController", "--mount", "top="+top+"\n"+fewControllers)
			return
		}
		inside(t, "TestNoMemoryController", "--mount", "umount /sys/fs/cgroup/memory\numount /sys/fs/cgroup/pids")
		return
	}
	s := open(t, engine(t), nil)
	missing := sandbox.Missing(s.Walls())
	for _, want := range []string{sandbox.WallMemory, sandbox.WallPIDs} {
		if !slices.ContainsFunc(missing, func(w sandbox.Wall) bool { return w.Name == want && w.Remedy != "" }) {
			t.Errorf("wall %s is not missed: %+v", want, missing)
		}
	}
	spec := script(t, `
import resource
print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_NPROC)[0])
bytearray(400 << 20)
`)
	spec.NeedSocket, spec.Limits.MemoryBytes, spec.Limits.PIDs = false, 200<<20, 20
	lines := make(chan sandbox.LogLine, 20)
	spec.Log = func(l sandbox.LogLine) {
		if l.Stream == sandbox.Stdout { // stderr has the traceback, in no order with it
			lines <- l
		}
	}
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if e := wait(t, r); e.Cause != sandbox.CauseExited || e.Code != 1 || !strings.Contains(e.Stderr, "MemoryError") {
		t.Errorf("exit %+v", e)
	}
	if l := <-lines; l.Text != "209715200 20" {
		t.Errorf("limits %q", l.Text)
	}
}
