// Package wardentest runs a sandbox through the root helper in tests: what stands between the two in a real msup run (SB-2, SB-6).
//
// What is guaranteed: [Open] gives a box whose Close ends its helper, too, and says when the helper did not end well; the helper is this test
// binary, started again. What you may not assume: that the helper is sealed. It is not, so specs need no permission; package warden's own
// tests show the seal.
//
// How to use it: TestMain gives warden.Init an [Opener] for every kind that its tests open, after process.Init where a kind starts processes.
package wardentest
