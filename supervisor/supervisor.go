package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
)

// Source is where market events come from (H, or a file).
type Source interface {
	// Next returns the next event, io.EOF after the last.
	Next() (ipc.MarketEvent, error)
}

// Tee sees every market event before the strategies do; the simulated I fills from it.
type Tee interface {
	Publish(e ipc.MarketEvent) error
	// Sync returns when I has worked off everything published and offered so far.
	Sync(ctx context.Context) error
}

// Subscription says which market events an instance gets.
type Subscription func(kind ipc.EventKind, instrument ipc.InstrumentID) bool

// Member is an instance and what it subscribes to.
type Member struct {
	Instance  *Instance
	Subscribe Subscription

	started bool
	resumed uint64
}

// Resumed is the number of market events that an earlier run had delivered. Call it after Play.
func (m *Member) Resumed() uint64 { return m.resumed }

// Pace says how a feed is played.
type Pace struct {
	// Speed multiplies the feed's own time; 0 = as fast as the strategies answer, in lock step: the next event waits until everybody
	// has answered and I has judged, so that a run is reproducible to the byte.
	Speed float64
	// Live: the events are the market's own, at their own time; nobody waits for anybody, and Speed does not count.
	Live bool
	// OnEvent hears of every event, with the count so far; it must be quick. May be nil.
	OnEvent func(n uint64)
}

// Supervisor runs any number of instances; one that misbehaves costs the others nothing.
type Supervisor struct {
	Members []*Member
	Tee     Tee // may be nil
	Logger  *slog.Logger
	Live    bool // no feed comes to where the instances are: all start at once

	wg     sync.WaitGroup
	ctx    context.Context // of the instances
	routes map[route][]*Member
	nobody uint64
	ended  bool         // the feed came to its end
	feedTS atomic.Int64 // receive time of the newest event that I was given
}

type route struct {
	kind       ipc.EventKind
	instrument ipc.InstrumentID
}

// Start recovers every instance and runs, each in a goroutine of its own until Stop or ctx ends, those that have no market event behind
// them. The others start when the feed has come to where they are: what is still open from then meets the market of then.
func (s *Supervisor) Start(ctx context.Context) error {
	s.ctx, s.routes = ctx, map[route][]*Member{}
	if f, ok := s.Tee.(FeedFollower); ok && f.FollowsFeed() {
		for _, m := range s.Members {
			m.Instance.ahead.feed = &s.feedTS
		}
	}
	for _, m := range s.Members {
		if err := m.Instance.Recover(); err != nil {
			return err
		}
		if err := m.Instance.Admit(); err != nil && len(s.Members) == 1 {
			return err // with others beside it, it ends alone, and tells why
		}
	}
	for _, m := range s.Members {
		if s.Live || !m.Instance.resumes() {
			s.run(m)
		}
	}
	return nil
}

func (s *Supervisor) run(m *Member) {
	if m.started {
		return
	}
	m.started = true
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		if err := m.Instance.Run(s.ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.Logger.Error("instance ended", "instance", m.Instance.Address(), "err", err)
		}
	}()
}

// resume starts the members whose earlier run did not come to this event, and settles them before anybody sees it.
func (s *Supervisor) resume(ctx context.Context, members []*Member, event []byte, lockStep bool) error {
	for _, m := range members {
		if m.started {
			continue
		}
		place, ok, err := ipc.PeekMarket(event)
		if err != nil {
			return err
		}
		if ok && m.Instance.Delivered(place) {
			m.resumed++
			continue
		}
		if !lockStep {
			m.Instance.missedMarket() // what waited when the earlier run ended is gone
		}
		s.run(m)
		if lockStep {
			if err := m.Instance.Settle(ctx); err != nil {
				return nil // interrupted: the caller sees the context
			}
		}
	}
	return nil
}

// Play feeds the source to the instances and returns the number of events. On the feed's own error it returns it after everything before
// was played.
func (s *Supervisor) Play(ctx context.Context, source Source, pace Pace) (n uint64, err error) {
	clock := pacer{speed: pace.Speed}
	for ctx.Err() == nil && s.alive() {
		event, err := source.Next()
		if err != nil {
			s.drain(ctx)
			if errors.Is(err, io.EOF) {
				s.ended, err = true, nil
			}
			return n, err
		}
		bytes, err := ipc.AppendEvent(nil, event)
		if err != nil {
			return n, fmt.Errorf("event %d of the feed: %w", n+1, err)
		}
		h := event.Header()
		m := Market{Recv: h.RecvTS, Event: bytes, Decoded: event}
		if pace.Speed > 0 && !pace.Live {
			if err := clock.wait(ctx, h.RecvTS); err != nil {
				return n, nil
			}
		}
		if err := s.publish(ctx, event, m, pace.Speed == 0 && !pace.Live); err != nil {
			return n, err
		}
		if n++; pace.OnEvent != nil {
			pace.OnEvent(n)
		}
	}
	return n, nil
}

// drain waits until what was played has been answered (a paced feed ends while events still wait), and starts who has not started yet.
func (s *Supervisor) drain(ctx context.Context) {
	for _, m := range s.Members {
		s.run(m) // one that an earlier run brought to the end of the feed settles now what that run left open
		if m.Instance.Settle(ctx) != nil {
			return // interrupted: what waits is counted as dropped
		}
	}
}

// Unsubscribed is the number of events that no instance takes. Call it after Play.
func (s *Supervisor) Unsubscribed() uint64 { return s.nobody }

// alive reports whether at least one instance still runs.
func (s *Supervisor) alive() bool {
	for _, m := range s.Members {
		if !isGone(m.Instance) {
			return true
		}
	}
	return false
}

func (s *Supervisor) publish(ctx context.Context, event ipc.MarketEvent, m Market, lockStep bool) error {
	members := s.subscribers(route{event.Kind(), event.Header().Instrument})
	if len(members) == 0 {
		s.nobody++
	}
	if err := s.resume(ctx, members, m.Event, lockStep); err != nil {
		return err
	}
	if err := s.advance(ctx, m.Recv, lockStep); err != nil {
		return nil // interrupted: the caller sees the context
	}
	if s.Tee != nil {
		s.feedTS.Store(max(s.feedTS.Load(), int64(m.Recv)))
		if err := s.Tee.Publish(event); err != nil {
			return fmt.Errorf("giving a market event to I: %w", err)
		}
		if lockStep && s.working() {
			// Orders rest at I: the fills that this event causes come before the event itself.
			if err := s.Tee.Sync(ctx); err != nil {
				return fmt.Errorf("waiting for I: %w", err)
			}
		}
		for _, one := range s.Members {
			one.Instance.comeTo(m.Recv)
		}
	}
	for _, member := range members {
		switch p := member.Instance; {
		case !member.started:
		case !lockStep:
			p.Offer(m) // what it drops it counts, and tells
		default:
			if err := p.Publish(ctx, m); err != nil && !isGone(p) {
				return err
			}
		}
	}
	if !lockStep {
		return nil
	}
	for _, member := range members {
		if !member.started {
			continue
		}
		if err := member.Instance.Settle(ctx); err != nil {
			return nil // interrupted: the caller sees the context
		}
	}
	return nil
}

// advance fires the timers that are due before the next event, whoever subscribes to it. In lock step what they lead to is settled before I
// sees the event.
func (s *Supervisor) advance(ctx context.Context, to ipc.Nanos, lockStep bool) error {
	for _, m := range s.Members {
		due := ipc.Nanos(m.Instance.nextDue.Load())
		if !m.started || due == 0 || due > to {
			continue
		}
		m.Instance.Advance(to)
		if lockStep {
			if err := m.Instance.Settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func isGone(p *Instance) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

func (s *Supervisor) working() bool {
	for _, m := range s.Members {
		if m.Instance.working.Load() > 0 {
			return true
		}
	}
	return false
}

// subscribers are found once for every kind and instrument that turns up.
func (s *Supervisor) subscribers(r route) []*Member {
	members, known := s.routes[r]
	if !known {
		for _, m := range s.Members {
			if m.Subscribe(r.kind, r.instrument) {
				members = append(members, m)
			}
		}
		s.routes[r] = members
	}
	return members
}

// Stop stops every instance in order and waits for them.
func (s *Supervisor) Stop() {
	reason := ipc.ReasonShutdownRequested
	if s.ended {
		reason = ipc.ReasonFeedEnded
	}
	for _, m := range s.Members {
		if m.started { // else the feed never came to where it is: it has nothing to stop
			m.Instance.stopFor(reason)
		}
	}
	s.wg.Wait()
}

// pacer plays a feed at a multiple of its own time.
type pacer struct {
	speed float64
	base  time.Time
	first ipc.Nanos
}

func (c *pacer) wait(ctx context.Context, recv ipc.Nanos) error {
	if c.base.IsZero() {
		c.base, c.first = time.Now(), recv
		return nil
	}
	due := c.base.Add(time.Duration(float64(recv-c.first) / c.speed))
	sleep := time.Until(due)
	if sleep <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(sleep)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
