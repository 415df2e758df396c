package heartbeat

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// freeze stops this whole process for a while.
func freeze(t *testing.T, d time.Duration) {
	t.Helper()
	line := fmt.Sprintf("kill -STOP %d; sleep %f; kill -CONT %[1]d", os.Getpid(), d.Seconds())
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A stall of the whole process shows; what comes once is forgiven, what comes again is not.
//
// Proves: NN-2, DOD-2
func TestStallsShow(t *testing.T) {
	n := 0
	frozen := func(until int) func() {
		n = 0
		return func() {
			if n++; n <= until {
				freeze(t, 2*MaxLateness)
			}
		}
	}
	if late, err := Within(5, frozen(1)); err != nil || n < 2 || late > MaxLateness {
		t.Errorf("%d tries, late by %s, %v", n, late, err)
	}
	if late, err := Within(3, frozen(3)); err == nil || n != 3 || late <= MaxLateness {
		t.Errorf("%d tries, late by %s, %v", n, late, err)
	}
}
