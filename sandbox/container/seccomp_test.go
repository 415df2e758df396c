package container

import (
	"slices"
	"testing"

	"github.com/msup/msup/sandbox/syscalls"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// What counts is announced, on every architecture that has it, under no condition or under the opposite of what allows the call; nothing that is
// always allowed is, and never write, for which runc refuses the profile.
//
// Proves: SB-3, SB-7, SB-L3
func TestWhatCountsIsAnnounced(t *testing.T) {
	for _, arch := range []specs.Arch{amd64, arm64} {
		announced, allowed := map[string][]specs.LinuxSeccompArg{}, map[string][]specs.LinuxSeccompArg{}
		for _, rule := range seccompProfile(arch, "/n").Syscalls {
			for _, name := range rule.Names {
				switch rule.Action {
				case specs.ActNotify:
					announced[name] = rule.Args
				case specs.ActAllow:
					allowed[name] = rule.Args
				}
			}
		}
		for name, args := range announced {
			if other, ok := allowed[name]; ok && (len(args) == 0 || len(other) == 0 || slices.Equal(args, other)) {
				t.Errorf("%s: %s is allowed under %v and announced under %v", arch, name, other, args)
			}
		}
		for _, g := range syscalls.Counted() {
			for _, name := range g.Names {
				if args, ok := announced[name]; ok != (g.Arch == "" || arches[g.Arch] == arch) || len(args) != 0 {
					t.Errorf("%s: %s is announced: %v, under %v", arch, name, ok, args)
				}
			}
		}
		for name, want := range map[string]specs.LinuxSeccompArg{
			"socket":     {Index: 0, Value: 1, Op: specs.OpNotEqual},
			"socketpair": {Index: 0, Value: 1, Op: specs.OpNotEqual},
			"clone":      {Index: 0, Value: 0x10000, ValueTwo: 0, Op: specs.OpMaskedEqual},
		} {
			if got := announced[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is announced under %+v", arch, name, got)
			}
		}
		for _, never := range []string{"write", "read", "openat", "mmap", "clone3", "memfd_create", "sendmsg", "recvmsg", "ioctl", "prctl"} {
			if _, ok := announced[never]; ok {
				t.Errorf("%s: %s is announced", arch, never)
			}
		}
	}
}
