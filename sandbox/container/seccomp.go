package container

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This file is the reviewed list of what a containerised strategy may ask of the kernel. Everything else is refused with
// EPERM, among it: fork, vfork, ptrace, process_vm_readv, memfd_create, io_uring_*, userfaultfd, bpf, keyctl, mount,
// unshare, setns, perf_event_open, kexec, module loading, every socket family but AF_UNIX (AF_VSOCK reaches the
// hypervisor even from an empty network namespace), bind, listen, accept, links, mknod, mlock, setpriority, scheduler
// changes. containerd's own default profile still allows ptrace, process_vm_readv, memfd_create, AF_NETLINK and fork.
//
// It is the list of the process sandbox in the form that runc takes, with two differences. runc loads the filter before it
// waits for the start, so the runtime of runc's own init has to live with it (it does, with the same list). And the one
// exec that makes runc's init the strategy cannot be told from later ones by its arguments: it is announced to the
// supervisor (see latch.go), which lets exactly one pass. To add a name, give a program that needs it and say what it
// could do with it.

// syscallGroup is one reason with its names.
type syscallGroup struct {
	why    string
	names  []string
	arch   specs.Arch                // only on this architecture; "" = all
	when   [][]specs.LinuxSeccompArg // allowed if any of these holds; nil = always
	errno  unix.Errno                // refuse with this errno instead of allowing
	notify bool                      // ask the supervisor's latch
}

const (
	amd64 = specs.ArchX86_64
	arm64 = specs.ArchAARCH64
)

// ioctl numbers that x/sys does not name; the same on amd64 and arm64.
const (
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
)

// exitStatusHigh is the bit that an exit status shares with containerd's form of a signal (128 + n). An exit with it set
// is announced, so that `exit(137)` and SIGKILL can be told apart without guessing.
const exitStatusHigh = 0x80

// anyOf allows the values of one argument.
func anyOf(n uint, values ...uint64) [][]specs.LinuxSeccompArg {
	var out [][]specs.LinuxSeccompArg
	for _, v := range values {
		out = append(out, []specs.LinuxSeccompArg{{Index: n, Value: v, Op: specs.OpEqualTo}})
	}
	return out
}

// masked compares the bits of a mask in one argument.
func masked(n uint, mask, value uint64) [][]specs.LinuxSeccompArg {
	return [][]specs.LinuxSeccompArg{{{Index: n, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}}}
}

var syscallGroups = []syscallGroup{
	{why: "read files and folders: what can be reached is decided by the mounts", names: []string{
		"openat", "close", "close_range", "read", "readv", "pread64", "preadv", "preadv2", "lseek", "fstat", "newfstatat", "statx",
		"faccessat", "faccessat2", "readlinkat", "getdents64", "fadvise64", "readahead", "statfs", "fstatfs", "getcwd", "chdir", "fchdir",
		"fcntl", "dup", "dup3", "flock", "sendfile", "copy_file_range"}},
	{why: "the same by their old names", arch: amd64, names: []string{
		"open", "stat", "lstat", "access", "readlink", "getdents", "dup2"}},
	{why: "write: only /tmp (and a job's output folder) is writable; FSIZE and the tmpfs bound it", names: []string{
		"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "mkdirat",
		"unlinkat", "renameat", "renameat2", "fchmod", "fchmodat", "utimensat", "umask"}},
	{why: "the same by their old names", arch: amd64, names: []string{"mkdir", "rmdir", "unlink", "rename", "chmod", "creat", "utimes"}},
	{why: "memory: bounded by the control group; executable pages are needed by JIT compilers and by every loader", names: []string{
		"mmap", "munmap", "mprotect", "mremap", "brk", "madvise", "mincore", "msync", "membarrier"}},
	{why: "threads and their locks; new threads are counted by the pids control group", names: []string{
		"futex", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "gettid", "sched_yield", "sched_getaffinity",
		"sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getpriority", "get_mempolicy"}},
	{why: "threads only: without CLONE_THREAD it would be a new process", names: []string{"clone"},
		when: masked(0, unix.CLONE_THREAD, unix.CLONE_THREAD)},
	{why: "the end of a thread or of the program, with a status that cannot be taken for a signal", names: []string{"exit", "exit_group"},
		when: masked(0, exitStatusHigh, 0)},
	{why: "the same with another status: announced, then let pass", names: []string{"exit", "exit_group"},
		when: masked(0, exitStatusHigh, exitStatusHigh), notify: true},
	{why: "runc's init becomes the strategy: announced, and passed exactly once", names: []string{"execve"}, notify: true},
	{why: "thread-local storage", arch: amd64, names: []string{"arch_prctl"}},
	{why: "signals: the pid namespace holds nobody else", names: []string{
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "kill",
		"tkill", "tgkill", "restart_syscall", "wait4", "waitid"}},
	{why: "the same by their old names", arch: amd64, names: []string{"pause", "alarm"}},
	{why: "clocks and sleeping", names: []string{
		"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getitimer", "setitimer", "timerfd_create",
		"timerfd_settime", "timerfd_gettime", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete"}},
	{why: "the same by its old name", arch: amd64, names: []string{"time"}},
	{why: "waiting for descriptors", names: []string{
		"ppoll", "pselect6", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe2"}},
	{why: "the same by their old names", arch: amd64, names: []string{
		"poll", "select", "epoll_create", "epoll_wait", "eventfd", "pipe"}},
	{why: "the supervisor's socket is AF_UNIX; a pair of them wakes event loops", names: []string{"socket", "socketpair"},
		when: anyOf(0, unix.AF_UNIX)},
	{why: "use of a connected socket; nothing else than the supervisor listens in this network namespace", names: []string{
		"connect", "sendto", "recvfrom", "sendmsg", "recvmsg", "recvmmsg", "sendmmsg", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername"}},
	{why: "questions about itself", names: []string{
		"getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgid", "getsid",
		"capget", "getrusage", "times", "uname", "sysinfo", "getrandom", "prlimit64", "getrlimit"}},
	{why: "the same by its old name", arch: amd64, names: []string{"getpgrp"}},
	{why: "names of threads and mappings, and questions; not PDEATHSIG, DUMPABLE, SECCOMP or the like", names: []string{"prctl"},
		when: anyOf(0, unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_GET_DUMPABLE, unix.PR_SET_VMA, unix.PR_CAPBSET_READ,
			unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP, unix.PR_GET_PDEATHSIG, unix.PR_SET_TIMERSLACK)},
	{why: "what a language's file objects ask (is it a terminal, how much is there) and close-on-exec", names: []string{"ioctl"},
		when: anyOf(1, unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ, fionbio, fioclex, fionclex)},
	{why: "probed by newer C libraries and runtimes, which fall back on ENOSYS but not on EPERM", errno: unix.ENOSYS, names: []string{
		"clone3", "openat2", "fchmodat2", "futex_waitv", "cachestat", "map_shadow_stack", "pidfd_open", "set_mempolicy_home_node", "mseal"}},
	{why: "extended attributes do not exist: shutil.copystat takes ENOTSUP for an answer and EPERM for a failure", errno: unix.ENOTSUP, names: []string{
		"getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "setxattr", "lsetxattr", "fsetxattr"}},
}

// seccompArch is this machine's architecture in the specification's words; "" where msup has no list.
func seccompArch() specs.Arch {
	return map[string]specs.Arch{"amd64": amd64, "arm64": arm64}[runtime.GOARCH]
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

// allowedCount is the number of system calls that are allowed on an architecture, under a condition or not.
func allowedCount(arch specs.Arch) int {
	names := map[string]bool{}
	for _, g := range syscallGroups {
		if g.errno == 0 && (g.arch == "" || g.arch == arch) {
			for _, n := range g.names {
				names[n] = true
			}
		}
	}
	return len(names)
}
