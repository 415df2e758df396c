package supervisor

import (
	"slices"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
)

// What an earlier run's queue imposed does not outlive it, and what this one's imposed is imposed again after a void.
// Proves: BP-4
func TestQueueRestrictionAgreesWithTheQueue(t *testing.T) {
	p := offline(&keptLedger{}, nil)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	if err := p.takeOver(1); err != nil {
		t.Fatal(err)
	}
	held := func() bool {
		return slices.ContainsFunc(p.state.Held, func(h gate.Held) bool { return h.ID == heldByQueue && h.Reason == ipc.ReasonQueueCeiling })
	}
	agree := func() {
		t.Helper()
		if err := p.agreeOnQueue(); err != nil {
			t.Fatal(err)
		}
	}
	no := p.state.InputNo
	if agree(); p.state.InputNo != no {
		t.Error("an input although nothing is to be said")
	}
	if err := p.apply(p.stamp(queueCeiling(true).input)); err != nil || !held() {
		t.Fatal("not restricted", err)
	}
	if agree(); held() {
		t.Error("the restriction of a queue that is gone stands")
	}
	for range 2 {
		p.Offer(Market{}) // never conflated; the ceiling is one
	}
	if agree(); !held() || !p.Counts().Congested {
		t.Errorf("%+v, restricted %v", p.Counts(), held())
	}
}
