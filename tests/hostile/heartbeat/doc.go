// Package heartbeat measures whether anything delays this process: a ticker of 1 ms that remembers how late it was at most.
//
// What is guaranteed: a stall of the scheduler, of the garbage collector or of all processors between New and Stop shows in what Stop
// returns. What you may not assume: that a stall is the tested program's doing. A busy machine causes the same ones; so a test that
// finds the bound broken tries again, alone, before it believes it: see Within.
package heartbeat
