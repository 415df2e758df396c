// Package replay runs Python and Wasm strategies over recorded events of real markets, and replays the whole log.
//
// What is guaranteed by a pass: every answer, verdict and checkpoint of the replay has the hash that the run recorded, in both runtimes.
//
// What you may not assume: that this takes a fixed time. Each feed gives 150,000 events by default; -events 0, which make soak-replay uses,
// gives more than a million, a minute or two of one core. It needs the recordings
// (tests/recordings says what happens without them) and a Rust that compiles to wasm32-wasip1, which make setup provides.
package replay
