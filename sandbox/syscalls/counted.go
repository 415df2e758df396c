package syscalls

import "slices"

// counted are those of the refused calls that no honest program asks for: who tries one is told EPERM as for every other, and the attempt
// counts as a violation, whether the program says so or not (SB-7). Besides them count the calls of Strategy's groups that are marked Counted
// and that no condition of theirs allows.
//
// Left out, and only refused, is what libraries try and then do without: memfd_create (libffi), links, chown and extended attributes (shutil,
// lock files), mlock (cryptography), process_madvise (allocators), scheduling, affinity and memory policies (OpenMP, OpenBLAS), inotify, names of handles, personality and
// setfsuid (which also ask), System V's memory and queues, adjtimex, Landlock and seccomp (who makes their own walls higher), vmsplice and
// the like, what prctl and ioctl do not allow, and everything that the C library probes and is answered ENOSYS. kill and tgkill are allowed:
// there is nobody else to signal.
var counted = []Group{
	{Why: "another process", Arch: amd64, Names: []string{"fork", "vfork"}},
	{Why: "another program", Names: []string{"execve", "execveat"}},
	{Why: "being connected to, where there is nobody", Names: []string{"bind", "listen", "accept", "accept4"}},
	{Why: "the memory, descriptors and threads of another process", Names: []string{
		"ptrace", "process_vm_readv", "process_vm_writev", "process_mrelease", "kcmp", "pidfd_getfd", "pidfd_send_signal",
		"rt_sigqueueinfo", "rt_tgsigqueueinfo"}},
	{Why: "another view of files: mounts and roots", Names: []string{
		"mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
		"open_by_handle_at", "quotactl", "quotactl_fd", "swapon", "swapoff"}},
	{Why: "other namespaces, and their names", Names: []string{"unshare", "setns", "sethostname", "setdomainname"}},
	{Why: "code in the kernel, and the doors that most escapes came through", Names: []string{
		"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
		"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "fanotify_init", "fanotify_mark"}},
	{Why: "the same where there is one", Arch: amd64, Names: []string{"iopl", "ioperm"}},
	{Why: "being somebody else", Names: []string{
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "capset"}},
	{Why: "device nodes", Names: []string{"mknodat"}},
	{Why: "the same by its old name", Arch: amd64, Names: []string{"mknod"}},
	{Why: "the whole machine: its clock, its books, its end", Names: []string{"clock_settime", "settimeofday", "acct", "reboot", "syslog"}},
}

// Counted is the list of refused calls of which each is a violation, in the order in which it is read.
func Counted() []Group { return slices.Clone(counted) }
