package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

// differenceClass names a kind of disagreement between M and I.
type differenceClass string

const (
	statusDiffers    differenceClass = "status_differs"         // both know the intent, under another status
	intentUnknownToI differenceClass = "intent_unknown_to_i"    // the ledger has it offered, I has not seen it
	orderUnknownToI  differenceClass = "order_unknown_to_i"     // it works for M, and not at I
	orderUnknownToM  differenceClass = "order_unknown_to_m"     // it works at I, and the ledger has never had it
	orderOverAtM     differenceClass = "order_over_at_m"        // it works at I, and for M it is over
	filledDiffers    differenceClass = "filled_quantity"        // it works for both, another quantity remains
	positionDiffers  differenceClass = "position"               // another quantity is held
	positionUnknown  differenceClass = "positions_unknown_to_m" // M does not know what is held
	sinkForgot       differenceClass = "i_forgot"               // I lacks what it had
	ledgerBehind     differenceClass = "ledger_behind"          // the ledger lacks steps that I has seen
)

// reconciled is what was found of one instance.
type reconciled struct {
	Address     string       `json:"instance"`
	Epoch       ipc.Epoch    `json:"epoch"`
	Step        ipc.Step     `json:"last_step"`
	StepAtI     ipc.Step     `json:"last_step_at_i"`
	Unreported  int          `json:"reports_not_taken"` // I has them, the ledger has not; the next start takes them
	Differences []difference `json:"differences"`
	Applied     int          `json:"applied"`
}

// difference is one thing of which M and I say something else.
type difference struct {
	Class differenceClass `json:"class"`
	What  string          `json:"what"` // ledger, memory, intent, order, position
	Of    string          `json:"of"`   // key or instrument
	M     string          `json:"m"`
	I     string          `json:"i"`
	Then  string          `json:"then"` // what becomes of it
}

func (r *reconciled) add(c differenceClass, what, of, m, i, then string) {
	r.Differences = append(r.Differences, difference{Class: c, What: what, Of: of, M: m, I: i, Then: then})
}

// asker asks I what it knows of a key.
type asker interface {
	Query(ctx context.Context, a ipc.Address, e ipc.Epoch, k ipc.Key) (*ipc.StatusReport, error)
}

// intents asks for every intent that is not final, and returns what --apply may record.
func (r *reconciled) intents(ctx context.Context, i asker, address ipc.Address, epoch ipc.Epoch, open []supervisor.InspectedIntent) (known []core.Status, err error) {
	for _, o := range open {
		if o.Status == ipc.StatusStaged.String() {
			continue // it waits for an approval and never left
		}
		report, err := i.Query(ctx, address, epoch, o.Key)
		if err != nil {
			return nil, err
		}
		if report.Status.String() == o.Status {
			continue
		}
		class, then := statusDiffers, "the next start, or --apply, takes I's word"
		if report.Status == ipc.StatusNotSeen {
			class, then = intentUnknownToI, "the next start offers it while it is valid, and bars its key otherwise"
		} else {
			known = append(known, core.Status{Key: o.Key, Status: report.Status, Digest: report.Digest, Reason: report.Reason})
		}
		if o.Status == ipc.StatusCommitted.String() {
			then = "I contradicts itself: an intent that it has committed has no other status; ask its operator"
		}
		r.add(class, "intent", string(o.Key), o.Status, report.Status.String(), then)
	}
	return known, nil
}

// books compares positions and orders, and reports whether they differ. recorded tells the last status of a key in the ledger, false when it
// has none.
func (r *reconciled) books(m *supervisor.Inspection, i *ipc.ExecutionSnapshot, recorded func(ipc.Key) (ipc.Status, bool, error)) (bool, error) {
	then := "--apply takes I's snapshot"
	if r.Unreported > 0 {
		then = fmt.Sprintf("%d reports of I are not in the ledger yet: the next start takes them", r.Unreported)
	}
	before := len(r.Differences)
	if m.Unknown != "" {
		r.add(positionUnknown, "position", "all", "unknown ("+string(m.Unknown)+")", fmt.Sprintf("%d instruments", len(i.Positions)), then)
	}
	quantity := func(rows []ipc.PositionRow, of ipc.InstrumentID) (d ipc.Decimal) {
		if n := slices.IndexFunc(rows, func(p ipc.PositionRow) bool { return p.Instrument == of }); n >= 0 {
			d = rows[n].Quantity
		}
		return d
	}
	var instruments []ipc.InstrumentID
	for _, p := range slices.Concat(m.Positions, i.Positions) {
		instruments = append(instruments, p.Instrument)
	}
	slices.Sort(instruments)
	for _, id := range slices.Compact(instruments) {
		if own, theirs := quantity(m.Positions, id), quantity(i.Positions, id); own.Cmp(theirs) != 0 {
			r.add(positionDiffers, "position", string(id), own.String(), theirs.String(), then)
		}
	}
	err := r.orders(m.Open, i.Open, then, recorded)
	return len(r.Differences) > before, err
}

// orders compares what is working at I.
func (r *reconciled) orders(own []supervisor.InspectedIntent, theirs []ipc.OpenOrder, then string, recorded func(ipc.Key) (ipc.Status, bool, error)) error {
	for _, o := range own {
		if !o.Working {
			continue
		}
		n := slices.IndexFunc(theirs, func(t ipc.OpenOrder) bool { return t.Key == o.Key })
		switch {
		case n < 0:
			r.add(orderUnknownToI, "order", string(o.Key), "open, "+o.Remaining.String()+" remain", "not open", then)
		case theirs[n].Remaining.Cmp(o.Remaining) != 0:
			r.add(filledDiffers, "order", string(o.Key), o.Remaining.String()+" remain", theirs[n].Remaining.String()+" remain", then)
		}
	}
	for _, t := range theirs {
		if slices.ContainsFunc(own, func(o supervisor.InspectedIntent) bool { return o.Key == t.Key }) {
			continue
		}
		status, known, err := recorded(t.Key)
		if err != nil {
			return err
		}
		class, says, what := orderUnknownToM, "not open", "the ledger has no such intent: cancel it with I's operator"
		if known {
			class, says, what = orderOverAtM, "over, "+status.String(), "the ledger has it as over, and will not follow it: cancel it with I's operator"
		}
		r.add(class, "order", string(t.Key), says, "open, "+t.Remaining.String()+" remain", what)
	}
	return nil
}
