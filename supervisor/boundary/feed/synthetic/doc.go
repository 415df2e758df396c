// Package synthetic makes a market that never was: seeded quotes, trades, bars and trading halts with labelled faults.
//
// # What it is
//
// New gives a Market, which is a feed.Source; WriteFile writes the same events as a .jsonl feed with a .faults.jsonl beside it.
// It is what runs when nobody gives a feed, and what tests inject faults with. Prices follow a random walk with calm and busy
// phases, trends and a slow pull to an anchor; trades hit the touch; bars sum the trades. It is made to exercise a strategy and
// its runtime, not to predict what a strategy would earn.
//
// # What is guaranteed
//
//   - The same Options give the same bytes, on every machine and Go version: only integers and msup's own generator are used. Floats
//     would differ between amd64 and arm64, where the compiler may fuse a multiplication with an addition.
//   - Every injected fault is labelled with kind, record number, instrument and time; nothing unlabelled is wrong.
//   - In every block of 100,000 / rate records there is exactly one fault of a kind, so that a run of the default length has them all.
//   - RecvTS never decreases; without faults EventTS rises within each instrument and Seq has no holes.
//
// # What you may not assume
//
// That any statistic of it resembles a real market beyond the eye: test claims about markets on recordings.
//
// # How to test against it
//
// Read a Market and compare its Labels with what your code noticed.
package synthetic
