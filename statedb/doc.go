// Package statedb keeps what must not be forgotten: the ledger of every instance (inputs, intents, statuses), its
// checkpoints, its epochs and leases. One state directory serves one supervisor process.
//
// # What it is
//
// Two SQLite databases (ledger.db, checkpoints.db), a high-water mark outside of them (mark), and a lock file. One writer
// goroutine on a direct driver connection commits the batches of all instances together: one sync serves all of them. The
// payloads are opaque; supervisor/core encodes and decodes input records. The bytes are specified in FORMAT.md.
//
//	db, err := statedb.Open(dir, statedb.Options{})
//	in, err := db.OpenInstance(ipc.Address{Bot: "b", Strategy: "s", Instance: "i"})
//	epoch, err := in.NextEpoch(owner)
//	in.Persist(&statedb.Batch{FirstInput: 1, LastInput: 3, Inputs: enc, Intents: rows, Done: func(h statedb.Head, err error) { … }})
//
// # What is guaranteed
//
//   - Done(head, nil) is called only when the batch survives what Options.Durability names, and the mark says so.
//   - Batches of one instance are persisted in the order of Persist; a batch is persisted as a whole or not at all.
//   - A failed batch voids every later batch of its instance (ErrVoided) until Instance.Reset; other instances go on.
//   - Rows of one instance form a gapless hash chain. OpenInstance walks it and compares it with the mark: rows that were
//     reported and are gone, or changed, are found (ErrRowsLost, ErrChain), the files are copied to the evidence folder, and
//     nothing is overwritten. SQLite alone does not notice: with 8 flipped bytes in the write-ahead log it opened without
//     error in 900 of 900 trials and had dropped committed rows.
//   - A batch of an epoch below the stored one is refused inside the transaction (ErrEpoch).
//   - A checkpoint counts only when its checksum holds and the ledger reaches its input with its head.
//   - Prune never touches what the older valid checkpoint needs, nor an intent whose status is not final. It deletes at most
//     PruneRowsPerTx rows in a transaction and lets others commit in between; who reads what it takes gets ErrPruned.
//   - An arrival of I, J or E is an input like any other: once Done has reported its batch, the peer may be acknowledged.
//   - A View, an Export and a Backup write nothing into the directory that they look at, and may run beside its supervisor. What they give
//     verifies. An Import or a Backup appears whole, or not at all.
//
// # What you may not assume
//
//   - That Done is called soon: batches without intents wait up to Options.CommitDelay, and a full disk takes its time to say so.
//   - That Done may block, call Persist synchronously in a loop, or call any method that waits for the writer (NextEpoch,
//     Reset, Prune, SaveCheckpoint, Close): it runs on the writer goroutine and would wait for itself.
//   - That Open tells a wrong directory from a new one: who only looks at an earlier run calls OpenExisting, or Verify.
//   - That an intent key is unique for ever: the unique index covers what has not been pruned. KEY_CONFLICT is decided by the gate.
//   - That the state directory may be copied by anything but Backup while it is open, or that two processes may share it: the second is refused.
//   - That the order between instances means anything.
//
// # How to test against it
//
// Use a real one in t.TempDir(): opening costs a few milliseconds, and Options{Durability: Process} saves the syncs. The package
// statedbtest damages the files on purpose, from a printed seed; Verify judges a directory without opening it for writing.
package statedb
