// Package owned keeps files that say whether their owner is alive.
//
// What it is: a file that a process holds under an flock for as long as it lives. The kernel lets go of the lock when the process
// ends, however it ends, so that a file which can be locked belongs to nobody, and no number (a pid, a time) needs to be believed.
// The sandboxes write what they started into such files; whoever starts next reaps what the files of the dead name.
//
// What is guaranteed: a file has its name only while its maker holds it, from the first moment on. What a maker that dies on the way
// leaves behind ends in Suffix, and a reaper that meets the unfinished file of a living maker costs the maker another try, no more.
//
// What you may not assume: that flock works over a network file system; the runtime directory is on a local one.
//
// How to test against it: Create in a child process, kill it, Take.
package owned
