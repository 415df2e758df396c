package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/mailbox"
)

// lookEvery is how often a pump that is never idle looks whether I is overdue.
const lookEvery = 50 * time.Millisecond

// awaited is the oldest intent that may have left and has not had I's final word; nil = none.
func (p *Instance) awaited() *trackedIntent {
	for _, t := range p.state.Book().All() {
		if t.Status < ipc.StatusCommitted && !(t.Status == ipc.StatusStaged && t.Asked) {
			return t
		}
	}
	return nil
}

// watchSink restricts an instance whose I has been away, or silent about an intent, for longer than its patience; asks I again; and frees
// the instance when I has spoken (BC-I). Nobody waits for I without end.
func (p *Instance) watchSink(ctx context.Context) (acted bool, err error) {
	k := &p.sink
	now := time.Now()
	if !k.lag.IsZero() && (!now.Before(k.lag) || !p.behind()) {
		return true, p.live()
	}
	if p.cfg.Sink == nil || now.Sub(k.looked) < lookEvery && now.After(k.looked) && !p.sinkOverdue(now) {
		return false, nil
	}
	k.looked = now
	t := p.awaited()
	if t == nil {
		k.oldest, k.pause = "", 0
	} else if t.Key != k.oldest {
		k.oldest, k.waiting, k.asked, k.pause = t.Key, now, now, snapshotFirst
	}
	switch {
	case k.state == sinkBarred:
		return false, nil
	case !k.held && p.sinkOverdue(now):
		reason := ipc.ReasonSinkUnavailable
		if k.state == sinkLive {
			reason = ipc.ReasonPositionUnknown
		}
		p.log.Warn("I is silent for too long; going on restricted", "reason", reason, "key", k.oldest, "err", k.cause)
		return true, p.restrictSink(reason)
	case k.held && k.state == sinkLive && !p.sinkOverdue(now):
		return true, p.freeSink()
	case k.state == sinkLive && t != nil && t.Status == ipc.StatusOffered && now.Sub(k.asked) >= k.pause:
		k.asked, k.pause = now, min(2*k.pause, snapshotMost)
		p.query(ctx, t.Key)
	}
	return false, nil
}

// sinkOverdue reports whether I has been away, or silent about the oldest undecided intent, for too long.
func (p *Instance) sinkOverdue(now time.Time) bool {
	k := &p.sink
	if k.state == sinkLive {
		return k.oldest != "" && now.Sub(k.waiting) >= p.patience()
	}
	return now.Sub(k.since) >= p.patience()
}

// query asks about one intent again. An I that does not have it has lost or refused the offer: then everything is asked anew.
func (p *Instance) query(ctx context.Context, key ipc.Key) {
	sink, address, epoch, round := p.cfg.Sink, p.cfg.Address, p.state.Epoch, p.sink.round
	if p.asking.Swap(true) {
		return
	}
	p.talks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, p.patience())
		defer cancel()
		r, err := sink.Query(ctx, ipc.Query{Address: address, Epoch: epoch, Key: key})
		p.asking.Store(false)
		switch {
		case err != nil && ctx.Err() == nil:
			p.SinkLost(fmt.Errorf("asking I for key %s: %w", key, err))
		case err != nil:
			p.log.Warn("I does not say what became of an intent", "reason", ipc.ReasonSinkUnavailable, "key", key, "err", err)
		case r.Status == ipc.StatusOffered: // it does not know yet
		case r.Status == ipc.StatusNotSeen:
			p.SinkLost(fmt.Errorf("key %s was offered, and I does not have it", key))
		default:
			p.later(mailbox.Execution, func() error {
				if t, ok := p.state.Book().Lookup(key); round != p.sink.round || !ok || t.Status == r.Status {
					return nil // I has said so itself meanwhile
				}
				return p.apply(p.stamp(&core.Status{Key: r.Key, Status: r.Status, Digest: r.Digest, Reason: r.Reason}))
			})
		}
	})
}

// holdsBack reports whether deliveries wait for I: until it has answered once; and in lock step, until it has judged everything, or its time is
// over.
func (p *Instance) holdsBack() bool {
	k := &p.sink
	if p.cfg.Sink == nil || k.state == sinkBarred {
		return false
	}
	if !k.greeted {
		return true
	}
	return p.cfg.LockStep && (!k.held && (k.state != sinkLive || p.undecided()) || p.isBlind())
}

// isBlind reports whether positions are unknown and I may still say in time what they are.
func (p *Instance) isBlind() bool {
	return p.sink.state == sinkLive && p.state.Book().Unknown() != "" && !p.sink.blind.IsZero() && time.Since(p.sink.blind) < p.patience()
}

// awaitsI reports whether the instance is not at rest because of I.
func (p *Instance) awaitsI() bool {
	k := &p.sink
	switch {
	case p.cfg.Sink == nil, k.state == sinkBarred:
		return false
	case p.cfg.LockStep && !p.stopping && p.isBlind():
		return true
	case k.held && k.greeted && !p.stopping:
		return false
	case p.stopping && time.Since(p.stopSince) >= p.patience():
		return false
	case p.stopping:
		return p.undecided() || k.state == sinkAsking && !k.greeted
	}
	return !k.greeted || p.undecided() || p.cfg.LockStep && k.state != sinkLive
}

// untilSink is how long the next thing to do about I is away.
func (p *Instance) untilSink() (time.Duration, bool) {
	k := &p.sink
	if p.cfg.Sink == nil || k.state == sinkBarred {
		return forever, false
	}
	now, least := time.Now(), forever
	if k.state == sinkAway {
		least = min(least, k.next.Sub(now))
	}
	if !k.lag.IsZero() {
		least = min(least, k.lag.Sub(now))
	}
	if k.state != sinkLive && !k.held {
		least = min(least, k.since.Add(p.patience()).Sub(now))
	}
	if k.state == sinkLive && p.awaited() != nil {
		least = min(least, max(lookEvery, k.asked.Add(k.pause).Sub(now)))
	}
	if p.stopping {
		least = min(least, max(lookEvery, p.stopSince.Add(p.patience()).Sub(now)))
	}
	return max(0, least), least < forever
}

// agrees compares, before the instance ends, how far reports were taken and the positions with what I has: a report that was lost on the way
// would else be seen only by the next run. It reports true when they agree, or when I cannot be asked, or its time is over.
func (p *Instance) agrees() bool {
	k := &p.sink
	if p.cfg.Sink == nil || !k.names || k.state != sinkLive || k.compared {
		return true
	}
	if time.Since(p.stopSince) >= p.patience() {
		p.log.Error("I did not confirm positions before the stop; the next start asks again", "reason", ipc.ReasonPositionUnknown)
		p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: ipc.ReasonPositionUnknown, Level: guard.Warn, Detail: "not confirmed at the stop"})
		k.compared = true
		return true
	}
	if !k.comparing || !time.Now().Before(p.snapshotNext) {
		if !k.comparing {
			k.comparing, p.snapshotWait = true, 0
		}
		p.requestSnapshot()
	}
	return false
}

// confirms reports whether a snapshot says nothing but what is known: it need not become an input.
func (p *Instance) confirms(c ipc.Cursor, s *ipc.ExecutionSnapshot) bool {
	mine := p.state.SinkCursor()
	if mine.Seq == 0 && mine.Epoch == 0 {
		mine = ipc.Cursor{Source: c.Source, Epoch: c.Epoch}
	}
	if c != mine || s.Cursor != c || p.state.Book().Unknown() != "" {
		return false
	}
	rows := slices.DeleteFunc(slices.Clone(s.Positions), func(r ipc.PositionRow) bool { return r.Quantity.IsZero() })
	slices.SortFunc(rows, func(a, b ipc.PositionRow) int { return cmp.Compare(a.Instrument, b.Instrument) })
	return slices.EqualFunc(rows, p.state.Book().Positions(), func(a, b ipc.PositionRow) bool {
		return a.Instrument == b.Instrument && a.Quantity.Cmp(b.Quantity) == 0
	})
}
