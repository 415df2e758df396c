// Package memory is a ledger for tests and benchmarks that has everything durable at once: what is left is the supervisor's own time, and
// what grows is the supervisor's own memory.
//
// What is guaranteed: a Ledger that keeps gives back every input and the newest checkpoint, so that a runner can be restored from it; one
// that does not keep holds the newest checkpoint and nothing else, however long it is used.
//
// What you may not assume: anything about faults. The real ledger is statedb's; what becomes of it under them is for tests/crash and
// tests/sim.
package memory
