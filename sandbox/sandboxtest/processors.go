package sandboxtest

import (
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// LeavesProcessors proves that a sandbox that was told to leave processors from two on does so: a low-latency runner may use all that this
// process may, one of the compute lane fewer, and none that is not among them. The program waits to be killed.
func LeavesProcessors(t *testing.T, box sandbox.Sandbox, spec sandbox.Spec) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for lane, want := range map[ipc.Lane]int{ipc.LaneLL: all.Count(), ipc.LaneCompute: all.Count() - max(1, all.Count()/4)} {
		spec.Address, spec.Lane, spec.NeedSocket = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, lane, true
		r, err := box.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		var its unix.CPUSet
		if err := unix.SchedGetaffinity(r.PID(), &its); err != nil {
			t.Error(err)
		}
		if its.Count() != max(1, want) {
			t.Errorf("in lane %s it may use %d of %d processors, want %d", lane, its.Count(), all.Count(), want)
		}
		for cpu := range 1024 {
			if its.IsSet(cpu) && !all.IsSet(cpu) {
				t.Errorf("in lane %s it may use processor %d, which nobody here may", lane, cpu)
			}
		}
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
	}
}
