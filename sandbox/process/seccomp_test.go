package process

import (
	"encoding/binary"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/msup/msup/sandbox/syscalls"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// decide runs a filter on one system call, as the kernel would.
func decide(t *testing.T, vm *bpf.VM, auditArch uint32, nr uint32, args ...uint64) uint32 {
	t.Helper()
	// struct seccomp_data, in the byte order that bpf.VM reads
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], nr)
	binary.BigEndian.PutUint32(data[4:], auditArch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a)) // the assembler takes the low half first on these machines
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

const (
	allow   = uint32(unix.SECCOMP_RET_ALLOW)
	refuse  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	nosys   = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
	nosupp  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOTSUP)
	high32  = 1 << 32
	cloneVM = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND
)

// Proves: SB-3, SB-L1
func TestFilterDecides(t *testing.T) {
	// The library assembles for the architecture it runs on; the next test checks the names of both.
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	insts, err := assemble(info, syscallGroups, retRefuse)
	if err != nil {
		t.Fatal(err)
	}
	if len(insts) > 4096 {
		t.Errorf("%d instructions, the kernel takes 4096", len(insts))
	}
	vm, err := bpf.NewVM(insts)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []uint64
		want uint32
	}{
		{"read", nil, allow}, {"mmap", nil, allow}, {"futex", nil, allow}, {"exit_group", nil, allow},
		{"socket", []uint64{unix.AF_UNIX, 1}, allow},
		{"socket", []uint64{unix.AF_INET, 1}, refuse}, {"socket", []uint64{unix.AF_INET6, 1}, refuse},
		{"socket", []uint64{unix.AF_NETLINK, 3}, refuse}, {"socket", []uint64{unix.AF_VSOCK, 1}, refuse},
		{"socket", []uint64{unix.AF_PACKET, 3}, refuse}, {"socket", []uint64{unix.AF_ALG, 5}, refuse},
		{"socket", []uint64{unix.AF_UNIX | high32, 1}, refuse},
		// The number of a later call as the argument of a refused one: XDP's family is sendto's number, clone's flag is pread's.
		{"socket", []uint64{unix.AF_XDP, 3}, refuse}, {"socket", []uint64{unix.AF_QIPCRTR, 1}, refuse}, {"socket", []uint64{45, 1}, refuse},
		{"prctl", []uint64{322}, refuse}, {"ioctl", []uint64{0, 322}, refuse}, {"clone", []uint64{17}, refuse},
		{"socketpair", []uint64{unix.AF_UNIX, 1}, allow}, {"socketpair", []uint64{unix.AF_TIPC, 1}, refuse},
		{"clone", []uint64{cloneVM | unix.CLONE_THREAD}, allow},
		{"clone", []uint64{uint64(unix.SIGCHLD)}, refuse}, {"clone", []uint64{cloneVM}, refuse},
		{"clone", []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, refuse},
		{"clone3", nil, nosys}, {"execve", nil, refuse},
		{"execveat", []uint64{execFD, 0, 0, 0, unix.AT_EMPTY_PATH}, allow},
		{"execveat", []uint64{3, 0, 0, 0, unix.AT_EMPTY_PATH}, refuse}, {"execveat", []uint64{execFD, 0, 0, 0, 0}, refuse},
		{"prctl", []uint64{unix.PR_SET_NAME}, allow}, {"prctl", []uint64{unix.PR_SET_PDEATHSIG}, refuse},
		{"prctl", []uint64{unix.PR_SET_DUMPABLE}, refuse}, {"prctl", []uint64{unix.PR_SET_SECCOMP}, refuse},
		{"ioctl", []uint64{0, unix.TCGETS}, allow}, {"ioctl", []uint64{0, unix.TIOCSTI}, refuse},
		{"ptrace", nil, refuse}, {"process_vm_readv", nil, refuse}, {"memfd_create", nil, refuse}, {"io_uring_setup", nil, refuse},
		{"userfaultfd", nil, refuse}, {"bpf", nil, refuse}, {"keyctl", nil, refuse}, {"mount", nil, refuse}, {"unshare", nil, refuse},
		{"setns", nil, refuse}, {"perf_event_open", nil, refuse}, {"bind", nil, refuse}, {"listen", nil, refuse},
		{"linkat", nil, refuse}, {"symlinkat", nil, refuse}, {"mknodat", nil, refuse}, {"listxattr", nil, nosupp},
	} {
		if got := decide(t, vm, uint32(info.ID), uint32(info.SyscallNames[c.name]), c.args...); got != c.want {
			t.Errorf("%s%v: %#x, want %#x", c.name, c.args, got, c.want)
		}
	}
	// The other tables: 32-bit calls, and x32 numbers on amd64.
	if got := decide(t, vm, uint32(arch.I386.ID), uint32(info.SyscallNames["read"])); got != refuse {
		t.Errorf("a call of another architecture: %#x", got)
	}
	if info == arch.X86_64 {
		if got := decide(t, vm, uint32(info.ID), 0x40000000|uint32(info.SyscallNames["read"])); got != nosys {
			t.Errorf("an x32 call: %#x", got)
		}
	}
	// Nothing that has no name here may pass.
	named := map[int]bool{}
	for _, g := range syscallGroups {
		for _, n := range g.names {
			named[info.SyscallNames[n]] = true
		}
	}
	for nr := range 1000 {
		if got := decide(t, vm, uint32(info.ID), uint32(nr)); !named[nr] && got != refuse {
			t.Errorf("system call %d (%s), not on the list: %#x", nr, info.SyscallNumbers[nr], got)
		}
	}
}

// Proves: SB-3
func TestEveryGroupHasAReasonAndNoNameTwice(t *testing.T) {
	seen := map[string]string{}
	for _, g := range syscallGroups {
		if g.why == "" || len(g.names) == 0 {
			t.Errorf("group %+v", g)
		}
		for _, n := range g.names {
			if other, ok := seen[n]; ok {
				t.Errorf("%s is in %q and in %q", n, other, g.why)
			}
			seen[n] = g.why
		}
	}
	for _, info := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		if _, err := assemble(info, syscallGroups, retRefuse); err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
	}
	if _, err := assemble(&arch.Info{Name: "none"}, syscallGroups, retRefuse); err == nil {
		t.Error("an architecture without system calls has a policy")
	}
}

// Whatever the arguments of a call with conditions are, it passes only by its own conditions, never because an argument has
// the number of another call.
//
// Proves: SB-3, SB-L1
func TestConditionsNeverConfuseArgumentsWithNumbers(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	for name, groups := range map[string][]syscallGroup{"executed": syscallGroups, "program": programGroups, "loading": loadingGroups, "storing": storingGroups, "job": jobGroups} {
		insts, err := assemble(info, groups, retRefuse)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if len(g.when) == 0 {
				continue
			}
			for _, call := range g.names {
				for v := range uint64(512) {
					args := []uint64{v, v, v, v, v}
					want := refuse
					for _, list := range g.when {
						holds := true
						for _, c := range list {
							switch c.Operation {
							case seccomp.Equal:
								holds = holds && v == c.Value
							case seccomp.BitsSet:
								holds = holds && v&c.Value != 0
							case seccomp.BitsNotSet:
								holds = holds && v&c.Value == 0
							}
						}
						if holds {
							want = allow
						}
					}
					if got := decide(t, vm, uint32(info.ID), uint32(info.SyscallNames[call]), args...); got != want {
						t.Errorf("%s: %s with %d as arguments: %#x, want %#x", name, call, v, got, want)
					}
				}
			}
		}
	}
	twice := []syscallGroup{{why: "a", names: []string{"read"}}, {why: "b", names: []string{"read"}}}
	if _, err := assemble(info, twice, retRefuse); err == nil {
		t.Error("a name in two groups is accepted")
	}
	odd := []syscallGroup{{why: "a", names: []string{"read"}, when: []seccomp.ArgumentConditions{{arg(0, seccomp.GreaterThan, 1)}}}}
	if _, err := assemble(info, odd, retRefuse); err == nil {
		t.Error("an unknown condition is accepted")
	}
}

// Where somebody listens, the filters hand on what is counted and decide everything else as they do where nobody does. What is counted comes last,
// so that no allowed call takes longer for it.
//
// Proves: SB-3, SB-7, SB-L1
func TestCountedCallsAreHandedOn(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]bool{}
	for _, g := range syscalls.Counted() {
		for _, n := range g.Names {
			counted[n] = true
		}
	}
	for name, groups := range map[string][]syscallGroup{"executed": syscallGroups, "program": programGroups, "loading": loadingGroups} {
		var machines [2]*bpf.VM
		for i, count := range []uint32{retRefuse, retCount} {
			insts, err := assemble(info, groups, count)
			if err != nil {
				t.Fatal(err)
			}
			if machines[i], err = bpf.NewVM(insts); err != nil {
				t.Fatal(err)
			}
		}
		both := func(nr int, args ...uint64) (alone, heard uint32) {
			return decide(t, machines[0], uint32(info.ID), uint32(nr), args...), decide(t, machines[1], uint32(info.ID), uint32(nr), args...)
		}
		n := 0
		for nr := range 1000 {
			call := info.SyscallNumbers[nr]
			for _, args := range [][]uint64{nil, {unix.AF_INET}, {uint64(unix.SIGCHLD)}, {unix.AF_UNIX}, {unix.CLONE_THREAD}, {execFD, 0, 0, 0, unix.AT_EMPTY_PATH}} {
				alone, heard := both(nr, args...)
				if heard != alone && (alone != refuse || heard != retCount) {
					t.Errorf("%s: %s%v: %#x where nobody listens, %#x where somebody does", name, call, args, alone, heard)
				}
				if heard == retCount {
					n++
				}
				if want := counted[call] && alone == refuse; want && heard != retCount {
					t.Errorf("%s: %s%v is not handed on: %#x", name, call, args, heard)
				}
			}
		}
		if n < 6*50 {
			t.Errorf("%s: %d calls are handed on", name, n)
		}
	}
	for _, c := range []struct {
		call  string
		arg   uint64
		heard bool
	}{{"socket", unix.AF_INET, true}, {"socket", unix.AF_UNIX, false}, {"socketpair", unix.AF_TIPC, true}, {"clone", uint64(unix.SIGCHLD), true},
		{"clone", cloneVM | unix.CLONE_THREAD, false}, {"clone3", 0, false}, {"memfd_create", 0, false}, {"prctl", unix.PR_SET_DUMPABLE, false},
		{"execveat", 3, true}, {"execveat", execFD, true}, {"read", 0, false}, {"seccomp", 0, false}} {
		insts, err := assemble(info, syscallGroups, retCount)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(insts)
		if err != nil {
			t.Fatal(err)
		}
		if got := decide(t, vm, uint32(info.ID), uint32(info.SyscallNames[c.call]), c.arg); (got == retCount) != c.heard {
			t.Errorf("%s(%d): %#x", c.call, c.arg, got)
		}
	}
	last := false
	for _, g := range syscallGroups {
		if only := g.counted && len(g.when) == 0; last && !only {
			t.Errorf("group %q comes after what is counted", g.why)
		} else {
			last = only
		}
	}
}
