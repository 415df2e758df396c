// Command bench measures msup against floors of the same machine and the same minute, prints a table, and writes it as JSON.
//
// What it is: make bench. Every time is divided by the time of something that cannot be avoided: a frame there and back between Go and
// a C program over a unix socket, an fdatasync of the same bytes, SQLite writing the same rows. Both are measured in turns in one run, in
// several rounds, pinned to the same processors, and the medians are compared, because absolute times drift by 2x from day to day
// on shared machines and ratios do not. The goals are those of the design's performance budget.
//
// What is guaranteed: a figure comes from the real thing (process sandbox, SDK, pump, core, gate, ledger), and msup's own answers
// are checked while it is measured: a gate that refuses, a restart, a halt or an offer that is missing makes the run fail.
//
// What you may not assume: that it fails when something is slow. It asserts no time (a test that does is wrong every other day); it
// fails only when something does not work. Figures of a busy machine are noise: read the line about the load that it prints.
//
// What it needs: what make setup provides, Rust with the Wasm target among it: the Rust twin of the strategy (strategy_rs) is compiled at
// the start. Where containers cannot be had, or their image cannot be made, the run says so and leaves those figures out.
//
// How to test against it: go test ./tests/bench runs all of it in small (-quick) and checks that every figure is there and that the JSON
// is well-formed. -only NAME runs one section, -runners NAME one kind of runner, -cpuprofile FILE profiles the supervisor's side.
package main
