package container

import (
	"runtime"
	"slices"

	"github.com/msup/msup/sandbox/syscalls"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What a containerised strategy may ask of the kernel is the list of package syscalls in the form that runc takes, with two differences. runc
// loads the filter before it waits for the start, so the runtime of runc's own init has to live with it (it does, with the same list). And the
// one exec that makes runc's init the strategy cannot be told from later ones by its arguments: it is announced to the supervisor (see
// latch.go), which lets exactly one pass.

// syscallGroup is one reason with its names.
type syscallGroup struct {
	why    string
	names  []string
	arch   specs.Arch                // only on this architecture; "" = all
	when   [][]specs.LinuxSeccompArg // allowed if any of these holds; nil = always
	errno  unix.Errno                // refuse with this errno instead of allowing
	notify bool                      // ask the supervisor's latch, which refuses most of it
}

const (
	amd64 = specs.ArchX86_64
	arm64 = specs.ArchAARCH64
)

// exitStatusHigh is the bit that an exit status shares with containerd's form of a signal (128 + n). An exit with it set
// is announced, so that `exit(137)` and SIGKILL can be told apart without guessing.
const exitStatusHigh = 0x80

// masked compares the bits of a mask in one argument.
func masked(n uint, mask, value uint64) [][]specs.LinuxSeccompArg {
	return [][]specs.LinuxSeccompArg{{{Index: n, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}}}
}

var syscallGroups = append([]syscallGroup{
	{why: "files by name, which the two architectures' tables call alike here only", names: []string{"newfstatat"}},
	{why: "the end of a thread or of the program, with a status that cannot be taken for a signal", names: []string{"exit", "exit_group"},
		when: masked(0, exitStatusHigh, 0)},
	{why: "the same with another status: announced, then let pass", names: []string{"exit", "exit_group"},
		when: masked(0, exitStatusHigh, exitStatusHigh), notify: true},
	{why: "runc's init becomes the strategy: announced, and passed exactly once", names: []string{"execve"}, notify: true},
}, append(listed(syscalls.Strategy()), counted()...)...)

// counted is what is announced to be refused, because it counts as a violation. execve is announced anyway.
func counted() []syscallGroup {
	var out []syscallGroup
	for _, g := range listed(syscalls.Counted()) {
		g.names = slices.DeleteFunc(slices.Clone(g.names), func(name string) bool { return name == "execve" })
		g.notify = true
		out = append(out, g)
	}
	return out
}

// listed is the common list in this package's form.
func listed(groups []syscalls.Group) []syscallGroup {
	var out []syscallGroup
	for _, g := range groups {
		one := syscallGroup{why: g.Why, names: g.Names, errno: g.Errno}
		if g.Arch != "" {
			one.arch = arches[g.Arch]
		}
		for _, a := range g.AnyOf {
			if a.Mask != 0 {
				one.when = append(one.when, masked(uint(a.Index), a.Mask, a.Value)...)
			} else {
				one.when = append(one.when, []specs.LinuxSeccompArg{{Index: uint(a.Index), Value: a.Value, Op: specs.OpEqualTo}})
			}
		}
		out = append(out, one)
		if g.Counted {
			out = append(out, syscallGroup{why: g.Why + "; all else is announced, and refused", names: g.Names, arch: one.arch, when: opposite(g.AnyOf[0]), notify: true})
		}
	}
	return out
}

// opposite is where a condition does not hold.
func opposite(a syscalls.Arg) [][]specs.LinuxSeccompArg {
	if a.Mask != 0 { // one bit
		return masked(uint(a.Index), a.Mask, a.Value^a.Mask)
	}
	return [][]specs.LinuxSeccompArg{{{Index: uint(a.Index), Value: a.Value, Op: specs.OpNotEqual}}}
}

// arches are the architectures that msup has a list for, in the specification's words.
var arches = map[string]specs.Arch{"amd64": amd64, "arm64": arm64}

// seccompArch is this machine's architecture in the specification's words; "" where msup has no list.
func seccompArch() specs.Arch {
	return arches[runtime.GOARCH]
}

// seccompProfile turns the reviewed list into the runtime's form. listener is the socket to which runc hands the
// descriptor of the announcements.
func seccompProfile(arch specs.Arch, listener string) *specs.LinuxSeccomp {
	eperm := uint(unix.EPERM)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: []specs.Arch{arch}, ListenerPath: listener}
	if arch == amd64 {
		// The third table of an x86-64 kernel, off on most: under the same list, so that what is refused gets an errno. Without
		// it libseccomp kills the thread that tries, and leaves a program that hangs. 32-bit calls are still killed.
		p.Architectures = append(p.Architectures, specs.ArchX32)
	}
	for _, g := range syscallGroups {
		if g.arch != "" && g.arch != arch {
			continue
		}
		rule := specs.LinuxSyscall{Names: g.names, Action: specs.ActAllow}
		switch {
		case g.notify:
			rule.Action = specs.ActNotify
		case g.errno != 0:
			errno := uint(g.errno)
			rule.Action, rule.ErrnoRet = specs.ActErrno, &errno
		}
		if len(g.when) == 0 {
			p.Syscalls = append(p.Syscalls, rule)
			continue
		}
		// All conditions of one rule must hold, so each alternative is a rule of its own.
		for _, conditions := range g.when {
			rule.Args = conditions
			p.Syscalls = append(p.Syscalls, rule)
		}
	}
	return p
}

// allowedCount is the number of system calls that are allowed on an architecture, under a condition or not. The one exec is not among them.
func allowedCount(arch specs.Arch) int {
	names := map[string]bool{}
	for _, g := range syscallGroups {
		if g.errno == 0 && !g.notify && (g.arch == "" || g.arch == arch) {
			for _, n := range g.names {
				names[n] = true
			}
		}
	}
	return len(names)
}
