package core

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
)

// Sink is what I is known to have, by its own words. An I that later knows less has lost its memory: it would take an old key once more.
type Sink struct {
	Source ipc.SourceID `json:"source"` // of I's cursors
	Step   ipc.Step     `json:"step"`   // the highest step of an intent that I has given its word on
}

// heard takes note of a step that I has seen. An expired key says nothing: I also answers so when it bars a key that it never saw.
func (s *State) heard(t *gate.Tracked, status ipc.Status) {
	switch status {
	case ipc.StatusOffered, ipc.StatusCommitted, ipc.StatusRejected:
		s.Sink.Step = max(s.Sink.Step, t.Step)
	}
}

// Heard is what I was known to have at one moment: I is asked beside the pump, and what arrives meanwhile may be newer than its welcome.
type Heard struct {
	step    ipc.Step
	cursors []ipc.Cursor
}

// Heard returns what I is known to have now.
func (s *State) Heard() Heard { return Heard{s.Sink.Step, slices.Clone(s.Cursors)} }

// Forgot compares what I says of itself at the beginning of a connection with what it was known to have when it was greeted, and says what is
// missing; "" = nothing. An I that names no source of reports cannot be compared.
func (h Heard) Forgot(lastStep ipc.Step, c ipc.Cursor) string {
	mine := ipc.Cursor{Source: c.Source}
	if i := slices.IndexFunc(h.cursors, func(at ipc.Cursor) bool { return at.Source == c.Source }); i >= 0 {
		mine = h.cursors[i]
	}
	switch {
	case c.Source == "":
		return ""
	case lastStep < h.step:
		return fmt.Sprintf("I has seen step %d and has judged step %d before", lastStep, h.step)
	case c.Epoch < mine.Epoch:
		return fmt.Sprintf("I is in source epoch %d and was in %d before", c.Epoch, mine.Epoch)
	case c.Epoch == mine.Epoch && c.Seq < mine.Seq:
		return fmt.Sprintf("I has made %d reports and had made %d before", c.Seq, mine.Seq)
	}
	return ""
}

// Behind reports whether I has made reports that were not taken here. It sends those again that nobody acknowledged; but another copy of the
// state directory may have acknowledged some, and with them they are gone.
func (s *State) Behind(c ipc.Cursor) bool {
	mine := s.cursor(c.Source)
	return c.Seq > 0 && (c.Epoch > mine.Epoch || c.Epoch == mine.Epoch && c.Seq > mine.Seq)
}

// SinkCursor is how far I's reports have been taken.
func (s *State) SinkCursor() ipc.Cursor { return s.cursor(s.Sink.Source) }

// reask marks what was offered as open: whether it reached I is not known any more. What is only approved has not left.
func (s *State) reask() {
	for _, t := range s.gate.Book.Open() {
		if t.Status == ipc.StatusOffered {
			t.Unsettled, t.Again = true, false
		}
	}
}

// forgetSink carries out the operator's word that an I without memory is to be taken as it is: positions and open orders are its snapshot's,
// and nothing that was decided before is ever offered to it (GT-5).
func (s *State) forgetSink(e *Effects) {
	s.Cursors = slices.DeleteFunc(s.Cursors, func(c ipc.Cursor) bool { return c.Source == s.Sink.Source })
	s.Sink = Sink{}
	s.gate.Book.SetUnknown(ipc.ReasonPositionUnknown)
	e.Snapshot = true
	for _, t := range s.gate.Book.Open() {
		switch t.Status {
		case ipc.StatusStaged, ipc.StatusApproved:
			s.setStatus(t, ipc.StatusWithdrawn, ipc.ReasonSinkForgot, e)
		case ipc.StatusOffered: // I is asked by key, and bars the key when it does not know it
			t.ValidCore = min(t.ValidCore, cmp.Or(s.CoreTS, 1)-1)
			t.Unsettled, t.Again = true, false
		}
	}
	e.note(guard.Warn, ipc.ReasonSinkForgot, "resumed: what was decided before is not offered")
}
