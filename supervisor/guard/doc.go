// Package guard turns what happens to an instance into reasons to trade less.
//
// A guard watches one thing in a window of core_ts and says how bad it is: a [Ladder] counts outcomes of one kind (late, faulted, killed
// answers) and climbs warn → degrade → halt (SB-7, CB-1).
//
// What is guaranteed: a guard is a pure value. Its verdict is a function of the observations it was given; it has no clock and no
// goroutine, so replaying the log gives the same transitions. Counting is exact: at most the rule's count within any window, not within
// calendar periods.
//
// What you may not assume: that a guard acts. It only answers with a [Level]; imposing and releasing restrictions is the core's.
package guard
