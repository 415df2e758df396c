package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/msup/msup/ipc"
)

// errProtocol marks what ends the connection that caused it, and nothing else.
var errProtocol = errors.New("the peer broke the boundary protocol")

// maxNumber is what SQLite's integers hold. Steps and epochs are counted from 1; a larger one is no count.
const maxNumber = 1<<63 - 1

// engine is the whole state of the simulated I. One goroutine owns it. It changes memory and notes what changed; commit makes the
// changes durable and only then hands the answers out.
type engine struct {
	source   ipc.SourceID
	log      *slog.Logger
	accounts map[ipc.Address]*account
	keys     map[ipc.Key]*keyEntry
	orders   map[ipc.Key]*order
	byID     map[ipc.InstrumentID][]*order // resting, in time priority
	touches  map[ipc.InstrumentID]*touch
	nowTS    ipc.Nanos // recv_ts of the newest market event
	orderNo  uint64
	store    *store
	changes  changes
	answers  []answer
}

// answer is a message that waits for the commit.
type answer struct {
	to *peer
	m  ipc.Message
}

// peer is one connection as the engine sees it.
type peer struct {
	name   string
	send   func(ipc.Message) error
	drop   func()                    // closes the connection
	hellos map[ipc.Address]ipc.Nonce // instances that it has announced
	gone   bool
}

// tell queues an answer.
func (e *engine) tell(p *peer, m ipc.Message) {
	if p != nil && !p.gone {
		e.answers = append(e.answers, answer{p, m})
	}
}

// commit makes everything durable that has changed, then sends the answers. After an error the engine must not be used: memory
// is ahead of the disk.
func (e *engine) commit() error {
	if err := e.store.commit(&e.changes, e.nowTS, e.orderNo); err != nil {
		return err
	}
	for i, a := range e.answers {
		e.answers[i] = answer{}
		if a.to.gone {
			continue
		}
		if err := a.to.send(a.m); err != nil {
			// Reports are durable and wait for the next hello; a peer that does not read is given up.
			e.log.Warn("a peer does not take its answers and is dropped", "peer", a.to.name, "err", err)
			e.leave(a.to)
		}
	}
	e.answers = e.answers[:0]
	return nil
}

// leave forgets a connection.
func (e *engine) leave(p *peer) {
	p.gone = true
	for address := range p.hellos {
		if a := e.accounts[address]; a != nil && a.peer == p {
			a.peer = nil
		}
	}
}

// handle takes one message. An error that wraps errProtocol ends the peer's connection.
func (e *engine) handle(p *peer, m ipc.Message) error {
	switch m := m.(type) {
	case *ipc.SourceEvent:
		return e.market(m)
	case *ipc.Offer:
		if m.Step > maxNumber {
			return fmt.Errorf("%w: step %d", errProtocol, m.Step)
		}
		e.offer(p, m)
	case *ipc.Sync:
		e.tell(p, &ipc.Ack{Seq: m.Seq})
	case *ipc.Ack:
		return e.ack(p, m)
	case *ipc.BoundaryHello:
		if m.Epoch > maxNumber || m.OldestOpenStep > maxNumber {
			return fmt.Errorf("%w: epoch %d, oldest open step %d", errProtocol, m.Epoch, m.OldestOpenStep)
		}
		return e.hello(p, m)
	case *ipc.Resume:
		return e.resume(p, m)
	case *ipc.Query:
		if a := e.speaks(p, m.Address, m.Epoch, m.Seq); a != nil {
			e.tell(p, e.report(m.Seq, a, m.Key))
		}
	case *ipc.Tombstone:
		e.tombstone(p, m)
	case *ipc.SnapshotRequest:
		if a := e.announced(p, m.Address, m.Seq); a != nil {
			e.tell(p, e.snapshot(m.Seq, a))
		}
	default:
		return fmt.Errorf("%w: a %s is no message to I", errProtocol, m.Type())
	}
	return nil
}

// hello decides who speaks for an instance.
func (e *engine) hello(p *peer, m *ipc.BoundaryHello) error {
	a := e.accounts[m.Address]
	switch {
	case a == nil:
		a = &account{id: int64(len(e.accounts) + 1), address: m.Address, lineage: m.Lineage, sourceEpoch: 1, positions: make(map[ipc.InstrumentID]ipc.Decimal)}
		e.accounts[m.Address] = a
	case m.Epoch < a.epoch:
		e.tell(p, &ipc.Refused{Seq: m.Seq, Address: m.Address, Reason: ipc.ReasonEpochPassed, Epoch: a.epoch})
		return nil
	case m.Epoch == a.epoch && m.Owner != a.owner:
		e.tell(p, &ipc.Refused{Seq: m.Seq, Address: m.Address, Reason: ipc.ReasonSecondOwner, Epoch: a.epoch})
		return nil
	case m.Lineage != a.lineage:
		// The instance was created anew. Its orders and positions are the market's and stay; its reports are numbered anew.
		a.lineage, a.lastStep, a.oldestOpen = m.Lineage, 0, 0
		a.sourceEpoch++
		a.seq, a.acked = 0, 0
	}
	a.epoch, a.owner, a.oldestOpen = m.Epoch, m.Owner, max(a.oldestOpen, m.OldestOpenStep)
	e.changes.account(a)
	a.peer = p
	p.hellos[m.Address] = m.Owner
	e.log.Info("instance announced", "strategy", m.Address.Strategy, "instance", m.Address.Instance, "step", a.lastStep, "epoch", m.Epoch, "peer", p.name)
	e.tell(p, &ipc.Welcome{Seq: m.Seq, Address: m.Address, LastStep: a.lastStep, Cursor: a.cursor(e.source)})
	return e.resend(p, a, a.acked)
}

// announced finds the instance that a peer has announced, or refuses.
func (e *engine) announced(p *peer, address ipc.Address, seq uint64) *account {
	a := e.accounts[address]
	owner, said := p.hellos[address]
	if a == nil || !said {
		e.tell(p, &ipc.Refused{Seq: seq, Address: address, Reason: ReasonNoHello})
		return nil
	}
	if owner != a.owner {
		e.tell(p, &ipc.Refused{Seq: seq, Address: address, Reason: ipc.ReasonEpochPassed, Epoch: a.epoch})
		return nil
	}
	return a
}

// speaks finds the instance for which a peer may act under an epoch, or refuses.
func (e *engine) speaks(p *peer, address ipc.Address, epoch ipc.Epoch, seq uint64) *account {
	a := e.announced(p, address, seq)
	if a == nil || epoch == a.epoch {
		return a
	}
	reason := ipc.ReasonEpochPassed
	if epoch > a.epoch {
		reason = ReasonEpochUnknown
	}
	e.tell(p, &ipc.Refused{Seq: seq, Address: address, Reason: reason, Epoch: a.epoch})
	return nil
}

// offer applies an intent once.
func (e *engine) offer(p *peer, m *ipc.Offer) {
	a := e.speaks(p, m.Address, m.Epoch, m.Seq)
	if a == nil {
		return
	}
	if m.Step > a.lastStep {
		a.lastStep = m.Step
		e.changes.account(a)
	}
	key := m.Intent.Meta.Key
	if known := e.keys[key]; known != nil {
		r := e.report(m.Seq, a, key)
		if known.digest != nil && (*known.digest != m.Digest || known.account != a) {
			r = &ipc.StatusReport{Seq: m.Seq, Address: m.Address, Key: key, Status: ipc.StatusRejected, Digest: known.digest, Reason: ipc.ReasonKeyConflict}
			e.log.Warn("a known key was offered with other content", "strategy", m.Address.Strategy, "instance", m.Address.Instance, "step", m.Step, "key", key)
		}
		e.tell(p, r)
		return
	}
	digest := m.Digest
	entry := &keyEntry{account: a, digest: &digest, step: m.Step, ordinal: m.Ordinal}
	sum, err := ipc.IntentDigest(m.Intent)
	meta := &m.Intent.Meta
	switch {
	case err != nil || sum != m.Digest:
		entry.status, entry.reason = ipc.StatusRejected, ReasonDigestMismatch
	case !key.Valid(), meta.Bot != m.Address.Bot, meta.Strategy != m.Address.Strategy, meta.Instance != m.Address.Instance:
		entry.status, entry.reason = ipc.StatusRejected, ReasonInvalidIntent
	case e.nowTS > m.ValidUntil:
		entry.status, entry.reason = ipc.StatusExpired, ipc.ReasonValidUntilPassed
	default:
		entry.status, entry.reason = e.execute(a, m.Intent)
	}
	// A corrupt offer must not occupy the key of the sound one.
	if entry.reason != ReasonDigestMismatch {
		e.keys[key] = entry
		e.changes.key(key, entry)
	}
	e.tell(p, &ipc.StatusReport{Seq: m.Seq, Address: m.Address, Key: key, Status: entry.status, Digest: &digest, Reason: entry.reason})
}

// report answers what is known of a key.
func (e *engine) report(seq uint64, a *account, key ipc.Key) *ipc.StatusReport {
	r := &ipc.StatusReport{Seq: seq, Address: a.address, Key: key}
	if k := e.keys[key]; k != nil && k.account == a {
		r.Status, r.Digest, r.Reason = k.status, k.digest, k.reason
	}
	return r
}

func (e *engine) tombstone(p *peer, m *ipc.Tombstone) {
	a := e.speaks(p, m.Address, m.Epoch, m.Seq)
	if a == nil {
		return
	}
	if e.keys[m.Key] == nil {
		entry := &keyEntry{account: a, status: ipc.StatusExpired, reason: ReasonTombstoned}
		e.keys[m.Key] = entry
		e.changes.key(m.Key, entry)
	}
	e.tell(p, e.report(m.Seq, a, m.Key))
}

func (e *engine) snapshot(seq uint64, a *account) *ipc.SourceEvent {
	address := a.address
	s := &ipc.ExecutionSnapshot{EventTS: e.nowTS, RecvTS: e.nowTS, Positions: a.positionRows(), Cursor: a.cursor(e.source)}
	var open []*order
	for _, o := range e.orders {
		if o.account == a {
			open = append(open, o)
		}
	}
	slices.SortFunc(open, func(x, y *order) int {
		if x.no < y.no {
			return -1
		}
		return 1
	})
	for _, o := range open {
		s.Open = append(s.Open, ipc.OpenOrder{Key: o.key, Remaining: o.remaining})
	}
	// A snapshot has no number of its own: it carries that of the last report, which it contains.
	return &ipc.SourceEvent{Seq: seq, Address: &address, Cursor: s.Cursor, RecvTS: e.nowTS, Event: s}
}

func (e *engine) ack(p *peer, m *ipc.Ack) error {
	if m.Address == nil {
		return fmt.Errorf("%w: an ack without address", errProtocol)
	}
	a := e.announced(p, *m.Address, m.Seq)
	if a == nil || m.Cursor.Epoch < a.sourceEpoch {
		return nil
	}
	if m.Cursor.Epoch > a.sourceEpoch || m.Cursor.Seq > a.seq {
		return fmt.Errorf("%w: an ack of %s for report %d of epoch %d, the last is %d of epoch %d", errProtocol, *m.Address, m.Cursor.Seq, m.Cursor.Epoch, a.seq, a.sourceEpoch)
	}
	if m.Cursor.Seq > a.acked {
		a.acked = m.Cursor.Seq
		e.changes.ack(a)
	}
	return nil
}

// resume sends the reports after a cursor. One of an earlier source epoch gets a snapshot first: those reports are of another life.
func (e *engine) resume(p *peer, m *ipc.Resume) error {
	if m.Address == nil {
		return fmt.Errorf("%w: a resume without address", errProtocol)
	}
	a := e.announced(p, *m.Address, m.Seq)
	if a == nil {
		return nil
	}
	from := m.Cursor.Seq
	switch {
	case m.Cursor.Epoch > a.sourceEpoch, m.Cursor.Epoch == a.sourceEpoch && from > a.seq:
		e.tell(p, &ipc.Refused{Seq: m.Seq, Address: *m.Address, Reason: ReasonCursorAhead, Epoch: a.epoch})
		return nil
	case m.Cursor.Epoch < a.sourceEpoch && m.Cursor.Epoch != 0:
		e.tell(p, e.snapshot(m.Seq, a))
		return nil
	case m.Cursor.Epoch == 0:
		from = 0
	}
	return e.resend(p, a, from)
}

// resend queues the reports after number from.
func (e *engine) resend(p *peer, a *account, from uint64) error {
	if from >= a.seq {
		return nil
	}
	if err := e.commit(); err != nil { // what this batch has reported so far must be readable
		return err
	}
	return e.store.reports(a, from, func(seq uint64, trace ipc.TraceID, ex *ipc.Execution) {
		e.tell(p, e.sourceEvent(a, seq, trace, ex))
	})
}

func (e *engine) sourceEvent(a *account, seq uint64, trace ipc.TraceID, ex *ipc.Execution) *ipc.SourceEvent {
	address := a.address
	return &ipc.SourceEvent{Address: &address, Cursor: ipc.Cursor{Source: e.source, Epoch: a.sourceEpoch, Seq: seq}, RecvTS: ex.RecvTS, TraceID: trace, Event: ex}
}

// market moves the time and the touch, and fills what became marketable.
func (e *engine) market(m *ipc.SourceEvent) error {
	ev, ok := m.Event.(ipc.MarketEvent)
	if !ok || m.Address != nil {
		return fmt.Errorf("%w: only market events without address come to I, this is a %s", errProtocol, m.Event.Kind())
	}
	h := ev.Header()
	before := e.nowTS
	now := max(h.RecvTS, before)
	if now/dayNS != e.nowTS/dayNS {
		e.endDay(now)
	}
	e.nowTS = now
	t := e.touches[h.Instrument]
	if t == nil {
		t = &touch{}
		e.touches[h.Instrument] = t
	}
	// A feed that is played again after a crash shows the past: resting orders have stood through it already.
	if t.take(ev) && h.RecvTS >= before && len(e.byID[h.Instrument]) > 0 {
		e.sweep(h.Instrument, t)
	}
	return nil
}

func (e *engine) endDay(now ipc.Nanos) {
	var over []*order
	for _, o := range e.orders {
		if o.tif == ipc.TIFDay && o.day < int64(now/dayNS) {
			over = append(over, o)
		}
	}
	slices.SortFunc(over, func(x, y *order) int {
		if x.no < y.no {
			return -1
		}
		return 1
	})
	e.nowTS = now
	for _, o := range over {
		e.cancel(o, reasonDayEnd)
	}
}

func venueID(no uint64) string { return "SIM-" + strconv.FormatUint(no, 10) }
