// Package capsule packs everything that a decision rested on into one file, so that it can be run again elsewhere.
//
// # What it is
//
// A tar archive (PAX; every tar shows it) of files in a fixed order, for a range of steps of one instance:
//
//	manifest.json      what it is, what it was made on, and size and SHA-256 of every file that follows
//	strategy.toml      the descriptor, for people; the one that counts is in package.tar
//	config.json        configuration, instruments and limits that were in force at its first step, for people
//	package.json/.tar  the package as its hash covers it
//	layer.json/.tar    its installed dependencies, when asked for
//	checkpoint.core    the core's state at or before the first step; absent when the log begins at input 1
//	checkpoint.state   the strategy's state at the same input
//	inputs.bin         u64 first ‖ u64 last ‖ the recorded inputs, up to the answer of the last step
//	intents.jsonl      every intent of the steps, with its verdict and the statuses that it has had
//
// # What is guaranteed
//
//   - The same ledger rows, package and environment give the same bytes: no times, owners or paths are in it.
//   - Open refuses a capsule in which anything was changed, cut off or added, and says which file, and at which byte.
//   - It holds nothing of the deployment but what the strategy itself was given: no environment variables, no secrets and no
//     references to any, no lease (process ids, boot ids), no path and no name of the host.
//   - The format knows nothing of a runtime: a package is its manifest and its files.
//
// # What you may not assume
//
//   - That a capsule is true. Who makes one can make it up; its SHA-256, told by another way, says that it is the one that was made.
//   - That a capsule is small: a layer may have gigabytes. Nothing but manifest, checkpoint and log is ever held in memory.
//   - That the environment it names is the one that answered: it is the one on which the capsule was made.
//
// # How to test against it
//
// Write to a bytes.Buffer and Open a bytes.Reader. Log serves as the ledger of a supervisor.Instance that verifies.
package capsule
