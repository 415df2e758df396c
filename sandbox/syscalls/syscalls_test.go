package syscalls

import (
	"math/bits"
	"testing"
)

// Every group has a reason, no name stands in two, and every condition can be said in every form of a filter.
//
// Proves: SB-3
func TestEveryGroupHasAReasonAndNoNameTwice(t *testing.T) {
	seen := map[string]string{}
	for _, g := range Strategy() {
		if g.Why == "" || len(g.Names) == 0 {
			t.Errorf("group %+v", g)
		}
		if g.Arch != "" && g.Arch != "amd64" && g.Arch != "arm64" {
			t.Errorf("group %q is for %q", g.Why, g.Arch)
		}
		if g.Errno != 0 && len(g.AnyOf) > 0 {
			t.Errorf("group %q is refused under a condition", g.Why)
		}
		for _, n := range g.Names {
			if other, ok := seen[n]; ok {
				t.Errorf("%s is in %q and in %q", n, other, g.Why)
			}
			seen[n] = g.Why
		}
		for _, a := range g.AnyOf {
			if a.Index > 5 || a.Mask != 0 && (bits.OnesCount64(a.Mask) != 1 || a.Mask != a.Value || a.Mask>>32 != 0) {
				t.Errorf("group %q: condition %+v", g.Why, a)
			}
		}
	}
	for _, never := range []string{"fork", "vfork", "execve", "execveat", "ptrace", "process_vm_readv", "memfd_create", "io_uring_setup", "userfaultfd", "bpf",
		"keyctl", "mount", "unshare", "setns", "perf_event_open", "bind", "listen", "accept", "accept4", "link", "symlink", "mknod", "chown", "mlock", "setpriority", "seccomp"} {
		if why, ok := seen[never]; ok {
			t.Errorf("%s is allowed: %s", never, why)
		}
	}
}
