// Package gate judges every intent before anything outside M can see it, and keeps the position view that the judgement rests on.
//
// [Gate.Judge] takes one intent as the strategy answered it and returns a [Verdict]: accepted, accepted with changes, or refused, with
// a reason code and before/after for every change. A refusal is a value, not an error. The order of the tests is fixed: mandatory
// metadata, capability, duplicate or conflicting key, mode, normalisation, ceilings.
//
// What is guaranteed:
//   - Every change only ever lowers risk: rounding, size factors and reduce-only cut quantities and make limit prices less aggressive,
//     never the opposite (GT-1, GT-3).
//   - [Mode] is a join: adding a [Held] restriction, in any order, never permits what was forbidden before.
//   - Reduce-only is judged on the worst case: the position plus everything that may still fill (see [Book.Reducible]).
//   - An intent of M's own ([Obligation]) only ever cancels or reduces; no restriction of the strategy's stops it, a freeze does.
//   - Judge is deterministic. The package has no clock, no I/O and no goroutine; time arrives as core_ts.
//
// What you may not assume: that an accepted intent is sent. Between the verdict and the first offer the intent waits for durability, and
// restrictions and its validity are checked again ([Gate.Recheck]); the result may only be a withdrawal or an expiry.
//
// Test against it by building a [Gate] with a [Policy] and a [Book] by hand, as the tests of this package do; nothing else is needed.
package gate
