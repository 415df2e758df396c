// Package hostile runs strategies that were written to break out, take more than their share, or lie, each in the real
// sandboxes under the real supervisor.Instance, and shows that every one is refused, bounded or killed, with the right reason
// (NN-2, SB-1 … SB-8, DOD-2). README.md is for whoever runs it, or adds an attack.
//
// python/ holds them, on the real SDK. A strategy tells what came of each attempt, by the error that stopped it: an
// attempt without one is an escape, and fails the test. A well-behaved neighbour must decide as it does alone, a ticker
// inside the supervisor must stay in time, and at the end nothing may be left on the host.
//
// What this may not be taken for: a proof. It is a list of doors that were tried.
package hostile
