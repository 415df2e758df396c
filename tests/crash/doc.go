// Package crash breaks the whole program, from outside, while it trades: kill -9 of the supervisor, of runners, shims and containerd, at
// random moments and at every write, sync and boundary between two actions; disks that fail or are full; state directories that were
// damaged between two runs. The program is the built one, with real SQLite, real walls, and an I in a process of its own.
//
// The oracle is the same everywhere. A state directory is made once; every world starts from a copy of it, on a feed in lock step, and what
// I was told (key, step, ordinal, digest, status) and the net positions at I must in the end equal those of a run that nothing disturbed.
// Counting duplicates alone would pass a system that renumbers its steps.
//
// The moments come from a tracer, [tracer]: the supervisor's threads, and no other process, are stopped at each system call, so that calls
// are counted over all threads (strace counts each thread by itself), sockets are told apart by who is at their other end, and what is
// written to I is read. The program holds no code for this.
//
// What you may not assume: that a seed hits the same moment again. It fixes which accidents a world tries and where it looks for them; the
// schedule of threads and processes is the machine's.
//
// Each test has a number of trials per change: about 100 kills of the supervisor, 60 of runners, ten of containers with their shims and
// containerd, every action once and 17 random writes, 100 failing calls, 100 damaged directories (statedb opens a thousand in its own tests);
// together three minutes of processor time. make soak-NAME does more: SEED=n, and COUNT=n trials or MINUTES=n. A campaign prints where to go on,
// and a failing world how to run it again; -keep DIR copies what a failing world, and the undisturbed one, leave behind. With DISTURB=600
// the supervisor's goroutines pause now and then (tests/disturb), as on a busy machine: what is rare comes soon. Root, strace's permissions
// (ptrace) and real components are needed; without them tests fail.
//
// A kill may strike a runner twice over one delivery, which is then given up as poison: such a world is counted, not compared.
package crash
