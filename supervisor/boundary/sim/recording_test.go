package sim

import (
	"reflect"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/tests/recordings"
)

// A real recording with offers in between, twice: equal reports, and the position is what the fills say.
// Proves: NN-7, BC-I
func TestRecordedFeedGivesTheSameReports_NN7(t *testing.T) {
	path, ok := recordings.Path(t, "hftbacktest/spot/btcusdt_20240808.gz")
	if !ok {
		return
	}
	run := func() []ipc.Message {
		r := newRig(t)
		s, err := feed.Open(path, feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = feed.Drain(s, func(ev ipc.MarketEvent) error {
			if n++; n%500 == 0 {
				o := newOrder(buy, market, "0.01", "")
				if n%1000 == 0 {
					o = newOrder(sell, limit, "0.01", "61850")
				}
				o.Instrument = "BTCUSDT.BINANCE"
				if _, err := r.client.Offer(r.makeOffer(address, string(rune('A'+n/500%26))+string(rune('a'+n/13000)), o)); err != nil {
					return err
				}
			}
			return r.client.Publish(r.bg, ev)
		})
		if err != nil {
			t.Fatal(err)
		}
		if n != 41_249 {
			t.Fatalf("%d events", n)
		}
		r.snapshotQuietly()
		return r.notes.take()
	}
	a, b := run(), run()
	if !reflect.DeepEqual(a, b) {
		t.Error("the same recording gives other reports")
	}
	var position ipc.Decimal
	fills := 0
	for _, m := range a {
		e, ok := m.(*ipc.SourceEvent)
		if !ok {
			continue
		}
		switch x := e.Event.(type) {
		case *ipc.Execution:
			if x.Report == ipc.ExecFilled {
				fills++
				q := *x.Quantity
				if x.Side == sell {
					q = q.Neg()
				}
				position, _ = position.Add(q)
			}
		case *ipc.ExecutionSnapshot:
			var got ipc.Decimal
			if len(x.Positions) == 1 {
				got = x.Positions[0].Quantity
			}
			if got != position {
				t.Errorf("the snapshot says %s, the fills %s", got, position)
			}
		}
	}
	if fills < 42 {
		t.Errorf("%d fills; every market order fills at once", fills)
	}
}

func (r *rig) snapshotQuietly() {
	r.t.Helper()
	if _, err := r.client.RequestSnapshot(address); err != nil {
		r.t.Fatal(err)
	}
	if err := r.client.Sync(r.bg); err != nil {
		r.t.Fatal(err)
	}
}
