// Package replay runs Python and Wasm strategies over recorded events of real markets, and replays the whole log.
//
// What is guaranteed by a pass: every answer, verdict and checkpoint of the replay has the hash that the run recorded, in both runtimes.
//
// What you may not assume: that this takes a fixed time: a minute or two of one core. -events N gives each feed fewer. It needs the recordings
// (tests/recordings says what happens without them) and a Rust that compiles to wasm32-wasip1, which make setup provides.
package replay
