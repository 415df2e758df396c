package syscalls

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Group is one reason with its names (SB-3).
type Group struct {
	Why   string
	Names []string
	Arch  string     // only on this architecture, as Go names it; "" = all
	AnyOf []Arg      // allowed if any of these holds; none = always
	Errno unix.Errno // refuse with this errno instead of allowing
	// Counted says that no honest program asks for what AnyOf, here one condition, does not allow: each such call is a violation.
	Counted bool
}

// Arg is a condition on one argument: it is Value, or its bit Mask is Value where Mask is not zero.
type Arg struct {
	Index       uint32
	Mask, Value uint64
}

const amd64 = "amd64"

// ioctl numbers that x/sys does not name; the same on amd64 and arm64.
const (
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
)

// values allows some values of one argument.
func values(n uint32, all ...uint64) []Arg {
	var out []Arg
	for _, v := range all {
		out = append(out, Arg{Index: n, Value: v})
	}
	return out
}

// Strategy is the list, in the order in which it is read.
func Strategy() []Group { return slices.Clone(strategy) }

var strategy = []Group{
	{Why: "read files and folders: what can be reached is decided by the mounts, and by Landlock where it stands", Names: []string{
		"openat", "close", "close_range", "read", "readv", "pread64", "preadv", "preadv2", "lseek", "fstat", "statx",
		"faccessat", "faccessat2", "readlinkat", "getdents64", "fadvise64", "readahead", "statfs", "fstatfs", "getcwd", "chdir", "fchdir",
		"fcntl", "dup", "dup3", "flock", "sendfile", "copy_file_range"}},
	{Why: "the same by their old names", Arch: amd64, Names: []string{
		"open", "stat", "lstat", "access", "readlink", "getdents", "dup2"}},
	{Why: "write: only /tmp (and a job's output folder) is writable; FSIZE and the tmpfs bound it", Names: []string{
		"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "mkdirat",
		"unlinkat", "renameat", "renameat2", "fchmod", "fchmodat", "utimensat", "umask"}},
	{Why: "the same by their old names", Arch: amd64, Names: []string{"mkdir", "rmdir", "unlink", "rename", "chmod", "creat", "utimes"}},
	{Why: "memory: bounded by the control group; executable pages are needed by JIT compilers and by every loader", Names: []string{
		"mmap", "munmap", "mprotect", "mremap", "brk", "madvise", "mincore", "msync", "membarrier"}},
	{Why: "threads and their locks; new threads are counted by the pids control group", Names: []string{
		"futex", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "gettid", "sched_yield", "sched_getaffinity",
		"sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getpriority", "get_mempolicy"}},
	{Why: "threads only: without CLONE_THREAD it would be a new process", Names: []string{"clone"},
		AnyOf: []Arg{{Index: 0, Mask: unix.CLONE_THREAD, Value: unix.CLONE_THREAD}}, Counted: true},
	{Why: "thread-local storage", Arch: amd64, Names: []string{"arch_prctl"}},
	{Why: "signals: the pid namespace holds nobody else, Landlock's scope is a second wall", Names: []string{
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "kill",
		"tkill", "tgkill", "restart_syscall", "wait4", "waitid"}},
	{Why: "the same by their old names", Arch: amd64, Names: []string{"pause", "alarm"}},
	{Why: "clocks and sleeping", Names: []string{
		"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getitimer", "setitimer", "timerfd_create",
		"timerfd_settime", "timerfd_gettime", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete"}},
	{Why: "the same by its old name", Arch: amd64, Names: []string{"time"}},
	{Why: "waiting for descriptors", Names: []string{
		"ppoll", "pselect6", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe2"}},
	{Why: "the same by their old names", Arch: amd64, Names: []string{
		"poll", "select", "epoll_create", "epoll_wait", "eventfd", "pipe"}},
	{Why: "the supervisor's socket is AF_UNIX; a pair of them wakes event loops", Names: []string{"socket", "socketpair"},
		AnyOf: values(0, unix.AF_UNIX), Counted: true},
	{Why: "use of a connected socket; nothing else than the supervisor listens in this network namespace", Names: []string{
		"connect", "sendto", "recvfrom", "sendmsg", "recvmsg", "recvmmsg", "sendmmsg", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername"}},
	{Why: "questions about itself", Names: []string{
		"getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgid", "getsid",
		"capget", "getrusage", "times", "uname", "sysinfo", "getrandom", "prlimit64", "getrlimit"}},
	{Why: "the same by its old name", Arch: amd64, Names: []string{"getpgrp"}},
	{Why: "names of threads and mappings, and questions; not PDEATHSIG, DUMPABLE, SECCOMP or the like", Names: []string{"prctl"},
		AnyOf: values(0, unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_GET_DUMPABLE, unix.PR_SET_VMA, unix.PR_CAPBSET_READ,
			unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP, unix.PR_GET_PDEATHSIG, unix.PR_SET_TIMERSLACK)},
	{Why: "what a language's file objects ask (is it a terminal, how much is there) and close-on-exec", Names: []string{"ioctl"},
		AnyOf: values(1, unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ, fionbio, fioclex, fionclex)},
	{Why: "probed by newer C libraries and runtimes, which fall back on ENOSYS but not on EPERM", Errno: unix.ENOSYS, Names: []string{
		"clone3", "openat2", "fchmodat2", "futex_waitv", "cachestat", "map_shadow_stack", "pidfd_open", "set_mempolicy_home_node", "mseal"}},
	{Why: "extended attributes do not exist: shutil.copystat takes ENOTSUP for an answer and EPERM for a failure", Errno: unix.ENOTSUP, Names: []string{
		"getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "setxattr", "lsetxattr", "fsetxattr"}},
}
