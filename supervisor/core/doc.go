// Package core is one instance's state machine: what it does next is a function of its recorded inputs alone.
//
// [State.Step] takes one [Input] and returns [Effects]: rows to persist, intents to offer, a runner to restart, things to tell. The shell
// executes them. Live, recovery, replay, shadow and simulation run this same code (law 2), so an incident can be analysed from its log.
//
// What is guaranteed:
//   - Step has no clock, no I/O, no goroutine and no dependence on map order; two States that took the same inputs are equal, byte for
//     byte in [State.Marshal] (NN-7).
//   - Nothing in Effects.Offers rests on an input above the last [Release] (law 3).
//   - An intent that may have been sent before a restart or a void is not sent again before I said that it has not seen it (GT-6).
//   - A staged intent that nobody approves in time expires, by an input that carries the time ([State.Deadline], GT-7).
//   - An informed strategy may not increase risk before it has heard what happened and what was open has come to its end ([Inform], RS-5).
//   - What a strategy does beyond its limits is counted on a ladder for each kind, whether the core sees it itself or a [Violation] tells it; each
//     rung has its reason (SB-7, SB-8). A breaker that opened leaves what [Breaker] says, and is tried mute before the strategy may trade (CB-2, CB-3).
//   - An obligation goes on after every input, with or without a runner; its next attempt begins after everything of the last one is final,
//     and a freeze stops it (CB-2).
//   - An input that contradicts the log (an answer to a step that is not pending, a delivery that is not next) is an error.
//   - Intents of late, faulted and killed deliveries are never offered (DM-3, SB-6).
//
// What you may not assume: that Effects outlive the next Step (copy what you keep), or that a State may be shared between goroutines. The
// pump of package supervisor owns it.
//
// Test against it with transcripts (see testdata and transcript_test.go): each line is an input, the effects are printed below it.
package core
