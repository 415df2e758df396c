// Package sim simulates whole worlds: one seed is one world, with every fault at every moment.
//
// A world has the real core, a ledger in memory that loses what was not yet durable, a strategy that is a function of its events and its
// seed, an I that keeps the rules of the boundary, and a network that delays, repeats, reorders and loses. Between any two actions the
// process may die, a persist may fail, time may jump, restrictions may come and go. TestWorlds drives the core itself, one action after
// another; TestInstances drives the real shell, supervisor.Instance, with its goroutines in virtual time, over a session with a runner
// that answers late, never, or dies, and with torn checkpoint slots.
//
// What is guaranteed by a pass, for every seed:
//   - I applied every key, and every (step, ordinal), at most once, and was sent a key a second time only after it said that it had not
//     seen it (GT-5, GT-6).
//   - Nothing was offered whose input was not durable, after its valid_until, or against a restriction in force (law 3).
//   - The state after every recovery, from a checkpoint and from the whole log, is the same to the byte, and the strategy's answers to the
//     recorded deliveries are the recorded ones (NN-7).
//   - Every durable status follows the table of statuses (GT-7).
//   - When the world comes to rest, positions, open orders and fates of intents in the core are those at I.
//
// What you may not assume: that words of I overtake its snapshots (a connection keeps their order), that I is away for long, or that
// TestInstances schedules its goroutines the same way twice: its seeds fix the accidents, not the interleaving.
//
// Run one world again with go test ./tests/sim -run TestWorlds -seed N -v; more of them with -worlds N and -instances N.
package sim
