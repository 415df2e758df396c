// Package refusal hears of the system calls that a seccomp filter refused and that no honest program asks for, and counts them (SB-3, SB-7).
// Without it a strategy that catches the kernel's error and says nothing would be refused without anybody knowing.
//
// The filter of a runner hands the calls of package syscalls' Counted to a descriptor (SECCOMP_RET_USER_NOTIF) that only the process which
// builds the walls holds: the supervisor, or the helper that keeps root. The kernel stops the caller until the answer, which is EPERM. All
// other calls are decided in the filter, as before: allowed ones cost nothing, most of them not even a run of the filter.
//
// # What is guaranteed
//
//   - A call that is heard of here is never carried out: package process's answers have no other word than EPERM, container's let pass what its
//     latch has to. When nobody holds the descriptor any more, the kernel answers ENOSYS: refused as well. A Serve that has to give up closes it.
//   - A refusal is counted before the caller hears of it: who reads the counters after a strategy's answer finds what led to it.
//   - A flood costs little: after a burst of 256 one call is answered each millisecond, for all threads of a runner together. The caller waits
//     for each, and can be killed while it does. Counters have a fixed size.
//   - A caller that dies while it waits is no error, and the descriptor is closed when the last process of a runner has ended.
//
// # What you may not assume
//
//   - That a count is exact: a call that a signal interrupts is asked for again, and counts again; one whose caller dies first may not count.
//   - That a call's arguments are what the kernel would see. They are not looked at, but for the latch's.
//   - That what Landlock, an rlimit, a full tmpfs or a mount refuses is heard of: nobody but the process is told.
//
// # How to test against it
//
// TestMain starts the test binary again as a process under a filter of its own; see listener_test.go. The process sandbox, containers and the
// helper have a case for it in the conformance suite.
package refusal
