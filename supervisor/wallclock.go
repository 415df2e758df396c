package supervisor

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// clockJump is how far the wall clock may run from the boot-time clock between two looks before that is a jump: NTP slews at most 0.5 ms a
// second.
const clockJump = 500 * time.Millisecond

// continuing is a Clock that goes on where an earlier process stood.
type continuing interface {
	Continue(processed, core ipc.Nanos)
}

// LiveTimer is a Clock by which the strategy's timers fire although no event comes; with any other they fire when the market has come to them.
type LiveTimer interface{ FiresTimers() bool }

// FiresTimers reports true.
func (c *WallClock) FiresTimers() bool { return true }

// WallClock is the Clock of live runs. Processed time is the wall clock, which may be set: it never decreases here, so it stands still while the
// wall clock catches up. Core time is the boot-time clock, which nobody sets and which counts a suspended machine; it goes on from
// where the ledger ends. While no supervisor runs it stands still: a cooldown is not shortened by being down. Each instance has its own.
type WallClock struct {
	// Jumped hears of every jump of the wall clock (DQ-3), with its size; nil = nobody. It must not call back.
	Jumped func(by time.Duration)

	wall func() ipc.Nanos // for tests
	boot func() ipc.Nanos

	mu              sync.Mutex
	processed, core ipc.Nanos
	lastWall        ipc.Nanos
	lastBoot        ipc.Nanos
	began           bool
}

// Continue sets what neither time may fall below.
func (c *WallClock) Continue(processed, core ipc.Nanos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processed, c.core = max(c.processed, processed), max(c.core, core)
}

// Now returns both times; when the event was received does not matter.
func (c *WallClock) Now(ipc.Nanos) (processed, core ipc.Nanos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wall == nil {
		c.wall, c.boot = wallNow, bootNow
	}
	wall, boot := c.wall(), c.boot()
	if c.began {
		elapsed := max(0, boot-c.lastBoot)
		c.core += elapsed
		if by := time.Duration(wall - c.lastWall - elapsed); (by > clockJump || by < -clockJump) && c.Jumped != nil {
			c.Jumped(by)
		}
	}
	c.began, c.lastWall, c.lastBoot = true, wall, boot
	c.processed = max(c.processed, wall)
	return c.processed, c.core
}

func wallNow() ipc.Nanos { return ipc.Nanos(time.Now().UnixNano()) }

// bootNow is CLOCK_BOOTTIME.
func bootNow() ipc.Nanos {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		// Every Linux since 2.6.39 has it; a seccomp profile that forbids it is a defect of how msup is started.
		panic("the boot-time clock cannot be read: " + err.Error())
	}
	return ipc.Nanos(t.Nano())
}
