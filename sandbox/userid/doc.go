// Package userid gives runners user ids of their own under root, unique on the host among all supervisors.
//
// What is guaranteed: a claim is one byte of a file, locked by an open file description of its own. Two claims on one file never have
// the same slot; when a supervisor dies the kernel releases what it held, and nothing is left to clean up.
//
// What you may not assume: that supervisors with different files exclude each other, or that an id has no process of an earlier owner
// any more; sandboxes kill theirs before they release a claim.
//
// Test against it with a file of the test's own.
package userid
