package container

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/msup/msup/sandbox"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// runnerOOMScore makes the kernel choose runners before anything of the supervisor's when the whole host is out of
// memory. Raising it needs no privilege; a negative score that the supervisor may have is never inherited.
const runnerOOMScore = 100

// hiddenPaths would tell of the host. Under subset=pid they do not exist: this is the second wall.
var hiddenPaths = []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/kallsyms", "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/sysrq-trigger", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"}

// lockedPaths may be read, never written.
var lockedPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}

// specification is what runc is told about one runner (SB-L3).
func (r *runner) specification(root string, all []place, cgroupsPath string) *specs.Spec {
	spec := r.spec
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	env := append([]string{}, spec.Env...)
	if spec.NeedSocket {
		env = append(env, sandbox.SocketEnv+"="+sandbox.SocketPath)
	}
	// runc sees to it that there is a HOME, and looks into the image's /etc/passwd for it. Nothing but the spec decides what a strategy sees.
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		env = append(env, "HOME=/tmp")
	}
	score := max(runnerOOMScore, ownOOMScore())
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(r.ids.First), Size: rangeSize}}
	s := &specs.Spec{
		Version:  "1.0.2", // the latest that runc 1.1 knows
		Hostname: "msup",
		Root:     &specs.Root{Path: root, Readonly: true},
		Process: &specs.Process{
			User: specs.User{UID: innerID, GID: innerID}, Args: spec.Argv, Env: env, Cwd: dir,
			Capabilities: &specs.LinuxCapabilities{}, NoNewPrivileges: true, OOMScoreAdj: &score,
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_CORE"}, {Type: "RLIMIT_MEMLOCK"},
				{Type: "RLIMIT_SIGPENDING", Hard: sandbox.QueuedSignals, Soft: sandbox.QueuedSignals},
				{Type: "RLIMIT_FSIZE", Hard: spec.Limits.FileSizeBytes, Soft: spec.Limits.FileSizeBytes},
			},
		},
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids, CgroupsPath: cgroupsPath,
			Namespaces: []specs.LinuxNamespace{{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths: hiddenPaths, ReadonlyPaths: lockedPaths,
			Seccomp:           seccompProfile(seccompArch(), r.latch.path),
			RootfsPropagation: "private",
			// Memory, processor and pids stand on the group already; runc adds the wall of devices.
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
	for _, p := range all {
		s.Mounts = append(s.Mounts, p.mount)
	}
	if group := r.shim; group != "" {
		s.Annotations = map[string]string{"io.containerd.runc.v2.group": group}
	}
	return s
}

// ownOOMScore is the supervisor's.
func ownOOMScore() int {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}
