// Package capabilities makes docs/capabilities.md, the index from each requirement to where it lives and which tests prove it.
//
// It reads three things: docs/requirements.toml (ids, titles, and a status kept by hand), the tests of all languages, which name what
// they prove in a comment of the form
//
//	// Proves: GT-1, GT-4
//
// or in their own name (TestGateNormalises_GT1, test_rng_is_seeded__NN_7), and the code, which names the ids it serves.
//
// What is guaranteed, by the test of this package: the committed file is what [Index.Markdown] makes of the tree; no id is named
// that the list does not hold; nothing is called done without a test, nor "not yet" with one.
//
// What you may not assume: that a test which names an id proves all of it. That judgement is the status, and a person's.
//
// To add a requirement, add it to the list; to claim one, name it above a test; then run make docs.
package capabilities
