// Package hostile runs strategies that were written to break out, take more than their share, or lie, each in the real
// process sandbox behind the real protocol, and shows that every one is refused, bounded or killed (NN-2, SB-2 … SB-8).
//
// python/ holds them, on the real SDK. A strategy tells what came of each attempt, by the error that stopped it: an
// attempt without one is an escape, and fails the test. A well-behaved neighbour must answer after every one of them, and
// at the end nothing may be left on the host.
//
// What this may not be taken for: a proof. It is a list of doors that were tried.
package hostile
