package supervisor

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/mailbox"
)

// DefaultStall is how long events may wait without any being finished.
const DefaultStall = 10 * time.Second

// heldByProgress names the restriction of an instance that does not go on.
const heldByProgress = "progress"

// progress says when the instance last went on. Health is judged by it, never by a heartbeat alone: a runner that answers healthchecks, or a pump
// that turns, may process nothing all the same.
type progress struct {
	finished atomic.Int64 // the last step: wall nanoseconds
	open     atomic.Bool  // a delivery awaits its answer
	stalled  atomic.Bool
	since    time.Time // the watcher's: something has been waiting
	looked   time.Time // the watcher's
	seen     int64     // the watcher's: finished when it last looked
}

// Progress is how far an instance is, for metrics and summaries, at any time from any goroutine.
type Progress struct {
	LastStep time.Time // when the last step was finished; zero = none in this run
	Waiting  int       // market deliveries
	Stalled  bool      // something waits, and nothing was finished for InstanceConfig.Stall
}

// Follower is an Observer that wants to ask for progress at any time, from any goroutine.
type Follower interface {
	Follow(a ipc.Address, ask func() Progress)
}

func (p *Instance) stallAfter() time.Duration { return cmp.Or(p.cfg.Stall, DefaultStall) }

// Progress returns how far the instance is.
func (p *Instance) Progress() Progress {
	made := Progress{Waiting: p.box.Depth(), Stalled: p.progress.stalled.Load()}
	if at := p.progress.finished.Load(); at != 0 {
		made.LastStep = time.Unix(0, at)
	}
	return made
}

// watchProgress looks whether something waits and nothing is finished. A feed in lock step waits for its I for as long as that takes, and a run in
// which I comes back must not differ from one without the pause: there it is only told.
func (p *Instance) watchProgress(now time.Time) {
	g := &p.progress
	finished := g.finished.Load()
	waits := g.open.Load() || p.box.Depth() > 0
	// Who has not looked for long, because the whole machine or this process stood still, has seen no stall.
	if !waits || finished != g.seen || now.Sub(g.looked) > p.stallAfter()/2 {
		g.since, g.seen = now, finished
	}
	g.looked = now
	stalled := waits && now.Sub(g.since) >= p.stallAfter()
	if stalled == g.stalled.Load() {
		return
	}
	g.stalled.Store(stalled)
	if stalled {
		p.log.Error("events wait and none is finished", "reason", ipc.ReasonNoProgress, "waiting", p.box.Depth(), "delivered", g.open.Load(), "for", now.Sub(g.since))
	} else {
		p.log.Info("the instance goes on", "waiting", p.box.Depth())
	}
	if !p.cfg.LockStep {
		p.box.PutUrgent(mailbox.Safety, noProgress(stalled))
	}
}

func noProgress(stalled bool) urgent {
	return urgent{input: &core.Guard{Lift: !stalled, Held: gate.Held{ID: heldByProgress, Origin: gate.OriginSLO, Restriction: gate.NoTrade(),
		Reason: ipc.ReasonNoProgress, Release: gate.ReleaseCondition}}}
}

// agreeOnProgress brings the restriction of the log in line with what this process sees.
func (p *Instance) agreeOnProgress() error {
	held := slices.ContainsFunc(p.state.Held, func(h gate.Held) bool { return h.ID == heldByProgress })
	if stalled := p.progress.stalled.Load() && !p.cfg.LockStep; stalled != held {
		return p.apply(p.stamp(noProgress(stalled).input))
	}
	return nil
}
