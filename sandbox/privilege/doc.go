// Package privilege gives up root for good: which user to become, what that user can reach, handing over what is its own, and the step
// itself (SB-2, SB-6).
//
// # What is guaranteed
//
//   - After Drop every thread of the process has the user's ids as real, effective, saved and file system id, no supplementary group, no
//     capability in any set that counts, and no_new_privs. Drop reads that back from the kernel for every thread, and fails where it is not
//     so; then the process must end, since it may be half of each.
//   - The process is not dumpable afterwards: no process of the same user can trace it or read its memory, and it leaves no core.
//   - Try asks the kernel itself whether the user can do something, by doing it on a thread with the user's file system ids. It does not
//     compute permissions from mode bits.
//   - HandOver changes the owner of the named entries and of what lies below them, through descriptors and never through a link, never of a
//     file that has a second name, never across a mount, and never of what belongs to a third user: whoever had the folder before may
//     have put traps into it.
//
// # What you may not assume
//
//   - That a descriptor or connection opened before is gone. What root opened stays open; that is the point of opening it first.
//   - That the user can reach a path because it owns its end: every folder above has to let it pass.
//   - That two supervisors are walled off from each other. They share the user unless they are given one each (User by name).
//
// # How to test against it
//
// Under root, start the test binary again and call Drop there: it cannot be undone. See drop_test.go.
package privilege
