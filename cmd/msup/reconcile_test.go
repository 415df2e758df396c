package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
)

// tamperI changes what the simulated I of a state directory has kept.
func (p *place) tamperI(state, change string, args ...any) {
	p.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+p.path(state+"/i/sim.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec(change, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		p.t.Fatalf("%s: changed %d rows, %v", change, n, err)
	}
}

// countAtI counts the keys that the simulated I knows.
func (p *place) countAtI(state string) (n int) {
	p.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+p.path(state+"/i/sim.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM keys").Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// heldOf asks msup positions.
func (p *place) heldOf(state string) (held struct {
	Instances []heldBy `json:"instances"`
	Totals    []total  `json:"totals"`
}) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.msup(0, "positions", "--state", state, "--json")), &held); err != nil {
		p.t.Fatal(err)
	}
	return held
}

// agreed wants every intent that left to be at I exactly once, under the same final status, and none at I that M has not decided.
func (p *place) agreed(state string) (intents int) {
	p.t.Helper()
	v, err := statedb.OpenView(p.path(state))
	if err != nil {
		p.t.Fatal(err)
	}
	defer v.Close()
	db, err := sql.Open("sqlite3", "file:"+p.path(state+"/i/sim.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	left := 0
	for _, address := range v.Addresses() {
		r, err := v.OpenInstance(address)
		if err != nil {
			p.t.Fatal(err)
		}
		err = r.Intents(statedb.IntentFilter{}, func(i statedb.Intent) error {
			if i.Status == ipc.StatusNotSeen {
				return nil // refused by the gate
			}
			left++
			var status ipc.Status
			if err := db.QueryRow("SELECT status FROM keys WHERE key = ?", string(i.Key)).Scan(&status); err != nil {
				return fmt.Errorf("key %s is %s in the ledger: %w", i.Key, i.Status, err)
			}
			if status != i.Status {
				return fmt.Errorf("key %s is %s in the ledger and %s at I", i.Key, i.Status, status)
			}
			return nil
		})
		if err != nil {
			p.t.Error(err)
		}
	}
	if err := db.QueryRow("SELECT count(*) FROM keys").Scan(&intents); err != nil || intents != left {
		p.t.Errorf("I has %d keys, the ledger %d: %v", intents, left, err)
	}
	return intents
}

// I's book is changed behind M's back: both are current, and say something else. reconcile names it, --apply takes I's snapshot as a start under
// unknown positions would, and the run goes on from there.
//
// Proves: GT-6, BC-I, NN-6
func TestReconcileTakesIsPositions(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "6000", "-q")
	p.run(0, "st", 2000)
	p.says(p.msup(0, "reconcile", "--state", "st"), "0 differences, 0 reports not taken yet")
	before := p.heldOf("st")
	if len(before.Instances) != 1 || before.Instances[0].Unknown != "" {
		t.Fatalf("positions are %+v", before)
	}
	sold := p.agreed("st")
	p.tamperI("st", "INSERT INTO positions SELECT id, 'SYN-B.SIM', '12.5' FROM accounts WHERE true ON CONFLICT DO UPDATE SET quantity = '12.5'")
	out := p.msup(9, "reconcile", "--state", "st")
	p.says(out, "1 differences", "position SYN-B.SIM", "I: 12.5", "--apply takes I's snapshot")
	var all []reconciled
	if err := json.NewDecoder(strings.NewReader(p.msup(9, "reconcile", "--state", "st", "--json"))).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].Differences) != 1 || all[0].Applied != 0 || all[0].Differences[0].What != "position" || all[0].Differences[0].I != "12.5" {
		t.Errorf("it says %+v", all)
	}
	if now := p.heldOf("st"); len(now.Instances[0].Positions) != len(before.Instances[0].Positions) {
		t.Errorf("reconcile alone changed positions: %+v", now)
	}
	p.says(p.msup(0, "reconcile", "--state", "st", "--apply"), "1 recorded")
	p.says(p.msup(0, "reconcile", "--state", "st"), "0 differences")
	p.says(p.msup(0, "positions", "--state", "st"), "SYN-B.SIM", "12.5")
	p.says(p.msup(0, "reconcile", "--state", "st", "--apply"), "0 recorded")
	p.run(0, "st", 6000)
	p.says(p.msup(0, "reconcile", "--state", "st"), "0 differences, 0 reports not taken yet")
	if after := p.agreed("st"); after <= sold {
		t.Errorf("%d intents reached I, %d had before: the run did not go on", after, sold)
	}
	p.says(p.msup(0, "replay", "--state", "st"), "identical")
}

// A committed key that I has forgotten, or calls something else, is no word that --apply may take.
//
// Proves: GT-5, GT-6
func TestReconcileDoesNotBelieveAnIThatContradictsItself(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "2000", "-q")
	p.run(0, "st", 2000)
	before := p.msup(0, "intents", "--state", "st")
	p.tamperI("st", "UPDATE keys SET status = ? WHERE status = ?", ipc.StatusRejected, ipc.StatusCommitted)
	p.msup(0, "reconcile", "--state", "st", "--apply")
	if after := p.msup(0, "intents", "--state", "st"); after != before {
		t.Errorf("intents were %s\nthey are %s", before, after)
	}
}
