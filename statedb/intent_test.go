package statedb

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// planOf asks SQLite how it would carry a query out.
func planOf(t *testing.T, c *conn, query string, args ...driver.Value) string {
	t.Helper()
	var b strings.Builder
	err := c.query(func(v []driver.Value) error {
		fmt.Fprintln(&b, v[3])
		return nil
	}, 4, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No query for an intent looks at the whole table, or sorts.
//
// Proves: GT-6, RS-5
func TestAnIntentIsFoundThroughAnIndex(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := openInstance(t, db, "a")
	kb, err := keyBytes(nthKey(1))
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.read.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer db.read.release(c)
	for query, want := range map[string]struct {
		plan string
		args []driver.Value
	}{
		selectIntent:   {"SEARCH rows USING INDEX intent_keys (ikey=?)\n", []driver.Value{indexKey(in.st.id, kb)}},
		selectStatuses: {"SEARCH rows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)\n", []driver.Value{rowID(in.st.id, 1), rowID(in.st.id, maxRowNo)}},
	} {
		if got := planOf(t, c, query, want.args...); got != want.plan {
			t.Errorf("%s\nis carried out as %swant %s", query, got, want.plan)
		}
	}
}

// The last status of an intent is found without walking the ledger, whether it is final, open, or never left the gate: a row far behind it is
// broken here, and nobody comes across it. Only the history of one that is still open needs it.
//
// Proves: GT-6, RS-5
func TestTheStatusOfAnOldIntentIsFoundWithoutTheLedgerBehindIt(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := openInstance(t, db, "a")
	status := func(n int, s ipc.Status) StatusRow { return StatusRow{Key: nthKey(n), Status: s} }
	refused, late := intentRow(3), intentRow(4)
	refused.Verdict, late.Verdict = verdictRefused, verdictLate
	in.Persist(&Batch{Intents: []IntentRow{intentRow(1), intentRow(2), refused, late}, Statuses: []StatusRow{status(1, ipc.StatusStaged), status(2, ipc.StatusStaged),
		status(1, ipc.StatusApproved), status(1, ipc.StatusExpired), status(2, ipc.StatusApproved)}})
	for n := 10; n < 40; n++ {
		in.Persist(&Batch{Intents: []IntentRow{intentRow(n)}, Statuses: []StatusRow{status(n, ipc.StatusStaged), status(n, ipc.StatusWithdrawn)}})
	}
	if _, err := in.Flush(); err != nil {
		t.Fatal(err)
	}
	far := int64(in.Head().RowNo) - 3 // a status
	if err := db.writer.call(&op{st: in.st, apply: func(g *group, _ *pending) error {
		return g.c.exec("UPDATE rows SET crc = crc + 1 WHERE id = ? AND kind = 3", rowID(in.st.id, uint64(far)))
	}}); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]ipc.Status{1: ipc.StatusExpired, 2: ipc.StatusApproved, 3: ipc.StatusNotSeen, 4: ipc.StatusNotSeen} {
		i, err := in.Intent(nthKey(n))
		if err != nil || i.Status != want || i.Step != ipc.Step(n) {
			t.Errorf("intent %d: %s, %v; want %s", n, i.Status, err, want)
		}
		row, err := in.IntentRow(nthKey(n))
		if err != nil || row.Key != nthKey(n) || row.Digest != i.Digest {
			t.Errorf("row of intent %d: %+v, %v", n, row, err)
		}
	}
	if _, err := in.StatusHistory(nthKey(2)); err == nil {
		t.Error("the broken row was not there: nothing was proved")
	}
	if _, err := in.IntentRow(nthKey(99)); err == nil {
		t.Error("an unknown key has a row")
	}
}
