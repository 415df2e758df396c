// Package guard turns what happens to an instance into reasons to trade less.
//
// A guard watches one thing in a window of core_ts and says how bad it is: a [Ladder] counts outcomes of one kind (late, faulted, killed
// answers; violations of one [Kind] of limit) and climbs warn → degrade → halt (SB-7, CB-1). A [Meter] measures a window of real time against
// an [Objective] and says which promise it broke (LN-6); broken promises climb a ladder as well (LN-7).
//
// What is guaranteed: a guard is a pure value. Its verdict is a function of the observations it was given; it has no clock and no
// goroutine, so replaying the log gives the same transitions. What only a live run can measure (a Meter's findings, what a sandbox counts) is
// an input of the log itself. Counting is exact: at most the rule's count within any window, not within calendar periods.
//
// What you may not assume: that a guard acts. It only answers with a [Level]; imposing and releasing restrictions is the core's.
package guard
