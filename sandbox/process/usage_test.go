package process

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
)

// Where no control group counts, what the kernel keeps of an ended process gives its processor time, and nothing of its memory: the largest
// resident set of a small program that a large one starts is that of the large one.
//
// Proves: SB-2, SB-8
func TestWithoutAControlGroupThePeakOfMemoryIsUnknown(t *testing.T) {
	ballast := make([]byte, 64<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	c := exec.Command("true")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if ru, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.Logf("the kernel calls the largest resident set of true %d KiB, beside %d KiB of ballast here", ru.Maxrss, len(ballast)>>10)
	}
	if u := withoutGroup(sandbox.UnknownUsage(), c.ProcessState); u.MemoryPeakBytes != -1 || u.CPU < 0 || u.CPU > time.Minute {
		t.Errorf("without a group it used %+v", u)
	}
	counted := sandbox.Usage{CPU: time.Second, MemoryPeakBytes: 5 << 20}
	if u := withoutGroup(counted, c.ProcessState); u != counted {
		t.Errorf("what a group counted became %+v", u)
	}
	if u := withoutGroup(sandbox.UnknownUsage(), nil); u != sandbox.UnknownUsage() {
		t.Errorf("of a process that nobody saw end: %+v", u)
	}
}
