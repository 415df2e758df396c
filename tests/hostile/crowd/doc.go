// Package crowd keeps many idle instances on one machine and looks at what they cost: memory and processor time of each, the supervisor's
// share, descriptors, and that all of them stop and leave nothing.
//
// What is guaranteed by a pass: every instance started and answered, again after all others were there; an idle one stays within its bounds;
// after the end the supervisor has as many descriptors and goroutines as before, and no runner is left.
//
// What you may not assume: start times. They are printed, and mean something on a quiet machine only.
package crowd
