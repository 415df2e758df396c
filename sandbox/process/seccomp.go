package process

import (
	"fmt"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// The filter is assembled by go-seccomp-bpf. It takes an errno other than EPERM or'ed into the action of a group, and
// conditions on arguments as lists that must all hold (several entries of one name: any of them); both were checked
// against its assembler, and TestFilterDecides runs the result. It compares all 64 bits of an argument, of which the
// kernel often uses 32: for a list of allowed values that is only stricter.

func errnoAction(e unix.Errno) seccomp.Action { return seccomp.ActionErrno | seccomp.Action(e) }

// policy turns the reviewed list into the library's form for one architecture. A name that this architecture does not
// have is an error unless its group is marked for another one, so that a typing error cannot pass.
func policy(info *arch.Info) (seccomp.Policy, error) {
	p := seccomp.Policy{DefaultAction: seccomp.ActionErrno}
	for _, g := range syscallGroups {
		if g.arch != "" && g.arch != info.Name {
			continue
		}
		group := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
		if g.errno != 0 {
			group.Action = errnoAction(g.errno)
		}
		for _, name := range g.names {
			if _, ok := info.SyscallNames[name]; !ok {
				if g.errno != 0 {
					continue // newer than the library's table: the default refuses it anyway
				}
				return p, fmt.Errorf("system call %s in group %q: unknown on %s", name, g.why, info.Name)
			}
			if len(g.when) == 0 {
				group.Names = append(group.Names, name)
				continue
			}
			for _, conditions := range g.when {
				group.NamesWithCondtions = append(group.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions})
			}
		}
		p.Syscalls = append(p.Syscalls, group)
	}
	return p, nil
}

// loadSeccomp installs the filter on every thread. no_new_privs is already set.
func loadSeccomp() error {
	info, err := arch.GetInfo(runtime.GOARCH)
	if err != nil {
		return fmt.Errorf("architecture %s: %w", runtime.GOARCH, err)
	}
	p, err := policy(info)
	if err != nil {
		return err
	}
	return seccomp.LoadFilter(seccomp.Filter{Flag: seccomp.FilterFlagTSync, Policy: p})
}
