package supervisor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// An instance that runs shows its core between two inputs; what it has shown does not change with it. One that does not answer says so in time,
// and one that has ended shows how it ended.
//
// Proves: OB-8, OB-9
func TestLookShowsARunningInstance(t *testing.T) {
	l := &keptLedger{}
	offered(t, l)
	p := offline(l, nil)
	if err := p.Recover(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Look(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody runs it: %v", err)
	}
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() { // the pump's part
		defer close(ended)
		for {
			select {
			case <-p.box.Wake():
			case <-stop:
				return
			}
			for u, ok := p.box.TakeUrgent(); ok; u, ok = p.box.TakeUrgent() {
				if err := p.takeUrgent(u); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	first, err := p.Look(t.Context())
	if err != nil || first.Health != core.Healthy || len(first.Open) != 2 || len(first.Orders) != 0 {
		t.Fatalf("it shows %+v, %v", first, err)
	}
	for _, c := range []core.Command{{Op: core.OpMode, Who: "alice", Reason: ipc.ReasonOperatorMode, Restriction: ipc.Restriction{NoTrade: true}},
		{Op: core.OpHedgeToFlat, Who: "bob", Reason: ipc.ReasonOperatorHedgeToFlat, Restriction: unrestricted}} {
		change, err := p.Command(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if o := change.After.Orders; len(o) != len(change.Before.Orders)+1 || o[len(o)-1].Who != c.Who || change.After.Health != core.Degraded {
			t.Errorf("%s changed %+v to %+v", c.Who, change.Before, change.After)
		}
	}
	second, err := p.Look(t.Context())
	if err != nil || second.Health != core.Degraded || second.Obligation == nil || len(second.Orders) != 2 || second.Orders[1].Who != "bob" {
		t.Errorf("then it shows %+v, %v", second, err)
	}
	if first.Health != core.Healthy || first.Obligation != nil || len(first.Held) != 0 || len(first.Orders) != 0 {
		t.Errorf("what it had shown became %+v", first)
	}
	close(stop)
	<-ended
	p.box.Close()
	close(p.done)
	if last, err := p.Look(t.Context()); err != nil || last.InputNo != second.InputNo {
		t.Errorf("after its end it shows %+v, %v", last, err)
	}
}
