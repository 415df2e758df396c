// Package syscalls is the reviewed list of what a strategy that is an executed program may ask of the kernel, for the process sandbox and
// for containers alike. Everything else is refused with EPERM, among it: fork, vfork, ptrace, process_vm_readv, memfd_create, io_uring_*,
// userfaultfd, bpf, keyctl, mount, unshare, setns, perf_event_open, kexec, module loading, every socket family but AF_UNIX (AF_VSOCK reaches
// the hypervisor even from an empty network namespace), bind, listen, accept, links, mknod, chown, mlock, setpriority, scheduler changes.
// containerd's own default profile still allows ptrace, process_vm_readv, memfd_create, AF_NETLINK and fork.
//
// Counted are those of the refused calls that no honest program asks for; each is a violation (package refusal hears of them), and Counts
// holds how often each was tried.
//
// What is guaranteed: every name stands in one group, every group has its reason, and no condition says more than that one argument, or one
// bit of it, has a value, which every form of a filter can express. The sandboxes add what differs: how a program is executed and how it
// ends, and names that their libraries call otherwise.
//
// What you may not assume: that the list alone makes a filter. To add a name, give a program that needs it and say what it could do with it.
//
// How to test against it: both sandboxes' own tests run their whole filters, every number and every argument.
package syscalls
