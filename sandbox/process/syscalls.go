package process

import (
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/msup/msup/sandbox/syscalls"
	"golang.org/x/sys/unix"
)

// What a runner that is an executed program may ask of the kernel is the list of package syscalls, with how it comes to be and how it ends.

// syscallGroup is one reason with its names.
type syscallGroup struct {
	why   string
	names []string
	arch  string                       // only on this architecture (library's name); "" = all
	when  []seccomp.ArgumentConditions // allowed if any of these holds; nil = always
	errno unix.Errno                   // refuse with this errno instead of allowing
	// counted says that each call is a violation: every one where there are no conditions, else those that none allows. It is refused.
	counted bool
}

// Names of architectures in the library's tables.
const (
	amd64 = "x86_64"
	arm64 = "aarch64"
)

func arg(n uint32, op seccomp.Operation, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: n, Operation: op, Value: value}
}

// anyOf allows the values of one argument.
func anyOf(n uint32, values ...uint64) []seccomp.ArgumentConditions {
	var out []seccomp.ArgumentConditions
	for _, v := range values {
		out = append(out, seccomp.ArgumentConditions{arg(n, seccomp.Equal, v)})
	}
	return out
}

var syscallGroups = withCounted(append([]syscallGroup{
	{why: "files by name", arch: amd64, names: []string{"newfstatat"}},
	{why: "number 79, newfstatat, which the library's table calls otherwise here", arch: arm64, names: []string{"fstatat"}},
	{why: "the end of a thread or of the program", names: []string{"exit", "exit_group"}},
	{why: "stage two becomes the program: the descriptor's number cannot come back once OPEN_FILES is in force", names: []string{"execveat"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.Equal, execFD), arg(4, seccomp.Equal, unix.AT_EMPTY_PATH)}}, counted: true},
}, listed(syscalls.Strategy())...))

// withCounted adds what is refused and counted behind a list: what the list itself decides is not repeated, and stays as fast as it was.
func withCounted(groups []syscallGroup) []syscallGroup {
	var own []string
	for _, g := range groups {
		own = append(own, g.names...)
	}
	return append(groups, without(listed(syscalls.Counted()), own, func(g *syscallGroup) { g.counted = true })...)
}

// without takes names out of a list, and changes what is left of each group.
func without(groups []syscallGroup, names []string, change func(*syscallGroup)) []syscallGroup {
	var out []syscallGroup
	for _, g := range groups {
		g.names = slices.DeleteFunc(slices.Clone(g.names), func(name string) bool { return slices.Contains(names, name) })
		if len(g.names) > 0 {
			change(&g)
			out = append(out, g)
		}
	}
	return out
}

// listed is the common list in this package's form.
func listed(groups []syscalls.Group) []syscallGroup {
	arches := map[string]string{"": "", "amd64": amd64, "arm64": arm64}
	var out []syscallGroup
	for _, g := range groups {
		one := syscallGroup{why: g.Why, names: g.Names, arch: arches[g.Arch], errno: g.Errno, counted: g.Counted}
		for _, a := range g.AnyOf {
			condition := arg(a.Index, seccomp.Equal, a.Value)
			if a.Mask != 0 { // one bit, which is set
				condition = arg(a.Index, seccomp.BitsSet, a.Mask)
			}
			one.when = append(one.when, seccomp.ArgumentConditions{condition})
		}
		out = append(out, one)
	}
	return out
}
