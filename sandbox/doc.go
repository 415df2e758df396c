// Package sandbox is the contract between the supervisor and whatever runs strategy code: a Sandbox starts Runners,
// a Runner can always be killed, and is a process tree of its own everywhere but at L0.
//
// Strategy code never runs in the supervisor. Each isolation level is an implementation of Sandbox in a folder of its
// own (thread is L0, process L1, wasm L2, container L3) and must pass the one conformance suite in sandboxtest.
// The supervisor declares the port it needs; cmd/msup hands it an implementation.
//
// # What is guaranteed
//
//   - Kill is unconditional. It asks nothing of the strategy, and returns when every process of the runner is gone.
//   - Conn yields exactly one peer. It was checked with SO_PEERCRED against the runner's own process, held by a
//     pidfd, before the first byte is read; then the socket is unlinked, and a second connection is refused.
//   - The runner inherits nothing: no environment, no descriptor beyond 0, 1, 2, no writable host path, no network.
//   - Every limit of Limits is enforced by the kernel where the host allows it. Walls tells which walls stand on this
//     host and what to do about those that do not; a wall that is missing is never silently assumed.
//   - Exit says why a runner ended without guessing from its exit code alone: the kernel's out-of-memory counter is
//     read before the cgroup is removed.
//   - What a runner prints arrives as sanitised lines within a rate and a budget; the rest is dropped and counted, and
//     a flood costs the supervisor a bounded amount of memory and CPU.
//   - What was refused while a runner lives is a typed Violation: Since compares two looks at its counters (SB-7). Refused system calls that no
//     honest program asks for count whether the strategy says so or not, where WallRefusals stands.
//   - After Kill, or after Done is closed, nothing is left: no process, cgroup, mount or socket directory. What a
//     supervisor that died by SIGKILL leaves behind, the next one's Reap removes.
//
// # What you may not assume
//
//   - That bytes from Conn are well-formed, in order, or there at all. They are written by strategy code.
//   - That a runner reacts to any signal but SIGKILL. It is PID 1 of its namespace, for which the kernel drops signals
//     that have no handler. Ask it to stop by a protocol message, then Kill.
//   - That Exit.Code means anything: the strategy chooses it.
//   - That LogLine is true. It is text from strategy code; it is only safe to print.
//   - That binds are readable by everybody: under root a runner has a user id of its own, so files that it must read
//     have to be world-readable.
//
// # How to test against it
//
// Use a real process.Sandbox: it starts in tens of milliseconds and needs no root. Its stage two is a re-exec of the
// running binary, so TestMain must call process.Init first. An implementation of Sandbox joins the conformance suite
// with sandboxtest.Run.
package sandbox
