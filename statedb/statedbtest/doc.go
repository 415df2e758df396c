// Package statedbtest damages state directories on purpose, for tests of whoever stands on statedb.
//
// # What it is
//
// Copies of a state directory, and corruptors that flip or cut bytes at a place drawn from a seeded generator. The directory must not be
// open while it is copied or damaged.
//
// # What is guaranteed
//
// The same generator state and the same files give the same damage, and a Damage prints all that is needed to do it again.
//
// # What you may not assume
//
// That a damage matters: it may hit a page that nothing uses. A test demands "detected or harmless", never "detected".
//
// # How to test against it
//
//	rng := rand.New(rand.NewPCG(seed, 0))
//	d, err := statedbtest.Flip(rng, filepath.Join(dir, "ledger.db-wal"), 8)
//	t.Logf("seed %d: %s", seed, d)
package statedbtest
