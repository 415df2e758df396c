package supervisor

import "time"

// Waits between two requests for a snapshot while positions are unknown.
const (
	snapshotFirst = 250 * time.Millisecond
	snapshotMost  = 10 * time.Second
)

// positionsUnknown reports whether only a snapshot of I helps. Else the next request, if one is needed, is an early one again.
func (p *Instance) positionsUnknown() bool {
	if p.cfg.Sink != nil && p.state.Book().Unknown() != "" {
		if p.sink.blind.IsZero() {
			p.sink.blind = time.Now()
		}
		return true
	}
	p.sink.blind = time.Time{}
	if !p.sink.comparing {
		p.snapshotWait, p.snapshotNext = 0, time.Time{}
	}
	return false
}

// requestSnapshot asks I for positions and open orders (BC-I). The answer may get lost, or be older than a report that was taken: it is asked
// for again, ever more slowly, until positions are known.
func (p *Instance) requestSnapshot() {
	if p.cfg.Sink == nil || p.sink.state == sinkAway || p.sink.state == sinkAsking {
		p.snapshotNext = time.Now().Add(snapshotFirst) // there is nobody to ask yet
		return
	}
	p.snapshotWait = min(max(2*p.snapshotWait, snapshotFirst), snapshotMost)
	p.snapshotNext = time.Now().Add(p.snapshotWait)
	// The reports themselves come first, where I still has them: the strategy must see every fill.
	if mine := p.state.SinkCursor(); mine.Seq > 0 {
		if err := p.cfg.Sink.Resume(p.cfg.Address, mine); err != nil {
			p.log.Warn("asking I for missing reports failed; trying again", "err", err, "retry_in", p.snapshotWait)
		}
	}
	if err := p.cfg.Sink.RequestSnapshot(p.cfg.Address); err != nil {
		p.log.Warn("asking I for a snapshot failed; trying again", "reason", p.state.Book().Unknown(), "err", err, "retry_in", p.snapshotWait)
	}
}
