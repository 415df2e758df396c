// Package compute is the compute lane of one instance: what a strategy asks for with ctx.submit_compute is carried out here, beside the
// low-latency lane and never in its way.
//
// A [Lane] takes tasks whose requests are durable, keeps them in a bounded queue, and gives at most so many at a time to an [Executor]: the
// strategy's compute part ([Part]: runners of its own, in the control groups of the compute lane), or an external service. [Lanes] are all that
// one instance may ask.
//
// What is guaranteed:
//   - Nobody on the LL lane waits: Submit enqueues or refuses, and results come by a callback that the instance logs as inputs (LN-3, NN-4).
//   - A task is carried out at most once. What is under way when the supervisor ends is answered COMPUTE_LOST by the core after the next
//     start, and never repeated.
//   - Every task is told of exactly once, with a payload or a reason, unless the lane is closed before; Submitted = Done + Unavailable +
//     Waiting + InFlight at any moment ([Counts]).
//   - A task whose ttl is over is not begun; a result after it is discarded and counted (LN-2). What the strategy then hears is the
//     descriptor's choice, and the core's doing (LN-5).
//   - What the part's runners are refused (calls, threads, log lines) is told once and counts on the strategy's ladders (SB-7).
//   - A compute runner that is killed, spins, lies or runs out of memory costs a reason, and a restart after a pause that doubles; more than
//     restarts_per_hour of them, and the part is unavailable for the rest of the hour.
//   - A replay reads results from the log and starts neither lane nor runner (NN-7).
//
// What you may not assume: that results come in the order of the requests, or at all. In lock step (a feed at full speed) the instance
// delivers them in order, at a fixed place: before the feed goes on.
//
// Test against it with an Executor of your own: a function and a channel are enough, as in the tests of this package.
package compute
