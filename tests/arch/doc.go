// Package arch tests the repository itself: which package may import which, that the pure packages are pure, and that the tree is tidy.
//
// What is guaranteed by a pass: imports point down only (see layers in layer_test.go); core, gate and guard have no clock, no I/O, no
// goroutine and no randomness of their own; every package says what it is and every exported name has a comment; no test is skipped; no
// file is longer than 600 lines; unsafe stands only where a reason is written down; the top level holds what it should and nothing else.
//
// What you may not assume: that a pure package is deterministic. Map order and floating point cannot be seen from here; the property
// tests of those packages look at them.
//
// A rule is a row in a table at the top of its file. Change the row when the design changes, and say why beside it.
package arch
