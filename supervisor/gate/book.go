package gate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/msup/msup/ipc"
)

// ErrPositionsUnknown says that the view of positions cannot be trusted until a snapshot arrives.
var ErrPositionsUnknown = errors.New("positions are unknown until I sends a snapshot")

// Named remembers the content of a named key, so that its reuse is a duplicate or a conflict and never a second order.
type Named struct {
	Digest ipc.Digest
	SeenTS ipc.Nanos // core_ts of the verdict, or of the intent's end once it has ended
}

// Book is the view of positions and open intents that exposure is judged on. It follows the log alone.
type Book struct {
	positions map[ipc.InstrumentID]ipc.Decimal
	open      []*Tracked // sorted by step, ordinal, key: sums over it never depend on map order
	tracked   map[ipc.Key]*Tracked
	named     map[ipc.Key]Named
	unknown   ipc.ReasonCode // not empty: positions cannot be trusted
}

// NewBook returns a flat, empty, trusted book.
func NewBook() *Book {
	return &Book{
		positions: map[ipc.InstrumentID]ipc.Decimal{},
		tracked:   map[ipc.Key]*Tracked{},
		named:     map[ipc.Key]Named{},
	}
}

// Unknown returns why positions cannot be trusted, "" when they can.
func (b *Book) Unknown() ipc.ReasonCode { return b.unknown }

// SetUnknown distrusts the positions; under it only cancels pass.
func (b *Book) SetUnknown(why ipc.ReasonCode) { b.unknown = why }

// Position returns the signed position.
func (b *Book) Position(id ipc.InstrumentID) ipc.Decimal { return b.positions[id] }

// Positions returns all positions that are not flat, sorted by instrument.
func (b *Book) Positions() []ipc.PositionRow {
	rows := make([]ipc.PositionRow, 0, len(b.positions))
	for _, id := range slices.Sorted(maps.Keys(b.positions)) {
		rows = append(rows, ipc.PositionRow{Instrument: id, Quantity: b.positions[id]})
	}
	return rows
}

// Track begins to follow an intent.
func (b *Book) Track(t *Tracked) {
	switch body := t.Intent.Body.(type) {
	case *ipc.OrderIntent:
		t.Side, t.Remaining = body.Side, body.Quantity
	case *ipc.PositionIntent:
		if side, quantity, ok := b.distance(body); ok {
			t.Side, t.Remaining = side, quantity
		}
	}
	b.insert(t)
}

func (b *Book) insert(t *Tracked) {
	b.remove(t.Key)
	i, _ := slices.BinarySearchFunc(b.open, t, compareTracked)
	b.open = slices.Insert(b.open, i, t)
	b.tracked[t.Key] = t
}

// remove forgets an intent without a word about its name.
func (b *Book) remove(k ipc.Key) {
	t, ok := b.tracked[k]
	if !ok {
		return
	}
	delete(b.tracked, k)
	if i, found := slices.BinarySearchFunc(b.open, t, compareTracked); found {
		b.open = slices.Delete(b.open, i, i+1)
	}
}

// end forgets an intent of which nothing more can come; the retention of its name begins.
func (b *Book) end(k ipc.Key, now ipc.Nanos) {
	b.remove(k)
	if n, ok := b.named[k]; ok {
		n.SeenTS = max(n.SeenTS, now)
		b.named[k] = n
	}
}

func compareTracked(x, y *Tracked) int {
	return cmp.Or(cmp.Compare(x.Step, y.Step), cmp.Compare(x.Ordinal, y.Ordinal), cmp.Compare(x.Key, y.Key))
}

// Lookup returns the tracked intent of a key.
func (b *Book) Lookup(k ipc.Key) (*Tracked, bool) {
	t, ok := b.tracked[k]
	return t, ok
}

// Open returns all tracked intents in the order of their steps. The slice is the caller's.
func (b *Book) Open() []*Tracked { return slices.Clone(b.open) }

// All is Open without the copy: it must not be kept, and not be ranged over while intents end.
func (b *Book) All() []*Tracked { return b.open }

// OpenCount is the number of tracked intents (SB-5).
func (b *Book) OpenCount() int { return len(b.open) }

// Undecided reports whether an intent waits for I's word, or to be put before J/E. One that they have been asked about waits for people.
func (b *Book) Undecided() bool {
	return slices.ContainsFunc(b.open, func(t *Tracked) bool {
		return t.Status < ipc.StatusCommitted && !(t.Status == ipc.StatusStaged && t.Asked)
	})
}

// Unasked reports whether J/E have still to be asked about a staged intent.
func (b *Book) Unasked() bool {
	return slices.ContainsFunc(b.open, func(t *Tracked) bool { return t.Status == ipc.StatusStaged && !t.Asked })
}

// OldestOpenStep is the lowest step of a tracked intent; next when there is none. I keeps keys from there on.
func (b *Book) OldestOpenStep(next ipc.Step) ipc.Step {
	if len(b.open) == 0 {
		return next
	}
	return min(next, b.open[0].Step)
}

// SetStatus applies I's or M's word on an intent at core time now. It reports false, changing nothing, when the table of statuses
// forbids the change.
func (b *Book) SetStatus(k ipc.Key, next ipc.Status, now ipc.Nanos) bool {
	t, ok := b.tracked[k]
	if !ok || !t.Status.CanBecome(next) {
		return false
	}
	t.Status = next
	if !next.Terminal() {
		return true
	}
	if next == ipc.StatusCommitted && !t.EarlyFinal {
		switch body := t.Intent.Body.(type) {
		case *ipc.OrderIntent, *ipc.PositionIntent:
			t.Working = true // an open order until its final execution report
			if t.Passed {
				t.Passed = false
				b.SetUnknown(ipc.ReasonPositionUnknown)
			}
			return true
		case *ipc.AmendIntent:
			b.applyAmend(body)
		}
	}
	b.end(k, now)
	return true
}

// applyAmend raises the target's remaining quantity to the amended one; a decrease waits for I's report, so that exposure stays worst case.
func (b *Book) applyAmend(a *ipc.AmendIntent) {
	if t, ok := b.tracked[a.TargetKey]; ok && a.Quantity != nil && a.Quantity.Cmp(t.Remaining) > 0 {
		t.Remaining = *a.Quantity
	}
}

// Execute applies an execution report at core time now: positions follow fills, a final report ends the order. Reports on orders that
// this instance did not send still move its positions: what I says about the account of this instance is true.
func (b *Book) Execute(e *ipc.Execution, now ipc.Nanos) error {
	t := b.tracked[e.Key]
	if t != nil && e.Remaining == nil && !t.Reported {
		b.widen(t) // before the fill: the position is still what I saw when it made an order of the target
	}
	if e.Remaining != nil && e.Remaining.Sign() < 0 {
		b.SetUnknown(ipc.ReasonPositionUnknown)
		return fmt.Errorf("report on key %s: %s remain: %w", e.Key, e.Remaining, ErrPositionsUnknown)
	}
	if e.Report == ipc.ExecFilled {
		if err := b.fill(e, t); err != nil {
			return err
		}
	}
	if e.Report == ipc.ExecUnknown {
		b.SetUnknown(ipc.ReasonPositionUnknown)
	}
	if t == nil {
		return nil
	}
	t.Passed = false
	if e.Remaining != nil {
		t.Remaining, t.Reported = *e.Remaining, true
	}
	if _, target := t.Intent.Body.(*ipc.PositionIntent); target && (e.Side == ipc.SideBuy || e.Side == ipc.SideSell) {
		t.Side = e.Side
	}
	switch {
	case e.Final && t.Working:
		b.end(e.Key, now)
	case e.Final: // I's status is on its way: it decides, and finds nothing open any more
		t.EarlyFinal, t.Reported, t.Remaining = true, true, ipc.Decimal{}
	}
	return nil
}

// widen raises what a target may still trade to what it would take now.
func (b *Book) widen(t *Tracked) {
	body, target := t.Intent.Body.(*ipc.PositionIntent)
	if !target {
		return
	}
	if side, distance, ok := b.distance(body); ok && distance.Cmp(t.Remaining) > 0 {
		t.Side, t.Remaining = side, distance
	}
}

func (b *Book) fill(e *ipc.Execution, t *Tracked) error {
	if e.Quantity == nil || e.Quantity.Sign() < 0 || (e.Side != ipc.SideBuy && e.Side != ipc.SideSell) {
		b.SetUnknown(ipc.ReasonPositionUnknown)
		return fmt.Errorf("fill of key %s names no side or quantity: %w", e.Key, ErrPositionsUnknown)
	}
	quantity := *e.Quantity
	if e.Side == ipc.SideSell {
		quantity = quantity.Neg()
	}
	position, ok := b.positions[e.Instrument].Add(quantity)
	if !ok {
		b.SetUnknown(ipc.ReasonPositionUnknown)
		return fmt.Errorf("fill of key %s on %s: position out of range: %w", e.Key, e.Instrument, ErrPositionsUnknown)
	}
	b.set(e.Instrument, position)
	if t != nil && e.Remaining == nil {
		// A fill beyond what remained leaves the rest as it is: exposure stays worst case until the final report.
		if left, ok := t.Remaining.Sub(*e.Quantity); ok && left.Sign() >= 0 {
			t.Remaining = left
		}
	}
	return nil
}

// Snapshot replaces positions and what is open: the only way out of unknown. Orders that I calls open keep I's remaining quantity;
// committed ones that I does not list are over. Intents that I has not judged yet stay as they are. A snapshot that cannot be true
// changes nothing but the trust in positions.
func (b *Book) Snapshot(s *ipc.ExecutionSnapshot, now ipc.Nanos) error {
	remaining := make(map[ipc.Key]ipc.Decimal, len(s.Open))
	for _, o := range s.Open {
		if o.Remaining.Sign() < 0 {
			b.SetUnknown(ipc.ReasonPositionUnknown)
			return fmt.Errorf("snapshot: %s remain of key %s: %w", o.Remaining, o.Key, ErrPositionsUnknown)
		}
		remaining[o.Key] = o.Remaining
	}
	clear(b.positions)
	for _, p := range s.Positions {
		b.set(p.Instrument, p.Quantity)
	}
	for _, t := range b.Open() {
		left, listed := remaining[t.Key]
		switch {
		case listed:
			t.Remaining, t.Reported, t.Passed = left, true, false
		case t.Working:
			b.end(t.Key, now)
		default:
			t.Passed = true
		}
	}
	b.unknown = ""
	return nil
}

func (b *Book) set(id ipc.InstrumentID, quantity ipc.Decimal) {
	if quantity.IsZero() {
		delete(b.positions, id)
		return
	}
	b.positions[id] = quantity
}

// remember keeps the content of a named key.
func (b *Book) remember(k ipc.Key, n Named) { b.named[k] = n }

// forget drops named keys that ended, or were judged, before the given core_ts and are no longer tracked.
func (b *Book) forget(before ipc.Nanos) {
	maps.DeleteFunc(b.named, func(k ipc.Key, n Named) bool {
		_, live := b.tracked[k]
		return n.SeenTS < before && !live
	})
}
