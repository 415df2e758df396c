// Package lease makes sure that an instance runs once per host: it is the lease of LS-1 to LS-3, one lock file per bot, strategy and
// instance in a directory that all state directories of the host share.
//
// A [Keeper] holds the leases of one process and renews them from one goroutine, at a third of the ttl. [Keeper.Acquire] takes a lease,
// [Lease.Raise] writes the owner's epoch into it, [Lease.Lost] tells when the process is not the owner any more. [List], [Show] and
// [Break] serve people.
//
// What is guaranteed:
//   - At most one process holds the lock of a key in one directory, and the kernel gives it back the moment that process dies: a free lock
//     means a dead owner, so it is taken over at once (after a reboot, with a damaged record, and however fresh the heartbeat).
//   - A live owner with a fresh heartbeat is never disturbed. One that is silent for its own ttl counts as hung, and only then, and only
//     when asked, is it killed: through a pidfd, after the kernel's word on who holds the lock, the record's pid, start time and boot id,
//     and /proc all agreed on who it is, and after it was watched for another beat.
//   - Heartbeats are CLOCK_BOOTTIME: the wall clock may jump, and a suspended machine does not look fresh. The wall clock in a record is
//     for people only.
//   - The epoch in the record never goes down while the file lives. The owner takes the larger of this one and its ledger's, plus one, and
//     writes it to both before it goes live; so two state directories of one key number their starts together.
//   - A record is one of two checksummed slots, written in turns: a torn write leaves the other.
//
// What you may not assume:
//   - That a holder is still the owner at the next instruction. It may be stopped for an hour, or somebody may remove the file; that is
//     noticed within a third of the ttl of running time, and it is a courtesy. Safety rests on epochs: the ledger refuses batches of a
//     lower one in its transaction, and I refuses them, and a second nonce under an equal one.
//   - That the epoch survives a reboot (/run is a memory file system) or the removal of the file. Then the ledger's own counts, and where
//     that is a copy of another state directory, both may come to the same epoch: I knows the nonce of the first and refuses the second
//     with SECOND_OWNER, until the second is started again and comes to a higher epoch; then it is the first that is refused.
//   - That two users, or two directories, exclude each other. There I alone decides.
//
// The lock is the classic record lock of fcntl, owned by the process. flock and open file description locks belong to the description,
// which a child that was forked or handed the descriptor keeps alive: with them an owner's death would not free its lease while such a
// child lives. The classic lock has none of that, and F_GETLK names the holder's pid, which they do not. Its known weakness, that closing
// any descriptor of the file in the owning process gives it back, is met here: all opening and closing goes through one table of the
// process (see table.go); every heartbeat takes the lock again and looks whether the file is still the one at its path; and a free lock
// whose recorded owner demonstrably lives, and was heard within its ttl, counts as held.
//
// Test against it with a directory of your own ([Options.Dir]) and a short ttl.
package lease
