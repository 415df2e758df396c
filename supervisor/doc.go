// Package supervisor runs instances: it is the shell around the pure core.
//
// One goroutine, the pump ([Instance.Run]), owns one instance. It takes from the mailbox, gives inputs to the core, executes the effects,
// and talks to the runner. One persister behind [Ledger] writes for all instances. The pump does not wait for it before the next event;
// only what leaves M does.
//
// What is guaranteed:
//   - Strategy code never runs in this process (law 1): a runner is a process behind [sandbox.Runner], killed at its hard deadline.
//   - Nothing is offered to I before every input that led to it is durable, and restrictions and validity are looked at once more just
//     before the offer (law 3).
//   - A failed persist voids what came after it: the runner is killed, the core goes back to the last durable input.
//   - A restored strategy has answered every recorded delivery after its checkpoint again, and every answer was the same; otherwise the
//     instance is halted with DIVERGED and the evidence kept (law 4).
//   - A package takes over another one's state only where it can answer for it: by replay, by on_recovered, or from a log that ends with the
//     checkpoint; both slots are written before its first step (ST-5, AD-2).
//   - While positions are unknown, I is asked for a snapshot until one comes (BC-I).
//   - Nobody waits for I without end. One that is away, refuses, or is silent about an intent is asked again and again; after
//     [InstanceConfig].Patience the instance goes on with no_trade (SINK_UNAVAILABLE, POSITION_UNKNOWN), or stops. When I is back, it is told
//     the epoch and asked about every open key before anything is offered (GT-6). One that knows less than it did is offered nothing (SINK_FORGOT).
//   - What breaks a limit is told, then degraded, then halted, by inputs of the log: what the sandbox counts while the runner lives, and windows
//     of [guard.Objective] that are measured here (SB-7, LN-7). An instance for which events wait and that finishes none is found, whatever its
//     heartbeat says ([Instance.Progress]).
//   - A deadline is judged by when the answer came, without what the supervisor did for itself meanwhile (SB-1).
//   - Before an instance stops, its cursor and positions are compared with I's.
//   - Whatever one instance does, the others go on.
//
// What you may not assume: that an event handed to Publish was delivered when Publish returns ([Instance.Settle] waits for that), or that
// State may be read while Run runs.
//
// Ports ([Ledger], [Sink], [Source], [Clock], the sandbox) are interfaces declared here; cmd/msup wires them. Test against it with a memory
// ledger and a scripted runner, as the tests of this package do.
package supervisor
