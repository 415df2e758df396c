package process

import (
	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// This file is the reviewed list for built-in programs, which are Go code of this binary. It comes in two steps: while a
// program loads it may open what is bound and make executable pages; once strategy code runs, programGroups is all there
// is. Then no file can be opened, no socket made or connected, nothing executed, and no page can become executable.

// withoutExec allows a mapping unless it can be executed; the third argument is the protection.
var withoutExec = []seccomp.ArgumentConditions{{arg(2, seccomp.BitsNotSet, unix.PROT_EXEC)}}

// programGroups is what Go's runtime and a loop of read, compute, write need.
var programGroups = withCounted([]syscallGroup{
	{why: "use of what is open: the supervisor's socket, the output pipes", names: []string{
		"read", "readv", "write", "writev", "close", "recvfrom", "sendto", "recvmsg", "sendmsg", "fsync", "getsockopt", "shutdown"}},
	{why: "memory that cannot be executed: bounded by the control group", names: []string{"mmap", "mprotect"}, when: withoutExec},
	{why: "memory", names: []string{"munmap", "mremap", "brk", "madvise", "mincore"}},
	{why: "threads of Go's runtime and their locks", names: []string{
		"futex", "set_robust_list", "rseq", "gettid", "getpid", "exit", "sched_yield", "sched_getaffinity", "membarrier"}},
	{why: "threads only: without CLONE_THREAD it would be a new process", names: []string{"clone"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.BitsSet, unix.CLONE_THREAD)}}, counted: true},
	{why: "signals, by which Go preempts its own goroutines; the pid namespace holds nobody else", names: []string{
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "restart_syscall", "exit_group"}},
	{why: "clocks and sleeping of Go's scheduler", names: []string{"clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday"}},
	{why: "waiting for descriptors", names: []string{"ppoll", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "pipe2"}},
	{why: "the same by its old name", arch: amd64, names: []string{"poll", "epoll_wait"}},
	{why: "seeds of Go's maps", names: []string{"getrandom"}},
	{why: "names of threads and mappings", names: []string{"prctl"}, when: anyOf(0, unix.PR_SET_NAME, unix.PR_SET_VMA)},
	{why: "its own ceiling of open files, which stage two lowers once it has handed over the descriptor of refused calls", names: []string{"prlimit64"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.Equal, 0), arg(1, seccomp.Equal, unix.RLIMIT_NOFILE)}}},
	{why: "close-on-exec and non-blocking flags of what is open", names: []string{"fcntl"}},
	{why: "probed by newer C libraries, which fall back on ENOSYS but not on EPERM", errno: unix.ENOSYS, names: []string{"clone3"}},
})

// loadingGroups is what a program may do until strategy code runs.
var loadingGroups = widen(programGroups, []syscallGroup{
	{why: "open and read what is bound; what can be reached is decided by mounts and Landlock", names: []string{
		"openat", "fstat", "statx", "pread64", "lseek", "getdents64", "readlinkat", "faccessat", "getcwd", "fstatfs"}},
	{why: "the same by their old names", arch: amd64, names: []string{"newfstatat", "stat", "lstat"}},
	{why: "number 79, newfstatat, which the library's table calls otherwise here", arch: arm64, names: []string{"fstatat"}},
	{why: "the supervisor's socket is AF_UNIX", names: []string{"socket"}, when: anyOf(0, unix.AF_UNIX), counted: true},
	{why: "connect to it; nothing else than the supervisor listens in this network namespace", names: []string{
		"connect", "setsockopt", "getsockname", "getpeername"}},
	{why: "memory, and pages of compiled strategy code", names: []string{"mmap", "mprotect"}},
	{why: "questions about itself", names: []string{"prlimit64", "uname", "getuid", "geteuid", "getgid", "getegid", "getrusage"}},
	{why: "the second filter, which can only take away", names: []string{"seccomp"}},
})

// storingGroups is for one-shot jobs with an output folder; mounts and Landlock confine them to it.
var storingGroups = widen(loadingGroups, []syscallGroup{
	{why: "make files in the output folder, which the supervisor measures", names: []string{
		"mkdirat", "renameat", "renameat2", "unlinkat", "ftruncate", "pwrite64", "fdatasync", "fchmod", "copy_file_range", "sendfile"}},
})

// widen adds groups to a list. A name that is in both is taken from more.
func widen(base, more []syscallGroup) []syscallGroup {
	var again []string
	for _, g := range more {
		again = append(again, g.names...)
	}
	return append(without(base, again, func(*syscallGroup) {}), more...)
}
