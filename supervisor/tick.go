package supervisor

import (
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// followsFeed reports whether time stands still while the feed does.
func (p *Instance) followsFeed() bool {
	f, ok := p.cfg.Clock.(FeedFollower)
	return ok && f.FollowsFeed()
}

// due is when the instance has something to do although no event comes: a timer, or the core's deadline. 0 = nothing. In a feed run both are
// times of the feed.
func (p *Instance) due() ipc.Nanos {
	timer, _ := p.state.NextTimer()
	deadline, ok := p.deadline()
	if !ok || !p.followsFeed() || timer.DueTS != 0 && timer.DueTS <= deadline {
		return timer.DueTS
	}
	return deadline
}

// deadline is the core's. Where nothing leaves, no intent is overdue either; a compute result can be.
func (p *Instance) deadline() (ipc.Nanos, bool) {
	stale, any := p.staleDue()
	if p.cfg.Sink == nil {
		return stale, any
	}
	if d, ok := p.state.Deadline(); ok && (!any || d < stale) {
		return d, true
	}
	return stale, any
}

// tickDue reports whether the core's deadline has come: by the clock, or, where the clock is the feed's, because the feed has come to it and
// no timer is due before.
func (p *Instance) tickDue() bool {
	deadline, ok := p.deadline()
	if !ok {
		return false
	}
	if _, now := p.cfg.Clock.Now(0); now >= deadline {
		return true
	}
	return p.followsFeed() && p.advanced >= deadline && p.due() == deadline
}

// tick lets the core's time pass when nothing else does.
func (p *Instance) tick() error {
	deadline, _ := p.deadline()
	recv := ipc.Nanos(0)
	if p.followsFeed() {
		recv = deadline
	}
	processed, now := p.cfg.Clock.Now(recv)
	return p.apply(&core.Tick{At: core.At{CoreTS: max(now, deadline)}, WallTS: processed})
}

// firesTimers reports whether timers are due by the clock.
func (p *Instance) firesTimers() bool {
	c, ok := p.cfg.Clock.(LiveTimer)
	return ok && c.FiresTimers()
}

// untilTimer is how long the strategy's next timer is away; in a feed run the feed says when it has come.
func (p *Instance) untilTimer() (time.Duration, bool) {
	if !p.firesTimers() || p.stopping || p.state.Halted != "" || p.holdsBack() { // who waits for I is woken by its word, not by what is due meanwhile
		return forever, false
	}
	t, ok := p.state.NextTimer()
	if !ok {
		return forever, false
	}
	now, _ := p.cfg.Clock.Now(0)
	return max(0, time.Duration(t.DueTS-now)), true
}

// untilTick is how long the core's deadline is away; in a feed run the feed says when it has come.
func (p *Instance) untilTick() (time.Duration, bool) {
	deadline, ok := p.deadline()
	if !ok || p.followsFeed() {
		return forever, false
	}
	_, now := p.cfg.Clock.Now(0)
	return max(0, time.Duration(deadline-now)), true
}

// ask puts a staged intent before J or E. Where that fails the intent expires: an approval that does not come is none.
func (p *Instance) ask(t *trackedIntent) {
	r := &ipc.ApprovalRequest{Address: p.cfg.Address, Epoch: p.state.Epoch, Step: t.Step, Ordinal: t.Ordinal, Digest: t.Digest,
		ValidUntil: t.ValidWall, Intent: t.Intent}
	if err := p.cfg.Approver.Request(r); err != nil {
		p.log.Warn("asking for an approval failed; the intent expires", "reason", ipc.ReasonApprovalTimeout, "key", t.Key, "step", t.Step, "err", err)
	}
}

// askAgain puts the intents that were staged before a restart before J or E: nobody knows whether the earlier question arrived.
func (p *Instance) askAgain() error {
	if p.cfg.Sink == nil || !p.state.Book().Unasked() {
		return nil
	}
	processed, now := p.cfg.Clock.Now(0)
	return p.apply(&core.Release{At: core.At{CoreTS: now}, Upto: p.cfg.Ledger.LastInput(), WallTS: processed})
}
