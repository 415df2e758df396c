package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/mailbox"
)

// DefaultPatience is how long I may be away, or silent about an intent, before an instance goes on without it, restricted.
const DefaultPatience = 10 * time.Second

// errSinkSilent ends a start: I was reached, and never said welcome.
var errSinkSilent = errors.New("no answer from I")

// sinkState says how an instance stands with I.
type sinkState uint8

const (
	sinkAway   sinkState = iota // not announced: nothing is offered
	sinkAsking                  // hello was said; I is asked about what is open
	sinkLive                    // offers pass
	sinkBarred                  // I may not be offered anything in this run; its reports are still taken
)

// sink is the pump's view of its connection to I.
type sink struct {
	state   sinkState
	greeted bool      // I has answered in this run
	names   bool      // its welcome named a cursor, so it can be compared with
	round   uint64    // of asking; what an earlier round answers is dropped
	since   time.Time // it became away
	next    time.Time // not asked before
	wait    time.Duration
	lived   time.Time // it became live
	cause   error
	made    ipc.Cursor // the last report that I has made, by its welcome
	lag     time.Time  // until when reports that are not here yet are awaited, before anything is offered
	held    bool       // the restriction is imposed
	owed    bool       // something became durable meanwhile: a release is owed

	oldest  ipc.Key // of the undecided intents
	waiting time.Time
	asked   time.Time // I was asked about it again
	pause   time.Duration
	looked  time.Time

	blind time.Time // positions became unknown

	comparing bool // at the stop: M's cursor and positions with I's
	compared  bool
}

// SinkLost tells that the connection to I has ended, or that an offer did not leave: nothing more is offered until I has been asked what it
// has.
func (p *Instance) SinkLost(cause error) {
	p.later(mailbox.Execution, func() error { return p.sinkLost(cause) })
}

// SinkRefused gives I's unasked refusal to the instance.
func (p *Instance) SinkRefused(r *ipc.Refused) {
	p.later(mailbox.Execution, func() error { return p.sinkRefused(r) })
}

// later runs something on the pump's goroutine.
func (p *Instance) later(c mailbox.Class, then func() error) {
	p.box.PutUrgent(c, urgent{then: then})
}

func (p *Instance) patience() time.Duration { return cmp.Or(p.cfg.Patience, DefaultPatience) }

// sinkLost goes back to asking. What had been offered has reached I or not: only I can say (GT-6).
func (p *Instance) sinkLost(cause error) error {
	k := &p.sink
	if p.cfg.Sink == nil || k.state != sinkLive && k.lag.IsZero() {
		return nil // it is being asked already
	}
	k.lag = time.Time{}
	now := time.Now()
	if now.Sub(k.lived) > retryMost {
		k.wait = 0
	}
	k.state, k.since, k.next, k.cause = sinkAway, now, now.Add(k.wait), cause
	k.wait = min(max(2*k.wait, retryFirst), retryMost)
	k.compared, k.comparing = false, false
	p.log.Warn("I is away; nothing is offered until it has been asked", "reason", ipc.ReasonSinkUnavailable, "err", cause)
	p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: ipc.ReasonSinkUnavailable, Level: guard.Degrade, Detail: fmt.Sprint(cause)})
	if err := p.reask(); err != nil {
		return err
	}
	if p.cfg.LockStep { // nothing is delivered meanwhile; a run in which I comes back in time is the same as one without the pause
		return nil
	}
	return p.restrictSink(ipc.ReasonSinkUnavailable)
}

// reask marks what was offered as open.
func (p *Instance) reask() error {
	if !slices.ContainsFunc(p.state.Book().All(), func(t *trackedIntent) bool { return t.Status == ipc.StatusOffered && !t.Unsettled }) {
		return nil
	}
	return p.apply(p.stamp(&core.Command{Op: core.OpReask, Who: "supervisor", Reason: ipc.ReasonSinkUnavailable, Restriction: unrestricted}))
}

// sinkRefused judges a refusal that nobody waited for. Only the answer to a hello ends anything: a refusal may be older than the epoch, or untrue.
func (p *Instance) sinkRefused(r *ipc.Refused) error {
	switch r.Reason {
	case ipc.ReasonEpochPassed, ipc.ReasonSecondOwner:
		if r.Epoch < p.state.Epoch {
			p.log.Warn("I refuses this instance for an epoch below its own; that is ignored", "reason", r.Reason, "i_epoch", r.Epoch, "epoch", p.state.Epoch)
			return nil
		}
	case ipc.ReasonCursorAhead:
		p.log.Warn("I has fewer reports than were taken", "reason", r.Reason)
	}
	return p.sinkLost(&refusal{r.Reason, r.Epoch})
}

// refusal is an unasked Refused as an error.
type refusal struct {
	reason ipc.ReasonCode
	epoch  ipc.Epoch
}

func (r *refusal) Error() string {
	return fmt.Sprintf("I refuses: %s, the highest epoch it knows is %d", r.reason, r.epoch)
}

// regreet begins anew with I after the core went back to what is durable, or when the instance opens.
func (p *Instance) regreet() {
	if p.cfg.Sink == nil || p.sink.state == sinkBarred {
		return
	}
	p.sink.round++
	p.sink.state, p.sink.since, p.sink.next, p.sink.lag = sinkAway, time.Now(), time.Time{}, time.Time{}
	p.sink.owed = true
	p.sink.held = false // it may still be in force: freeSink looks for itself
}

// followAuthority asks J and E for what comes after what is durable here. It runs when the core has come from the ledger.
func (p *Instance) followAuthority() {
	if p.cfg.Authority == nil {
		return
	}
	theirs := slices.DeleteFunc(slices.Clone(p.state.Cursors), func(c ipc.Cursor) bool { return c.Source == p.state.Sink.Source })
	if err := p.cfg.Authority.Resume(p.cfg.Address, theirs); err != nil {
		p.log.Warn("resuming from J and E failed", "reason", ipc.ReasonRiskUnavailable, "err", err)
	}
}

// greetingDue reports whether I should be asked now.
func (p *Instance) greetingDue() bool {
	return p.cfg.Sink != nil && p.sink.state == sinkAway && !time.Now().Before(p.sink.next)
}

// greet announces the epoch and asks about every intent whose fate is open, beside the pump (LS-3, GT-6).
func (p *Instance) greet(ctx context.Context) {
	s, sink := p.state, p.cfg.Sink
	hello := ipc.BoundaryHello{Address: s.Address, Lineage: s.Lineage, Epoch: s.Epoch, Owner: p.cfg.Owner, OldestOpenStep: s.Book().OldestOpenStep(s.StepNo + 1)}
	var keys []ipc.Key
	for _, t := range s.Book().All() {
		if t.Unsettled { // an obligation may have begun its next attempt with the start: that is not durable yet, and was never sent
			keys = append(keys, t.Key)
		}
	}
	p.sink.state = sinkAsking
	heard := s.Heard()
	p.converse(ctx, func(asking context.Context) (func() error, error) { // asking ends with the questions; what comes of them asks on
		w, err := sink.Hello(asking, hello)
		if err != nil {
			return nil, fmt.Errorf("hello to I: %w", err)
		}
		reports := make([]ipc.StatusReport, 0, len(keys))
		for _, key := range keys {
			r, err := sink.Query(asking, ipc.Query{Address: hello.Address, Epoch: hello.Epoch, Key: key})
			if err != nil {
				return nil, fmt.Errorf("asking I for key %s: %w", key, err)
			}
			reports = append(reports, r)
		}
		return func() error { return p.greeted(ctx, w, heard, reports) }, nil
	})
}

// converse talks to I beside the pump, which takes what came of it in its turn.
func (p *Instance) converse(ctx context.Context, talk func(context.Context) (func() error, error)) {
	p.sink.round++
	round := p.sink.round
	p.talks.Go(func() {
		asking, cancel := context.WithTimeout(ctx, p.patience())
		defer cancel()
		then, err := talk(asking)
		p.later(mailbox.Execution, func() error {
			switch {
			case round != p.sink.round:
				return nil
			case err != nil:
				return p.unanswered(ctx, err)
			}
			return then()
		})
	})
}

// unanswered tries again later, unless I has said that another process owns the instance.
func (p *Instance) unanswered(ctx context.Context, err error) error {
	k := &p.sink
	k.state, k.cause = sinkAway, err
	k.next = time.Now().Add(max(k.wait, retryFirst))
	k.wait = min(max(2*k.wait, retryFirst), retryMost)
	var refused SinkRefusal
	if errors.As(err, &refused) {
		reason, epoch := refused.Refusal()
		switch {
		case reason == ipc.ReasonEpochPassed && epoch > p.state.Epoch, reason == ipc.ReasonSecondOwner && epoch >= p.state.Epoch:
			return err
		}
	} else if !k.greeted && time.Since(k.since) >= p.patience() && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errSinkSilent, err)
	}
	p.log.Warn("I does not answer; trying again", "reason", ipc.ReasonSinkUnavailable, "err", err, "retry_in", time.Until(k.next))
	return nil
}

// greeted takes I's welcome, and its word on every intent that was open. Never a blind re-send (GT-6).
func (p *Instance) greeted(ctx context.Context, w ipc.Welcome, heard core.Heard, reports []ipc.StatusReport) error {
	s, k := p.state, &p.sink
	k.greeted, k.names, k.made = true, w.Cursor.Source != "", w.Cursor
	if w.LastStep > s.StepNo {
		p.log.Error("I has seen later steps than the ledger holds: rows are lost, or the state directory is an older copy", "reason", ipc.ReasonRowsLost,
			"i_step", w.LastStep, "step", s.StepNo, "evidence", p.keepLedger(fmt.Errorf("the ledger ends at step %d, I has seen step %d", s.StepNo, w.LastStep)))
		return p.bar(ipc.ReasonRowsLost)
	}
	why := heard.Forgot(w.LastStep, w.Cursor)
	if s.Heard().Forgot(w.LastStep, w.Cursor) == "" {
		why = "" // an operator has resumed meanwhile
	}
	if why != "" && s.Halted != ipc.ReasonSinkForgot {
		p.log.Error("I has lost its memory; nothing is offered to it", "reason", ipc.ReasonSinkForgot, "why", why)
		p.keepSinkEvidence(w, why)
		return p.bar(ipc.ReasonSinkForgot)
	} else if why != "" {
		k.state = sinkBarred
		return nil
	}
	if err := p.freeSink(); err != nil {
		return err
	}
	var unseen []ipc.Key
	processed, now := p.cfg.Clock.Now(0)
	for i := range reports {
		r := &reports[i]
		t, ok := s.Book().Lookup(r.Key)
		if !ok || !t.Unsettled {
			continue // I has said more meanwhile
		}
		if r.Status == ipc.StatusNotSeen && s.Recheck(t, now, processed) != ipc.StatusOffered {
			unseen = append(unseen, r.Key)
			continue
		}
		if err := p.apply(p.stamp(&core.Status{Key: r.Key, Status: r.Status, Digest: r.Digest, Reason: r.Reason})); err != nil {
			return err
		}
	}
	if len(unseen) == 0 {
		return p.live()
	}
	sink, address, epoch := p.cfg.Sink, s.Address, s.Epoch
	p.converse(ctx, func(asking context.Context) (func() error, error) {
		var barred []ipc.StatusReport
		for _, key := range unseen {
			r, err := sink.Tombstone(asking, ipc.Tombstone{Address: address, Epoch: epoch, Key: key})
			if err != nil {
				return nil, fmt.Errorf("asking I to bar key %s: %w", key, err)
			}
			barred = append(barred, r)
		}
		return func() error {
			for i := range barred {
				r := &barred[i]
				if err := p.apply(p.stamp(&core.Status{Key: r.Key, Status: r.Status, Digest: r.Digest, Reason: r.Reason})); err != nil {
					return err
				}
			}
			return p.live()
		}, nil
	})
	return nil
}

// reportsLag is how long the reports that a welcome names may stay behind it. I's disk may stand still between the two, for some hundred
// milliseconds on a busy machine; a snapshot that was not needed is one more step of the strategy.
const reportsLag = 2 * time.Second

// live lets offers pass again, those first that had to wait. What I has reported is awaited before; where it does not come, another copy of the
// state directory has acknowledged it, and positions are unknown (found by simulating copies: the book was wrong, and trusted).
func (p *Instance) live() error {
	k := &p.sink
	behind := p.behind()
	if behind && k.lag.IsZero() {
		k.lag = time.Now().Add(min(reportsLag, p.patience()))
		return p.flushIfDue()
	}
	k.state, k.lived, k.cause, k.lag = sinkLive, time.Now(), nil, time.Time{}
	p.snapshotWait, p.snapshotNext = 0, time.Time{} // it may have been asked for in vain
	if behind {
		p.log.Warn("I has made reports that are not here and do not come; positions are unknown until a snapshot", "reason", ipc.ReasonExecutionGap, "i_cursor", k.made.Seq,
			"cursor", p.state.SinkCursor().Seq)
		if err := p.apply(p.stamp(&core.Command{Op: core.OpBehind, Who: "supervisor", Reason: ipc.ReasonExecutionGap, Restriction: unrestricted})); err != nil {
			return err
		}
	}
	waits := k.owed || slices.ContainsFunc(p.state.Book().All(), func(t *trackedIntent) bool {
		return !t.Unsettled && (t.Again || t.Status == ipc.StatusApproved)
	})
	k.owed = false
	if waits && p.state.Book().Undecided() {
		processed, now := p.cfg.Clock.Now(0)
		if err := p.apply(&core.Release{At: core.At{CoreTS: now}, Upto: p.cfg.Ledger.LastInput(), WallTS: processed}); err != nil {
			return err
		}
		return p.flushIfDue()
	}
	if err := p.askAgain(); err != nil {
		return err
	}
	return p.flushIfDue()
}

// bar halts the instance and offers nothing more in this run.
func (p *Instance) bar(reason ipc.ReasonCode) error {
	p.sink.state = sinkBarred
	return p.apply(p.stamp(&core.Command{Op: core.OpHalt, Who: "supervisor", Reason: reason, Restriction: unrestricted}))
}

const sinkHeldID = "sink"

// restrictSink lets the instance go on without I: only cancels pass.
func (p *Instance) restrictSink(reason ipc.ReasonCode) error {
	if p.sink.held {
		return nil
	}
	p.sink.held = true
	return p.apply(p.stamp(&core.Guard{Held: gate.Held{ID: sinkHeldID, Origin: gate.OriginRecovery, Restriction: gate.NoTrade(), Reason: reason,
		Release: gate.ReleaseCondition}}))
}

// freeSink ends that, also where an earlier process had begun it.
func (p *Instance) freeSink() error {
	p.sink.held = false
	held := func(h gate.Held) bool { return h.ID == sinkHeldID }
	if !slices.ContainsFunc(p.state.Held, held) {
		return nil
	}
	return p.apply(p.stamp(&core.Guard{Lift: true, Held: gate.Held{ID: sinkHeldID, Origin: gate.OriginRecovery, Reason: ipc.ReasonConditionMet,
		Release: gate.ReleaseCondition, Restriction: unrestricted}}))
}

// keepSinkEvidence leaves what I said, and what it should have, where an operator finds it.
func (p *Instance) keepSinkEvidence(w ipc.Welcome, why string) {
	if p.cfg.EvidenceDir == "" {
		return
	}
	s := p.state
	open := []map[string]any{}
	for _, t := range s.Book().All() {
		open = append(open, map[string]any{"key": t.Key, "step": t.Step, "status": t.Status.String(), "digest": t.Digest.String()})
	}
	body, err := json.MarshalIndent(map[string]any{"address": s.Address.String(), "lineage": s.Lineage.String(), "epoch": s.Epoch, "why": why,
		"i_last_step": w.LastStep, "i_cursor": w.Cursor, "known_step": s.Sink.Step, "known_cursor": s.SinkCursor(), "positions": s.Book().Positions(), "open": open}, "", "  ")
	if err == nil {
		err = writeNew(filepath.Join(p.cfg.EvidenceDir, fmt.Sprintf("forgot-%s-epoch-%d.json", strings.ReplaceAll(s.Address.String(), "/", "-"), s.Epoch)), body)
	}
	if err != nil {
		p.log.Error("keeping the evidence of I's lost memory failed", "err", err)
	}
}
