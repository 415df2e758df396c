package supervisor

import (
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// Processed time never decreases, core time follows the boot-time clock and goes on after a restart, and a set wall clock is flagged and moves
// nothing but processed time.
// Proves: BC-F, DQ-3
func TestTheWallClockThroughJumps(t *testing.T) {
	wall, boot := ipc.Nanos(1_000e9), ipc.Nanos(50e9)
	var jumps []time.Duration
	c := &WallClock{Jumped: func(by time.Duration) { jumps = append(jumps, by) }, wall: func() ipc.Nanos { return wall }, boot: func() ipc.Nanos { return boot }}
	c.Continue(900e9, 7e9)
	expect := func(processed, core ipc.Nanos, jumped int) {
		t.Helper()
		if p, k := c.Now(0); p != processed || k != core || len(jumps) != jumped {
			t.Fatalf("processed %d, core %d, jumps %v; want %d, %d, %d", p, k, jumps, processed, core, jumped)
		}
	}
	expect(1_000e9, 7e9, 0)
	wall, boot = wall+2e9, boot+2e9
	expect(1_002e9, 9e9, 0)
	wall, boot = wall-600e9, boot+1e9 // set back by ten minutes
	expect(1_002e9, 10e9, 1)
	wall, boot = wall+1e9, boot+1e9
	expect(1_002e9, 11e9, 1)
	wall, boot = wall+3600e9, boot+1e9 // set on by an hour: ten cooldowns do not lapse
	expect(4_003e9, 12e9, 2)
	wall, boot = wall+60e9, boot+60e9 // a suspended machine is no jump
	expect(4_063e9, 72e9, 2)
	if jumps[0] > -600*time.Second || jumps[1] < 3500*time.Second {
		t.Errorf("jumps %v", jumps)
	}
}

// The real clocks run.
// Proves: BC-F
func TestTheWallClockRuns(t *testing.T) {
	c := &WallClock{}
	p0, k0 := c.Now(0)
	time.Sleep(5 * time.Millisecond)
	p1, k1 := c.Now(0)
	if p1-p0 < 4e6 || k1-k0 < 4e6 || k0 != 0 {
		t.Errorf("processed %d → %d, core %d → %d", p0, p1, k0, k1)
	}
}
