package process

import (
	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// This file is the reviewed list of what a runner may ask of the kernel. Everything else is refused with EPERM, among
// it: fork, vfork, execve, ptrace, process_vm_readv, memfd_create, io_uring_*, userfaultfd, bpf, keyctl, mount, unshare,
// setns, perf_event_open, kexec, module loading, every socket family but AF_UNIX (AF_VSOCK reaches the hypervisor even
// from an empty network namespace), bind, listen, accept, links, mknod, chown, mlock, setpriority, scheduler changes.
// To add a name, give a program that needs it and say what it could do with it.

// syscallGroup is one reason with its names.
type syscallGroup struct {
	why   string
	names []string
	arch  string                       // only on this architecture (library's name); "" = all
	when  []seccomp.ArgumentConditions // allowed if any of these holds; nil = always
	errno unix.Errno                   // refuse with this errno instead of allowing
}

// Names of architectures in the library's tables.
const (
	amd64 = "x86_64"
	arm64 = "aarch64"
)

// ioctl numbers that x/sys does not name; the same on amd64 and arm64.
const (
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
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

var syscallGroups = []syscallGroup{
	{why: "read files and folders: what can be reached is decided by mounts and Landlock", names: []string{
		"openat", "close", "close_range", "read", "readv", "pread64", "preadv", "preadv2", "lseek", "fstat", "statx",
		"faccessat", "faccessat2", "readlinkat", "getdents64", "fadvise64", "readahead", "statfs", "fstatfs", "getcwd", "chdir", "fchdir",
		"fcntl", "dup", "dup3", "flock", "sendfile", "copy_file_range"}},
	{why: "the same by their old names", arch: amd64, names: []string{
		"newfstatat", "open", "stat", "lstat", "access", "readlink", "getdents", "dup2"}},
	{why: "number 79, newfstatat, which the library's table calls otherwise here", arch: arm64, names: []string{"fstatat"}},
	{why: "write: only /tmp (and a job's output folder) is writable; FSIZE and the tmpfs bound it", names: []string{
		"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "mkdirat",
		"unlinkat", "renameat", "renameat2", "fchmod", "fchmodat", "utimensat", "umask"}},
	{why: "the same by their old names", arch: amd64, names: []string{"mkdir", "rmdir", "unlink", "rename", "chmod", "creat", "utimes"}},
	{why: "memory: bounded by the control group; executable pages are needed by JIT compilers and by every loader", names: []string{
		"mmap", "munmap", "mprotect", "mremap", "brk", "madvise", "mincore", "msync", "membarrier"}},
	{why: "threads and their locks; new threads are counted by the pids control group", names: []string{
		"futex", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "gettid", "exit", "sched_yield", "sched_getaffinity",
		"sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getpriority", "get_mempolicy"}},
	{why: "threads only: without CLONE_THREAD it would be a new process", names: []string{"clone"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.BitsSet, unix.CLONE_THREAD)}}},
	{why: "thread-local storage", arch: amd64, names: []string{"arch_prctl"}},
	{why: "signals: the pid namespace holds nobody else, Landlock's scope is the second wall", names: []string{
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "kill",
		"tkill", "tgkill", "restart_syscall", "wait4", "waitid", "exit_group"}},
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
	{why: "stage two becomes the program: the descriptor's number cannot come back once OPEN_FILES is in force", names: []string{"execveat"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.Equal, execFD), arg(4, seccomp.Equal, unix.AT_EMPTY_PATH)}}},
	{why: "probed by newer C libraries and runtimes, which fall back on ENOSYS but not on EPERM", errno: unix.ENOSYS, names: []string{
		"clone3", "openat2", "fchmodat2", "futex_waitv", "cachestat", "map_shadow_stack", "pidfd_open", "set_mempolicy_home_node", "mseal"}},
	{why: "extended attributes do not exist: shutil.copystat takes ENOTSUP for an answer and EPERM for a failure", errno: unix.ENOTSUP, names: []string{
		"getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "setxattr", "lsetxattr", "fsetxattr"}},
}
