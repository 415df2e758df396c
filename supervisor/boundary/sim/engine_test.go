package sim

import (
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// A full disk: what could not be made durable is not told, and the error says where and what to do.
// Proves: GT-6, BC-I
func TestFullDiskTellsNothing_GT6(t *testing.T) {
	s, err := openStore(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEngine(s, DefaultSource, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var told []ipc.Message
	p := &peer{name: "test", hellos: make(map[ipc.Address]ipc.Nonce), send: func(m ipc.Message) error { told = append(told, m); return nil }}
	do := func(m ipc.Message) error {
		if err := e.handle(p, m); err != nil {
			t.Fatal(err)
		}
		return e.commit()
	}
	if err := do(&ipc.BoundaryHello{Seq: 1, Address: address, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("PRAGMA max_page_count = 1"); err != nil { // SQLite takes the present size where it is larger
		t.Fatal(err)
	}
	r := &rig{t: t, epoch: 1}
	for i := range 5000 {
		o := r.makeOffer(address, string(rune('A'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), &ipc.NoOpIntent{Reason: "x"})
		told = nil
		err := do(o)
		if err == nil {
			if len(told) != 1 {
				t.Fatalf("offer %d was told %v", i, text(told))
			}
			continue
		}
		if len(told) != 0 {
			t.Errorf("told %v although nothing is durable", text(told))
		}
		if !strings.Contains(err.Error(), databaseName) || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "disk's space") {
			t.Errorf("the error is %v", err)
		}
		lost := o.Intent.Meta.Key
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if s, err = openStore(strings.TrimSuffix(s.path, "/"+databaseName), false); err != nil {
			t.Fatal(err)
		}
		if e, err = newEngine(s, DefaultSource, quiet); err != nil {
			t.Fatal(err)
		}
		if len(e.keys) != i || e.keys[lost] != nil {
			t.Errorf("after a restart %d keys are known, want the %d that were told", len(e.keys), i)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the disk was never full")
}

// An instance may not have more open orders than a snapshot can tell.
// Proves: BC-I
func TestOpenOrdersStayWithinASnapshot_BCI(t *testing.T) {
	s, err := openStore(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEngine(s, DefaultSource, quiet)
	if err != nil {
		t.Fatal(err)
	}
	a := &account{id: 1, address: address, sourceEpoch: 1, positions: make(map[ipc.InstrumentID]ipc.Decimal)}
	e.accounts[address] = a
	a.open = maxOpenOrders - 1
	limitOrder := func(name string) *ipc.Intent { return intent(address, name, newOrder(buy, limit, "1", "5")) }
	if status, reason := e.execute(a, limitOrder("a")); status != ipc.StatusCommitted {
		t.Errorf("the last order that fits: %s %s", status, reason)
	}
	if status, reason := e.execute(a, limitOrder("b")); status != ipc.StatusRejected || reason != ReasonTooManyOrders {
		t.Errorf("one order more: %s %s", status, reason)
	}
	if err := e.commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openStore(strings.TrimSuffix(s.path, "/"+databaseName), true); err != nil {
		t.Fatal(err)
	}
	if e, err = newEngine(s, DefaultSource, quiet); err == nil {
		err = s.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if e.orders[key("a")] == nil || len(e.byID["X"]) != 1 {
		t.Errorf("restored orders %v", e.orders)
	}
}
