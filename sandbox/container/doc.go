// Package container is the sandbox of level L3: a containerd container by runc, with the strict profile of this package
// (SB-L3). It is the default for Python.
//
// # How a runner starts
//
//  1. containerd is found by its address, or a private one runs as a child of the supervisor (Daemon): own folders and
//     socket, no CRI plugin, killed by the kernel with its supervisor, restarted when it dies or hangs
//  2. the root is a read-only view of an image, or an empty folder with the host's interpreter bound into it; the places
//     for binds are laid over it, so that any image will do
//  3. runc makes user, pid, mount, net, ipc, uts and cgroup namespaces. Ids 0 to 65535 inside are a range outside that is
//     this runner's alone on the host; the strategy is id 1000, without capabilities, with no_new_privs
//  4. package cgroup makes and limits the group, <parent>/<lane>/<id>, as for the process sandbox; runc is told to use it
//  5. what runc's init needs of /proc is taken away when it waits for its start (proc.go): the runner's shows processes only
//  6. seccomp (seccomp.go) refuses all but a reviewed list. The exec that makes runc's init the strategy is announced to
//     the supervisor, which sets the last limits and lets this one pass, and no other (latch.go). What no honest program asks for
//     is announced as well: it is refused, and counted in Usage.Refused (package refusal)
//
// # What is guaranteed
//
//   - Kill asks neither the strategy nor containerd: SIGKILL by pidfd to the first process of the pid namespace, then the
//     control group is killed. A containerd that hangs or is gone delays only the tidying up.
//   - Exit does not guess. containerd has one number for "exited with 137" and "killed by SIGKILL"; here an exit with such a
//     number was announced before it happened, and the kernel's out-of-memory counter is read before the group goes.
//   - A private containerd that is killed is running again within about 200 ms. Its runners do not notice: their shims hold
//     them, their sockets lead to the supervisor directly, and the new daemon finds the shims by its state folder. A runner
//     whose shim was killed is ended by containerd, and ends here with an Exit like any other, so that it is restored.
//   - What could not be removed because containerd was away stays on record; the next Start or Reap removes it.
//   - Another msup on the same folders (`msup image build` beside a supervisor) joins the running daemon, and takes it over
//     when its owner ends.
//
// # What you may not assume
//
//   - That /proc/1 or a core file tells anything: /proc shows the runner only.
//   - That a shared shim (ShimShared) is free of coupling: who kills it ends every runner of the lane.
//   - That host files are reproducible. An image is; its digest is in Sandbox.ImageDigest.
//   - That files of mode 0600 in an image can be read: they belong to an id that the runner does not have.
//   - That runc has no holes: see Examine. Debian 12's 1.1.5 lacks the fixes of November 2025.
//   - That all versions are alike. The tests of this package have passed with containerd 1.6.20, 2.2.9 and 2.4.2, and with runc 1.1.5,
//     1.3.6, 1.4.3 and 1.5.1, in these pairs: 1.6.20 with 1.1.5 and 1.3.6, 2.2.9 with 1.5.1, 2.4.2 with 1.1.5 and 1.4.3.
//   - That sockets of shims lie in RuntimeDir: containerd puts them into /run/containerd/s.
//
// # How to test against it
//
// As root with containerd and runc installed: OpenDaemon with two folders of the test's own, then Open with Engine set. The
// conformance suite in sandboxtest runs against both kinds of root. Folders must be passable for everybody, which those of
// testing.T.TempDir are not, and short. scripts/test-containerd2 runs all of it with other versions than the machine's.
package container
