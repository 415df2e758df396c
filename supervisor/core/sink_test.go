package core

import (
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
)

// Proves: GT-5, GT-6
func TestAnIThatKnowsLessThanItDid(t *testing.T) {
	s := New(ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.Lineage{1})
	s.Sink = Sink{Source: "execution", Step: 7}
	s.setCursor(ipc.Cursor{Source: "execution", Epoch: 3, Seq: 10})
	s.setCursor(ipc.Cursor{Source: "risk", Epoch: 9, Seq: 99})
	for _, c := range []struct {
		what   string
		step   ipc.Step
		cursor ipc.Cursor
		forgot bool
	}{
		{"the same", 7, ipc.Cursor{Source: "execution", Epoch: 3, Seq: 10}, false},
		{"more", 9, ipc.Cursor{Source: "execution", Epoch: 3, Seq: 12}, false},
		{"numbered anew, with everything it had", 7, ipc.Cursor{Source: "execution", Epoch: 4, Seq: 0}, false},
		{"fewer reports", 7, ipc.Cursor{Source: "execution", Epoch: 3, Seq: 9}, true},
		{"an older life", 7, ipc.Cursor{Source: "execution", Epoch: 2, Seq: 50}, true},
		{"fewer steps", 6, ipc.Cursor{Source: "execution", Epoch: 3, Seq: 10}, true},
		{"nothing", 0, ipc.Cursor{Source: "execution", Epoch: 4, Seq: 0}, true},
		{"one that says nothing of itself", 0, ipc.Cursor{}, false},
	} {
		if why := s.Heard().Forgot(c.step, c.cursor); (why != "") != c.forgot {
			t.Errorf("%s: %q", c.what, why)
		}
	}
}

// After the operator's word nothing that was decided before reaches I: what was not sent is withdrawn, what may have been sent can only be barred.
// Proves: GT-5, GT-6, BC-I
func TestResumingWithAnIWithoutMemory(t *testing.T) {
	s := New(ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.Lineage{1})
	s.Sink = Sink{Source: "execution", Step: 7}
	s.setCursor(ipc.Cursor{Source: "execution", Epoch: 3, Seq: 10})
	s.setCursor(ipc.Cursor{Source: "risk", Epoch: 9, Seq: 99})
	s.CoreTS, s.Halted = 50, ipc.ReasonSinkForgot
	track := func(key ipc.Key, status ipc.Status) {
		s.gate.Book.Track(&gate.Tracked{Key: key, Step: 5, Status: status, ValidCore: 1000, InputNo: 1, Intent: &ipc.Intent{Body: &ipc.NoOpIntent{}}})
	}
	track("approved", ipc.StatusApproved)
	track("offered", ipc.StatusOffered)
	e, err := s.Step(&Command{At: At{CoreTS: 60}, Op: OpResume, Restriction: gate.Unrestricted()})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Snapshot || s.Book().Unknown() == "" || s.Halted != "" {
		t.Errorf("snapshot %t, unknown %q, halted %q", e.Snapshot, s.Book().Unknown(), s.Halted)
	}
	if len(e.Statuses) != 1 || e.Statuses[0].Key != "approved" || e.Statuses[0].Status != ipc.StatusWithdrawn {
		t.Errorf("statuses %+v", e.Statuses)
	}
	offered, ok := s.Book().Lookup("offered")
	if !ok || !offered.Unsettled || s.Recheck(offered, s.CoreTS, 0) == ipc.StatusOffered {
		t.Errorf("the offered one could be offered again: %+v", offered)
	}
	if s.SinkCursor() != (ipc.Cursor{}) || s.cursor("risk").Seq != 99 || s.Sink.Step != 0 {
		t.Errorf("cursors %v, sink %+v", s.Cursors, s.Sink)
	}
}

// I is asked beside the pump: a report that comes before its welcome is taken is no sign that I has lost one; and reports that it has made
// and that are not here are seen, whatever was acknowledged.
// Proves: GT-6, BP-3
func TestWhatIWasKnownToHave(t *testing.T) {
	s := New(ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.Lineage{1})
	welcome := ipc.Cursor{Source: "i", Epoch: 1, Seq: 4}
	s.setCursor(welcome)
	greeted := s.Heard()
	s.setCursor(ipc.Cursor{Source: "i", Epoch: 1, Seq: 5})
	if why := greeted.Forgot(0, welcome); why != "" {
		t.Errorf("a report that came meanwhile: %s", why)
	}
	if s.Heard().Forgot(0, welcome) == "" {
		t.Error("an I that names fewer reports than were taken has forgotten nothing")
	}
	for seq, behind := range map[uint64]bool{0: false, 4: false, 5: false, 6: true} {
		if s.Behind(ipc.Cursor{Source: "i", Epoch: 1, Seq: seq}) != behind {
			t.Errorf("I has made %d reports, 5 were taken: behind is not %t", seq, behind)
		}
	}
	e, err := s.Step(&Command{Op: OpBehind, Restriction: gate.Unrestricted()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Book().Unknown() != ipc.ReasonExecutionGap || !e.Snapshot {
		t.Errorf("unknown %q, snapshot %t", s.Book().Unknown(), e.Snapshot)
	}
}

// A connection that ends makes open what was offered, and only that.
// Proves: GT-6
func TestWhatWasOfferedIsAskedAbout(t *testing.T) {
	s := New(ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.Lineage{1})
	for _, c := range []struct {
		key    ipc.Key
		status ipc.Status
	}{{"staged", ipc.StatusStaged}, {"approved", ipc.StatusApproved}, {"offered", ipc.StatusOffered}} {
		s.gate.Book.Track(&gate.Tracked{Key: c.key, Status: c.status, InputNo: 9, Intent: &ipc.Intent{Body: &ipc.NoOpIntent{}}})
	}
	if _, err := s.Step(&Command{Op: OpReask, Restriction: gate.Unrestricted()}); err != nil {
		t.Fatal(err)
	}
	for _, tracked := range s.Book().All() {
		if tracked.Unsettled != (tracked.Status == ipc.StatusOffered) {
			t.Errorf("%s: unsettled %t", tracked.Key, tracked.Unsettled)
		}
	}
}
