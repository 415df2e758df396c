package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"golang.org/x/sys/unix"
)

// Severity says what a finding means for containers.
type Severity string

// The severities.
const (
	SeverityBlocks Severity = "blocks" // no container can be started
	SeverityHole   Severity = "hole"   // a known weakness of this version
	SeverityWeaker Severity = "weaker" // a wall is missing
	SeverityOK     Severity = "ok"     // looked at, nothing known against it
)

// Finding is one line of `msup doctor` about containers (SB-L3).
type Finding struct {
	Component string   `json:"component"` // "runc", "containerd", "kernel" …
	Severity  Severity `json:"severity"`
	Version   string   `json:"version,omitempty"`
	Detail    string   `json:"detail"`
	CVE       []string `json:"cve,omitempty"`
	Remedy    string   `json:"remedy,omitempty"`
}

// hole is a known weakness with the versions that closed it.
type hole struct {
	cve    []string
	what   string
	since  [3]int   // first version that has it
	fixed  [][3]int // on each maintained branch (major.minor) the first version without it; the last entry closes all later branches
	debian string   // in a Debian version at least this revision has the patch, whatever its number; "" = none
}

// The lists leave out what msup's use of a component cannot meet: of containerd all that is in its CRI plugin, which msup never asks and a private
// daemon does not load, and all that a registry does to one who pulls from it.

var runcHoles = []hole{
	{cve: []string{"CVE-2026-41579"}, what: "an image with a link at /dev can make files on the host (msup starts nothing from such an image)",
		fixed: [][3]int{{1, 3, 6}, {1, 4, 3}, {1, 5, 0}}},
	{cve: []string{"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}, what: "masked paths and bind mounts can be raced so that writes reach the host's /proc",
		fixed: [][3]int{{1, 2, 8}, {1, 3, 3}, {1, 4, 0}}},
	{cve: []string{"CVE-2024-45310"}, what: "empty files and folders can be made on the host by a race", fixed: [][3]int{{1, 1, 14}, {1, 2, 0}}},
	{cve: []string{"CVE-2024-21626"}, what: "a leaked descriptor leads out of the container", fixed: [][3]int{{1, 1, 12}, {1, 2, 0}}, debian: "1.1.5+ds1-1+deb12u1"},
}

var containerdHoles = []hole{
	{cve: []string{"CVE-2025-47290"}, what: "a link in an image can be raced while it is unpacked, so that writes reach the host",
		since: [3]int{2, 1, 0}, fixed: [][3]int{{2, 1, 1}}},
	{cve: []string{"CVE-2024-25621"}, what: "containerd's folders are open to every local user (msup closes those of a private one)",
		fixed: [][3]int{{1, 7, 29}, {2, 0, 7}, {2, 1, 5}, {2, 2, 0}}},
	{cve: []string{"CVE-2023-25153"}, what: "an image archive can exhaust memory while it is imported", fixed: [][3]int{{1, 5, 18}, {1, 6, 18}, {1, 7, 0}}},
}

// kernelHoles are those that the list of system calls in seccomp.go leaves within reach.
var kernelHoles = []hole{
	{cve: []string{"CVE-2022-0847"}, what: "read-only files can be overwritten (Dirty Pipe)", since: [3]int{5, 8, 0},
		fixed: [][3]int{{5, 10, 102}, {5, 15, 25}, {5, 16, 11}, {5, 17, 0}}},
	{cve: []string{"CVE-2023-3269"}, what: "a use after free in memory maps gives the kernel's rights (StackRot)", since: [3]int{6, 1, 0},
		fixed: [][3]int{{6, 1, 37}, {6, 3, 11}, {6, 4, 1}, {6, 5, 0}}},
}

// minKernel is the first with mount_setattr, on which the read-only binds stand.
var minKernel = [3]int{5, 12, 0}

func less(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// preRelease finds what came before a version: "1.4.0-rc.2", "2.2.0-beta.0".
var preRelease = regexp.MustCompile(`\d[-~+](?:alpha|beta|rc)`)

// open tells whether a version has the hole. A branch between two named ones was given up with it, and a pre-release of the version that closed
// it counts as if it came before the mending.
func (h hole) open(v [3]int, text string) bool {
	if less(v, h.since) {
		return false
	}
	if h.debian != "" && strings.Contains(text, "deb") && !strings.Contains(text, "~deb") && text >= h.debian {
		return false
	}
	for _, f := range h.fixed {
		if v[0] == f[0] && v[1] == f[1] {
			return less(v, f) || v == f && preRelease.MatchString(text)
		}
	}
	return less(v, h.fixed[len(h.fixed)-1])
}

// Examine looks at everything that containers stand on, and starts nothing but `--version` and one process in a user
// namespace. It never fails: what it cannot find out is a finding.
func Examine(ctx context.Context, cfg DaemonConfig) []Finding {
	cfg = cfg.orDefault()
	var out []Finding
	add := func(f ...Finding) { out = append(out, f...) }
	if os.Geteuid() != 0 {
		add(Finding{Component: "privileges", Severity: SeverityBlocks, Detail: "containers need root", Remedy: "run msup as root; without it the process sandbox is used"})
	}
	add(examineContainerd(ctx, cfg)...)
	add(examineProgram(ctx, "runc", cfg.RuncBinary, [3]int{1, 1, 0}, runcHoles)...)
	if cfg.Address == "" {
		if _, err := exec.LookPath("containerd-shim-runc-v2"); err != nil {
			add(Finding{Component: "shim", Severity: SeverityBlocks, Detail: "containerd-shim-runc-v2: " + err.Error(), Remedy: "install containerd's complete package"})
		}
	}
	add(examineKernel(ctx)...)
	add(examineGroups()...)
	return out
}

func examineContainerd(ctx context.Context, cfg DaemonConfig) []Finding {
	if cfg.Address == "" {
		return examineProgram(ctx, "containerd", cfg.Binary, [3]int{minContainerdMajor, minContainerdMinor, 0}, containerdHoles)
	}
	d, err := OpenDaemon(ctx, cfg)
	if err != nil {
		f := Finding{Component: "containerd", Severity: SeverityBlocks, Detail: err.Error()}
		var typed *sandbox.Error
		if errors.As(err, &typed) {
			f.Detail, f.Remedy = typed.Op+": "+typed.Err.Error(), typed.Remedy
		}
		return []Finding{f}
	}
	out := judge("containerd", d.Version(), d.Version(), [3]int{minContainerdMajor, minContainerdMinor, 0}, containerdHoles)
	if err := d.Close(); err != nil {
		out = append(out, Finding{Component: "containerd", Severity: SeverityWeaker, Detail: "closing the connection failed: " + err.Error()})
	}
	return out
}

// examineProgram asks a program for its version.
func examineProgram(ctx context.Context, component, binary string, least [3]int, holes []hole) []Finding {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--version")
	cmd.WaitDelay = time.Second
	text, err := cmd.Output()
	if err != nil {
		return []Finding{{Component: component, Severity: SeverityBlocks, Detail: fmt.Sprintf("ask %s for its version: %v", binary, err),
			Remedy: "install it (Debian: apt-get install containerd runc), or name its path"}}
	}
	first, _, _ := bytes.Cut(text, []byte{'\n'})
	// containerd prints its module's path first, which may end in v2.
	fields := strings.Fields(string(first))
	version := string(first)
	for _, f := range fields {
		if _, ok := parseVersion(f); ok {
			version = f
			break
		}
	}
	full := version
	for _, line := range strings.Split(string(text), "\n") { // Debian's runc tells its revision here
		if commit, ok := strings.CutPrefix(line, "commit: "); ok && strings.Contains(commit, "deb") {
			full = strings.TrimSpace(commit)
		}
	}
	return judge(component, printable(version), printable(full), least, holes)
}

// judge compares a version with what is known.
func judge(component, version, full string, least [3]int, holes []hole) []Finding {
	v, ok := parseVersion(version)
	if !ok {
		return []Finding{{Component: component, Severity: SeverityBlocks, Version: version, Detail: "its version cannot be read", Remedy: "install a released version"}}
	}
	if less(v, least) {
		return []Finding{{Component: component, Severity: SeverityBlocks, Version: full,
			Detail: fmt.Sprintf("it is too old: msup needs %d.%d.%d or later", least[0], least[1], least[2]), Remedy: "install a newer one"}}
	}
	var out []Finding
	for _, h := range holes {
		if h.open(v, full) {
			var fixed []string
			for _, f := range h.fixed {
				fixed = append(fixed, fmt.Sprintf("%d.%d.%d", f[0], f[1], f[2]))
			}
			out = append(out, Finding{Component: component, Severity: SeverityHole, Version: full, CVE: h.cve,
				Detail: h.what + " (a distribution may have mended it without a new number)",
				Remedy: "install " + component + " " + strings.Join(fixed, " or ") + " or later"})
		}
	}
	if len(out) == 0 {
		out = append(out, Finding{Component: component, Severity: SeverityOK, Version: full, Detail: "no hole is known to msup"})
	}
	return out
}

func examineKernel(ctx context.Context) []Finding {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return []Finding{{Component: "kernel", Severity: SeverityBlocks, Detail: "ask for its version: " + err.Error()}}
	}
	out := judgeKernel(unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Version[:]))
	if err := tryUserNamespace(ctx); err != nil {
		f := Finding{Component: "user namespaces", Severity: SeverityBlocks, Detail: err.Error()}
		var typed *sandbox.Error
		if errors.As(err, &typed) {
			f.Detail, f.Remedy = typed.Err.Error(), typed.Remedy
		}
		out = append(out, f)
	}
	if seccompArch() == "" {
		out = append(out, Finding{Component: "seccomp", Severity: SeverityBlocks, Detail: "there is no list of system calls for " + machine(), Remedy: "use amd64 or arm64"})
	}
	if b, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(b), "\toverlay\n") {
		out = append(out, Finding{Component: "overlayfs", Severity: SeverityWeaker, Detail: "the kernel has not loaded it: images cannot be used, the host's files can",
			Remedy: "modprobe overlay"})
	}
	return out
}

// judgeKernel prefers the version behind a distribution's own number: Debian's release 6.1.0-18-amd64 is 6.1.76.
func judgeKernel(release, build string) []Finding {
	version := release
	if _, debian, ok := strings.Cut(build, "Debian "); ok {
		version = debian
	}
	return judge("kernel", printable(version), printable(version), minKernel, kernelHoles)
}

func examineGroups() []Finding {
	m, err := cgroup.New(cgroup.Config{Parent: fmt.Sprintf("msup-doctor-%d", os.Getpid())})
	if err != nil {
		return []Finding{{Component: "cgroups", Severity: SeverityBlocks, Detail: err.Error()}}
	}
	var out []Finding
	for _, w := range sandbox.Missing(m.Walls()) {
		out = append(out, Finding{Component: "cgroup " + w.Name, Severity: SeverityWeaker, Detail: w.Detail, Remedy: w.Remedy})
	}
	if err := m.Close(); err != nil {
		out = append(out, Finding{Component: "cgroups", Severity: SeverityWeaker, Detail: err.Error()})
	}
	if len(out) == 0 {
		out = append(out, Finding{Component: "cgroups", Severity: SeverityOK, Version: string(m.Layout().Kind), Detail: "memory, cpu and pids can be limited"})
	}
	return out
}
