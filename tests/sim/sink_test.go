package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/msup/msup/ipc"
)

// place is where an intent stands in its strategy's answers.
type place struct {
	step    ipc.Step
	ordinal uint32
}

type known struct {
	status ipc.Status
	digest *ipc.Digest
}

type resting struct {
	key       ipc.Key
	side      ipc.Side
	remaining ipc.Decimal
}

// sink is I: it keeps the rules of the boundary, and complains when M does not.
type sink struct {
	rng      *rand.Rand
	epoch    ipc.Epoch
	keys     map[ipc.Key]known
	places   map[place]ipc.Key
	applied  map[ipc.Key]int
	offers   map[ipc.Key]int // offers that may come: one, and one more for each time that the key was called not seen
	position ipc.Decimal
	open     []*resting
	reports  []*ipc.SourceEvent // all of them; number n is at n-1
	acked    uint64
	lastStep ipc.Step
	complain func(format string, args ...any)
}

func (s *sink) hello(epoch ipc.Epoch) {
	if epoch < s.epoch {
		s.complain("epoch %d says hello after epoch %d", epoch, s.epoch)
	}
	s.epoch = epoch
}

// offer applies an intent once and answers with its status; nil when the epoch is over.
func (s *sink) offer(o *ipc.Offer, now ipc.Nanos) *ipc.StatusReport {
	if o.Epoch < s.epoch {
		return nil
	}
	key := o.Intent.Meta.Key
	s.lastStep = max(s.lastStep, o.Step)
	if k, ok := s.keys[key]; ok {
		if k.digest != nil && *k.digest != o.Digest {
			s.complain("key %s of step %d comes with another digest", key, o.Step)
		}
		return s.report(key)
	}
	at := place{o.Step, o.Ordinal}
	if other, ok := s.places[at]; ok && other != key {
		s.complain("step %d ordinal %d comes under two keys", o.Step, o.Ordinal)
	}
	s.places[at] = key
	digest := o.Digest
	k := known{digest: &digest, status: ipc.StatusCommitted}
	switch {
	case now > o.ValidUntil:
		k.status = ipc.StatusExpired
	case s.rng.IntN(10) == 0:
		k.status = ipc.StatusRejected
	default:
		if s.applied[key]++; s.applied[key] > 1 {
			s.complain("key %s was applied twice", key)
		}
		s.execute(key, o.Intent.Body)
	}
	s.keys[key] = k
	return s.report(key)
}

func (s *sink) report(key ipc.Key) *ipc.StatusReport {
	k := s.keys[key]
	return &ipc.StatusReport{Key: key, Status: k.status, Digest: k.digest}
}

func (s *sink) query(key ipc.Key) *ipc.StatusReport {
	if _, ok := s.keys[key]; !ok {
		s.offers[key]++
	}
	return s.report(key)
}

func (s *sink) tombstone(key ipc.Key) *ipc.StatusReport {
	if _, ok := s.keys[key]; !ok {
		s.keys[key] = known{status: ipc.StatusExpired}
	}
	return s.report(key)
}

func (s *sink) execute(key ipc.Key, body ipc.IntentBody) {
	switch b := body.(type) {
	case *ipc.OrderIntent:
		o := &resting{key: key, side: b.Side, remaining: b.Quantity}
		s.take(o)
		if b.TimeInForce == ipc.TIFImmediateOrCancel && s.find(key) != nil {
			if s.fill(o); s.find(key) != nil {
				s.end(o, ipc.ExecCanceled)
			}
		}
	case *ipc.PositionIntent:
		delta, _ := b.TargetQuantity.Sub(s.position)
		o := &resting{key: key, side: ipc.SideBuy, remaining: delta.Abs()}
		if delta.Sign() < 0 {
			o.side = ipc.SideSell
		}
		if delta.IsZero() {
			s.tell(o, &ipc.Execution{Report: ipc.ExecAccepted, Final: true})
			return
		}
		s.take(o)
	case *ipc.CancelIntent:
		if o := s.find(b.TargetKey); o != nil {
			s.end(o, ipc.ExecCanceled)
		}
	case *ipc.AmendIntent:
		if o := s.find(b.TargetKey); o != nil {
			o.remaining = *b.Quantity
			s.tell(o, &ipc.Execution{Report: ipc.ExecAmended})
		}
	}
}

// take lets a new order rest, fill or be refused by the venue.
func (s *sink) take(o *resting) {
	s.open = append(s.open, o)
	s.tell(o, &ipc.Execution{Report: ipc.ExecAccepted})
	switch s.rng.IntN(6) {
	case 0:
		s.end(o, ipc.ExecRejected)
	case 1, 2:
		s.fill(o)
	}
}

// trade fills some order that rests.
func (s *sink) trade() {
	if len(s.open) > 0 {
		s.fill(s.open[s.rng.IntN(len(s.open))])
	}
}

func (s *sink) fill(o *resting) {
	quantity := o.remaining
	if quantity.Cmp(ipc.Decimal{M: 1}) > 0 && s.rng.IntN(2) == 0 {
		quantity = ipc.Decimal{M: 1}
	}
	signed := quantity
	if o.side == ipc.SideSell {
		signed = quantity.Neg()
	}
	s.position, _ = s.position.Add(signed)
	o.remaining, _ = o.remaining.Sub(quantity)
	final := o.remaining.IsZero()
	s.tell(o, &ipc.Execution{Report: ipc.ExecFilled, Quantity: &quantity, Final: final})
	if final {
		s.drop(o)
	}
}

func (s *sink) end(o *resting, how ipc.ExecutionKind) {
	s.tell(o, &ipc.Execution{Report: how, Final: true})
	s.drop(o)
}

func (s *sink) drop(o *resting) {
	s.open = slices.DeleteFunc(s.open, func(x *resting) bool { return x == o })
}

func (s *sink) find(key ipc.Key) *resting {
	i := slices.IndexFunc(s.open, func(o *resting) bool { return o.key == key })
	if i < 0 {
		return nil
	}
	return s.open[i]
}

// tell numbers a report. It stays until it is acknowledged.
func (s *sink) tell(o *resting, x *ipc.Execution) {
	x.Key, x.Instrument, x.Side = o.key, btc, o.side
	if remaining := o.remaining; s.rng.IntN(2) == 0 || x.Report == ipc.ExecAmended {
		x.Remaining = &remaining
	}
	s.reports = append(s.reports, &ipc.SourceEvent{Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: uint64(len(s.reports)) + 1}, TraceID: "t", Event: x})
}

func (s *sink) snapshot() *ipc.SourceEvent {
	c := ipc.Cursor{Source: "i", Epoch: 1, Seq: uint64(len(s.reports))}
	e := &ipc.ExecutionSnapshot{Cursor: c}
	if !s.position.IsZero() {
		e.Positions = []ipc.PositionRow{{Instrument: btc, Quantity: s.position}}
	}
	for _, o := range s.open {
		e.Open = append(e.Open, ipc.OpenOrder{Key: o.key, Remaining: o.remaining})
	}
	return &ipc.SourceEvent{Cursor: c, TraceID: "t", Event: e}
}

// String says what I holds.
func (s *sink) String() string {
	text := fmt.Sprintf("position %s, reports %d, acked %d", s.position, len(s.reports), s.acked)
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		text += fmt.Sprintf("\n%s %s", k, s.keys[k].status)
	}
	return text
}
