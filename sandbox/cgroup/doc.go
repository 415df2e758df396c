// Package cgroup gives every runner a control group of its own, on cgroup v1, hybrid and v2 hosts alike.
//
// The groups are <parent>/<lane>/<id> in every hierarchy that is used. The two lane groups carry the CPU weights that
// keep the compute lane away from the low-latency lane (NN-4): measured, sixteen hogs at the lowest weight leave the
// low-latency p99 at 0.10 ms, where nice leaves 11 ms.
//
// # What is guaranteed
//
//   - A controller is taken from wherever the host has it: v1 hierarchies first, then the unified one. Walls says for
//     each limit where it stands, or why it does not and what to do.
//   - A limit that the host offers and that cannot be set is an error, never a silent omission.
//   - Kill leaves no process: cgroup.kill where a v2 group exists, else freeze, SIGKILL to all, thaw, until empty.
//     Process ids are read while the group is frozen, so none of them can have been reused. What somebody else has frozen
//     is killed, too.
//   - Where the top of v2 is closed, the group that this process was given is used (systemd's Delegate=yes). v2 gives the
//     children of a group that holds processes no limits, so the process leaves it for a leaf named supervisor, where it is
//     alone; where it is not, Walls says that others are inside.
//   - Remove removes the group, and the lane and parent groups when they are empty: v1 keeps them for ever otherwise.
//
// # What you may not assume
//
//   - That a manager without any controller is an error: without privileges or delegation there is nothing to create,
//     Create then returns a group that limits nothing, and Walls says so.
//   - That a counter exists. What the host cannot count is -1 in Usage.
//
// # Why not containerd/cgroups
//
// It covers more (devices by eBPF, blkio, hugetlb, systemd scopes over D-Bus) and brings those dependencies with it;
// its metrics have different types for v1 and v2; on v1 it leaves empty parents behind, and it knows no hybrid mix of
// hierarchies per controller, in which cgroup.kill of the unified one serves v1 limits. What is needed here is a dozen
// small files.
//
// # How to test against it
//
// On a real host as root with a Parent of the test's own: real_test.go breaks every limit and looks at what the kernel of this
// host does. make test-cgroup2 runs the same on v2 alone, in an emulated machine; in every other run the v2 form has a
// directory tree that imitates the kernel's files. Manager takes its roots from a mountinfo text.
package cgroup
