package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// placement says on which processors the two ends of a session run: which ones decides more about a round trip than all code does.
type placement struct {
	name       string
	supervisor int
	runner     int
}

// placements are all that this machine allows.
func placements(cpus []int) []placement {
	list := []placement{{name: "one cpu", supervisor: cpus[0], runner: cpus[0]}}
	if len(cpus) > 1 {
		list = append(list, placement{name: "two cpus", supervisor: cpus[0], runner: cpus[1]})
	}
	return list
}

// allowedCPUs returns the processors that this process may use.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking for the allowed processors: %w", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// pin moves every thread of a process to the given processors; pid 0 is this one. Threads that appear while it works are found by
// looking again: a new thread has the mask of the one that made it.
func pin(pid int, cpus ...int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if pid == 0 {
		pid = os.Getpid()
	}
	done := []int{}
	for {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("pinning process %d: %w", pid, err)
		}
		fresh := false
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || slices.Contains(done, tid) {
				continue
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pinning thread %d of process %d to processors %v: %w", tid, pid, cpus, err)
			}
			done, fresh = append(done, tid), true
		}
		if !fresh {
			return nil
		}
	}
}

// pinSupervisor pins this process to one processor, with the scheduler that Go has there; the returned function undoes it.
func pinSupervisor(cpu int, all []int) (undo func() error, err error) {
	if err := pin(0, cpu); err != nil {
		return nil, err
	}
	before := runtime.GOMAXPROCS(1)
	return func() error {
		runtime.GOMAXPROCS(before)
		return pin(0, all...)
	}, nil
}
