// Package process is the sandbox of level L1: an own process with user, pid, mount, net, ipc, uts and cgroup
// namespaces, an empty root, Landlock, seccomp, a control group and rlimits (SB-L1). It needs no daemon and no root.
//
// # How a runner starts
//
// The supervisor starts its own binary again as stage two, inside new namespaces, and writes it its orders through a
// pipe once it sits in its control group. Stage two builds the walls from the inside, and then becomes the strategy by
// execveat; it never comes back. On the way:
//
//  1. user namespace with exactly one user id, which under root is unique to the runner on this host; no capability
//     outside it, and none inside once the walls stand
//  2. a tmpfs as root with read-only binds, /proc with nothing but the runner itself, four devices, a small /tmp without
//     exec, the socket's directory read-only; then pivot_root, and the root becomes read-only
//  3. rlimits, an empty bounding set, no_new_privs, no capabilities, SIGKILL when the supervisor dies
//  4. Landlock: what the kernel knows of it
//  5. seccomp: EPERM to everything but the list in syscalls.go. What no honest program asks for is handed to the supervisor, which says EPERM and
//     counts it (package refusal); its descriptor leaves stage two with the report, before the exec
//
// # What is guaranteed
//
//   - The strategy is the only process of its pid namespace and cannot make another: neither fork nor exec is possible
//     (threads are). So SIGKILL to that one process, through its pidfd, ends everything.
//   - A build job (Spec.BuildJob) may fork and execute, because a compiler must (syscalls_job.go). It has all other walls, a
//     ceiling of processes, no socket to the supervisor, and ends as a whole when its first process ends.
//   - A call of syscalls.Counted that a runner is refused is in Usage.Refused before the runner hears of it, whatever it makes of the error.
//     Built-in programs hand on the same calls from the moment strategy code may run; of build jobs nothing is counted.
//   - The strategy is PID 1 there. The kernel drops signals without a handler that PID 1 sends itself, so os.abort ends
//     it by SIGSEGV instead of SIGABRT; SIGKILL from outside always works, and is the only signal msup relies on. Stage
//     two does not stay behind as an init: it would cost every instance a Go runtime and a second process.
//   - Under root, binds are opened by the supervisor (open_tree) and handed in as detached mounts, so that a folder below
//     a private home (pyenv under /root) can be shown without opening its parents to the runner.
//   - A record with an flock per runner lets Reap tell a dead supervisor's runner from a living one's without trusting a
//     process id; a process is only killed when its id, start time and boot id match the record, and through a pidfd.
//
// # What you may not assume
//
//   - That all walls stand. Sandbox.Walls tells, from a real start that New makes: without privileges there is no control
//     group, RLIMIT_AS and RLIMIT_NPROC then stand in, and the user id is that of the supervisor.
//   - That refusals are counted everywhere: a process has room for one seccomp listener. Where msup itself runs behind one, Walls says so
//     (WallRefusals), and all is refused as ever.
//   - That Argv[0] may be a script: the program must be an ELF file, since its descriptor is closed before a "#!"
//     interpreter could read it.
//   - That the kernel is older than it is: open_tree, mount_setattr and pidfds need Linux 5.12.
//
// # How to use and test it
//
// main and TestMain call Init first, because any binary that starts runners is also their stage two.
package process
