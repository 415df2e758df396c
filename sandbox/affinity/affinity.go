// Package affinity leaves processors to the low-latency lane (LN-1, NN-4).
//
// Weights give the compute lane what nobody else wants, but an event that finds a compute runner on its processor waits for a switch, and for
// what that runner just does in the kernel. Where there are processors enough, runners of the compute lane stay away from a quarter of them.
//
// # What is guaranteed
//
//   - With fewer than [Enough] processors (those that this process may use: a container's, a taskset's) nobody is confined.
//   - Low-latency runners and the supervisor are never confined: they may use all processors, also those of the compute lane.
//   - A confined runner cannot free itself: sched_setaffinity is refused inside.
//
// # What you may not assume
//
//   - That the left processors are idle: what else runs on the host may use them.
//   - That a set follows a processor that is taken away later; the kernel then gives the runner what there is.
//
// # How to use and test it
//
// A start on a thread whose affinity is [ForCompute]'s confines the process; [Confine] does it for one that is there. Tests say from how many
// processors on, so that two suffice.
package affinity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Enough is how many processors there must be for some to be left out.
const Enough = 4

// ForCompute is the set of processors for the compute lane, of those that this thread may use; nil where nobody is confined. enough is from how
// many on; 0 means [Enough].
func ForCompute(enough int) (*unix.CPUSet, error) {
	if enough == 0 {
		enough = Enough
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read which processors may be used: %w", err)
	}
	return without(all, enough), nil
}

// without leaves out the first quarter.
func without(all unix.CPUSet, enough int) *unix.CPUSet {
	n := all.Count()
	if n < max(2, enough) {
		return nil
	}
	left := max(1, n/4)
	for cpu := 0; left > 0; cpu++ {
		if all.IsSet(cpu) {
			all.Clear(cpu)
			left--
		}
	}
	return &all
}

// Confine keeps every thread of a process to a set; nil confines nobody.
func Confine(pid int, set *unix.CPUSet) error {
	if set == nil {
		return nil
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
	threads, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the threads of process %d: %w", pid, err)
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("list the threads of process %d: %w", pid, err)
		}
		if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) { // a thread that has ended since
			return fmt.Errorf("keep process %d to the compute lane's processors: %w", pid, err)
		}
	}
	return nil
}
