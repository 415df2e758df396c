package process

import (
	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// This file is the reviewed list for build jobs: what a runner may, and processes. A compiler starts its linker, its build
// scripts and itself. Everything else stays refused, new namespaces, other sockets, links and ptrace among it. Spec.Validate
// keeps the list from whatever has a socket to the supervisor.

// newNamespaces are the flags of clone that would leave the walls' ground; CLONE_PTRACE would trace what it makes. The time
// namespace has no flag here: its bit belongs to clone's exit signal.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_PTRACE

// jobGroups is what a build job may ask of the kernel.
var jobGroups = widen(syscallGroups, []syscallGroup{
	{why: "threads and processes: counted by the pids control group, killed with the pid namespace; in no new namespace", names: []string{"clone"},
		when: []seccomp.ArgumentConditions{{arg(0, seccomp.BitsNotSet, newNamespaces)}}},
	{why: "the same by their old names", arch: amd64, names: []string{"fork", "vfork"}},
	{why: "what is bound and what the job itself wrote; no_new_privs and nosuid mounts let nothing gain by it", names: []string{"execve"}},
})
