package supervisor

import (
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/guard"
)

// Pauses between attempts to bring a runner up that something outside takes away.
const (
	bringUpFirst = 10 * time.Millisecond
	bringUpMost  = time.Second
)

// freeLosses bounds them where the instance has no ceiling of restarts.
const freeLosses = 5

// bringUp remembers the runners that were lost while they were brought up. It is no state of the core: no step has begun, and the times are
// the machine's.
type bringUp struct {
	losses guard.Ladder
	next   time.Time     // not before
	pause  time.Duration // before the last attempt
}

// bringsUpAgain decides whether a runner that was lost while it was brought up is followed by another. A signal that nobody here sent (an
// operator's kill, the host short of memory), or an engine that was lost, may strike a runner that is only starting; that alone is no reason to halt. One
// that dies of its own doing dies as often: the ceiling of restarts ends it. The pump waits between two, so that a halt or stop is not kept waiting.
func (p *Instance) bringsUpAgain(err error) bool {
	if !p.signaled(err) {
		return false
	}
	rule := guard.Rule{Window: ipc.Nanos(time.Hour), Halt: freeLosses}
	if kills := p.cfg.Params.Kills; kills.Halt > 0 {
		rule = kills
	}
	now := time.Now()
	if p.bringUp.losses.Observe(rule, ipc.Nanos(now.UnixNano())) == guard.Halt {
		return false
	}
	p.bringUp.pause = min(max(2*p.bringUp.pause, bringUpFirst), bringUpMost)
	p.bringUp.next = now.Add(p.bringUp.pause)
	p.restart = ipc.ReasonRunnerSignaled
	p.log.Warn("runner lost while it was brought up; trying again", "reason", ipc.ReasonRunnerSignaled, "retry_in", p.bringUp.pause, "err", err)
	return true
}
