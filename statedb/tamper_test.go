package statedb

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/msup/msup/ipc"
)

// One change each that SQLite cannot see, and what has to find it. The instance has number 1; its rows 2 and 3 (an open intent and its
// status) are kept below the anchor, its chain goes on after row 23.
//
// Proves: ST-4, NN-3
func TestTamperedRecordsAreFound(t *testing.T) {
	const id = 1 << 40
	row := func(n int) string { return fmt.Sprint(id + n) }
	for name, tamper := range map[string]struct {
		sql  string
		want error
	}{
		"payload":            {"UPDATE rows SET payload = payload || x'00' WHERE id = " + row(30), ErrChain},
		"payload, kept row":  {"UPDATE rows SET payload = payload || x'00' WHERE id = " + row(2), ErrChain},
		"head":               {"UPDATE rows SET head = zeroblob(32) WHERE id = " + row(30), ErrChain},
		"head, short":        {"UPDATE rows SET head = x'00' WHERE id = " + row(30), ErrChain},
		"kind":               {"UPDATE rows SET kind = 3 WHERE id = " + row(30), ErrChain},
		"input number":       {"UPDATE rows SET input_no = 5 WHERE id = " + row(30), ErrChain},
		"another key":        {"UPDATE rows SET ikey = x'0000000100000000000000000000000000000000' WHERE id = " + row(2), ErrChain},
		"no key":             {"UPDATE rows SET ikey = NULL WHERE id = " + row(2), ErrChain},
		"row missing":        {"DELETE FROM rows WHERE id = " + row(30), ErrChain},
		"kept row missing":   {"DELETE FROM rows WHERE id = " + row(3), ErrChain},
		"last row missing":   {"DELETE FROM rows WHERE id = (SELECT max(id) FROM rows)", ErrRowsLost},
		"all rows missing":   {"DELETE FROM rows", ErrRowsLost},
		"row moved":          {"UPDATE rows SET id = id + 1 WHERE id = (SELECT max(id) FROM rows)", ErrChain},
		"anchor":             {"UPDATE anchors SET row_no = row_no + 1", ErrChain},
		"anchor missing":     {"DELETE FROM anchors", ErrChain},
		"lease":              {"UPDATE leases SET pid = 99", ErrCorrupt},
		"lease gone":         {"DELETE FROM leases", ErrRowsLost},
		"identity renamed":   {"UPDATE instances SET instance = 'j'", ErrCorrupt},
		"identity gone":      {"DELETE FROM instances", ErrRowsLost},
		"lineage exchanged":  {"UPDATE instances SET lineage = zeroblob(16)", ErrCorrupt},
		"nothing":            {"UPDATE rows SET payload = payload", nil},
		"types, not numbers": {"UPDATE rows SET crc = 'text' WHERE id = " + row(30), ErrChain},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir, Options{Durability: Process})
			in := openInstance(t, db, "i")
			if _, err := in.NextEpoch(LeaseRow{PID: 1}); err != nil {
				t.Fatal(err)
			}
			b := inputBatch(1, 1)
			b.Intents, b.Statuses = []IntentRow{intentRow(1)}, []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged}}
			mustPersist(t, in, b)
			fill(t, in, 20)
			mustSave(t, in, "older")
			fill(t, in, 20)
			mustSave(t, in, "newer")
			if n, err := in.Prune(); n != 21 || err != nil {
				t.Fatalf("pruned %d, %v", n, err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c, err := openConn(filepath.Join(dir, "ledger.db"), false)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.script(tamper.sql), c.close()); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(dir)
			if err != nil || report.OK() != (tamper.want == nil) {
				t.Errorf("verify: %v %+v", err, report)
			}
			db = open(t, dir, Options{})
			in, err = db.OpenInstance(address("i"))
			var e *Error
			switch {
			case tamper.want == nil:
				if err != nil || in.LastInput() != 41 {
					t.Errorf("got %v", err)
				}
			case !errors.Is(err, tamper.want) || !errors.As(err, &e) || e.Remedy == "":
				t.Errorf("got %v, want %v", err, tamper.want)
			case e.Evidence == "":
				t.Errorf("no evidence kept: %v", err)
			}
		})
	}
}
