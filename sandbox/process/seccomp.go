package process

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The numbers of system calls come from go-seccomp-bpf; the program is put together here. The library's own assembler
// (1.6.0) goes on, when the condition on an argument fails, by comparing the numbers of the remaining system calls with
// that *argument*: socket(AF_XDP) passed a list that allows AF_UNIX only, because 44 is also the number of sendto. Here a
// name with conditions decides at once: one of them holds, or the call is refused.

// The places in struct seccomp_data.
const (
	nrOffset   = 0
	archOffset = 4
	argsOffset = 16
	wordBytes  = 4
)

const (
	retAllow  = uint32(unix.SECCOMP_RET_ALLOW)
	retRefuse = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	// retCount lets the supervisor refuse, which counts (package refusal). Where nobody listens the kernel's answer is ENOSYS.
	retCount = uint32(unix.SECCOMP_RET_USER_NOTIF)
)

func retErrno(e unix.Errno) uint32 { return uint32(unix.SECCOMP_RET_ERRNO) | uint32(e) }

func load(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: wordBytes} }

// assemble turns a reviewed list into a filter for one architecture. A name that this architecture does not have is an error
// unless its group is marked for another one, so that a typing error cannot pass; so is a name that comes twice. What is marked as counted is
// answered with count, which is retCount, or retRefuse where nobody is to hear of it.
func assemble(info *arch.Info, groups []syscallGroup, count uint32) ([]bpf.Instruction, error) {
	program := []bpf.Instruction{
		load(archOffset), bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1}, bpf.RetConstant{Val: retRefuse},
		load(nrOffset),
	}
	if info == arch.X86_64 { // the numbers of its second table, x32, have this bit
		program = append(program, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(arch.X32.SeccompMask), SkipFalse: 1}, bpf.RetConstant{Val: retErrno(unix.ENOSYS)})
	}
	seen := map[string]bool{}
	for _, g := range groups {
		if g.arch != "" && g.arch != info.Name {
			continue
		}
		ret, otherwise := retAllow, retRefuse
		switch {
		case g.errno != 0:
			ret = retErrno(g.errno)
		case g.counted && len(g.when) == 0:
			ret = count
		case g.counted:
			otherwise = count
		}
		decide, err := decision(g.when, ret, otherwise)
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", g.why, err)
		}
		for _, name := range g.names {
			nr, ok := info.SyscallNames[name]
			switch {
			case !ok && g.errno != 0:
				continue // newer than the library's table: the default refuses it anyway
			case !ok:
				return nil, fmt.Errorf("system call %s in group %q: unknown on %s", name, g.why, info.Name)
			case seen[name]:
				return nil, fmt.Errorf("system call %s in group %q: it is in another group, too", name, g.why)
			}
			seen[name] = true
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(nr), SkipTrue: uint8(len(decide))})
			program = append(program, decide...)
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("the list for %s is empty", info.Name)
	}
	return append(program, bpf.RetConstant{Val: retRefuse}), nil
}

// decision is what follows once the number has matched. It always returns: ret when there are no conditions or when all of
// one list hold, else the other, a refusal.
func decision(any []seccomp.ArgumentConditions, ret, otherwise uint32) ([]bpf.Instruction, error) {
	if len(any) == 0 {
		return []bpf.Instruction{bpf.RetConstant{Val: ret}}, nil
	}
	var out []bpf.Instruction
	for _, all := range any {
		var list []bpf.Instruction
		var fails []int // the jumps to behind this list
		test := func(offset uint32, fail bpf.JumpTest, value uint32) {
			fails = append(fails, len(list)+1)
			list = append(list, load(offset), bpf.JumpIf{Cond: fail, Val: value})
		}
		for _, c := range all {
			low, high := argsOffset+8*c.Argument, argsOffset+8*c.Argument+wordBytes // both architectures are little-endian
			lowValue, highValue := uint32(c.Value), uint32(c.Value>>32)
			switch {
			case c.Operation == seccomp.Equal:
				test(high, bpf.JumpNotEqual, highValue)
				test(low, bpf.JumpNotEqual, lowValue)
			case c.Operation == seccomp.BitsNotSet:
				test(high, bpf.JumpBitsSet, highValue)
				test(low, bpf.JumpBitsSet, lowValue)
			case c.Operation == seccomp.BitsSet && highValue == 0:
				test(low, bpf.JumpBitsNotSet, lowValue)
			default:
				return nil, fmt.Errorf("condition %+v is not implemented", c)
			}
		}
		list = append(list, bpf.RetConstant{Val: ret})
		for _, at := range fails {
			jump := list[at].(bpf.JumpIf) // put there by test
			jump.SkipTrue = uint8(len(list) - at - 1)
			list[at] = jump
		}
		out = append(out, list...)
	}
	if out = append(out, bpf.RetConstant{Val: otherwise}); len(out) > 255 {
		return nil, fmt.Errorf("%d conditions are too many for one jump", len(any))
	}
	return out, nil
}

// loadSeccomp installs a filter on every thread. no_new_privs is already set. A second filter can only take more away. flags are 0 or
// SECCOMP_FILTER_FLAG_NEW_LISTENER; with it the descriptor to listen at is returned.
func loadSeccomp(groups []syscallGroup, count uint32, flags uintptr) (listener int, err error) {
	info, err := arch.GetInfo(runtime.GOARCH)
	if err != nil {
		return -1, step("load the seccomp filter", "msup runs on amd64 and arm64", err)
	}
	program, err := assemble(info, groups, count)
	if err != nil {
		return -1, step("assemble the seccomp filter", "", err)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return -1, step("assemble the seccomp filter", "", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// TSYNC_ESRCH (Linux 5.7) says by an errno what TSYNC says by a thread's id, which cannot be told from a descriptor.
	flags |= unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno == unix.ESRCH:
		err = fmt.Errorf("a thread has a filter of its own: %w", errno)
	case errno != 0:
		err = errno
	}
	return int(fd), step("load the seccomp filter", "use a kernel with CONFIG_SECCOMP_FILTER", err)
}

// loadCounting installs a filter whose counted refusals somebody can listen to, at the descriptor that it returns. Where the kernel has none to
// give, because an outer filter has a listener already (a process has room for one), everything is refused by the filter alone: listener is
// -1 then, and uncounted says why.
func loadCounting(groups []syscallGroup) (listener int, uncounted string, err error) {
	if listener, err = loadSeccomp(groups, retCount, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err == nil {
		return listener, "", nil
	}
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINVAL) {
		return -1, "", err
	}
	_, alone := loadSeccomp(groups, retRefuse, 0)
	return -1, err.Error(), alone
}
