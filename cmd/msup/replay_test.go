package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
)

// breakNewest destroys the newest checkpoint of a state directory's only instance.
func (p *place) breakNewest(state string) {
	p.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+p.path(state+"/checkpoints.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	// Behind magic and lineage lies the generation.
	r, err := db.Exec("UPDATE slots SET body = zeroblob(length(body)) WHERE slot = (SELECT slot FROM slots ORDER BY hex(substr(body, 21, 8)) DESC LIMIT 1)")
	if err != nil {
		p.t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		p.t.Fatalf("%d slots were destroyed, %v", n, err)
	}
}

// Where the beginning of the log is gone, a replay begins at the older checkpoint, whether the newer one can be read or not; and so do the next
// run and a capsule.
//
// Proves: NN-7, ST-3, ST-4
func TestReplayOfAPrunedLog(t *testing.T) {
	p := newPlace(t)
	p.trades("ema_cross", map[string]string{"strategy.toml": "../../examples/ema_cross/strategy.toml", "strategy.py": "../../examples/ema_cross/strategy.py"})
	text, err := os.ReadFile(p.path("ema_cross/strategy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	p.write("ema_cross/strategy.toml", string(text)+"\n[state]\ncheckpoint_steps = 200\n")
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "6000", "-q")
	for _, events := range []int{1500, 3000, 4500} {
		p.run(0, "st", events)
	}
	one := p.listed("st").Instances[0]
	if len(one.Checkpoints) != 2 {
		t.Fatalf("checkpoints %+v", one.Checkpoints)
	}
	older := one.Checkpoints[1].Step
	v, err := statedb.OpenView(p.path("st"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.OpenInstance(v.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	if first := r.FirstInput(); first <= 1 {
		t.Fatalf("nothing was pruned: the log begins at input %d", first)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	replays := func() {
		t.Helper()
		out := p.msup(0, "replay", "--state", "st", "--json")
		var all []supervisor.Verification
		if err := json.NewDecoder(strings.NewReader(out[strings.Index(out, "[\n"):])).Decode(&all); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(all) != 1 || !all[0].Identical || all[0].FromStep != older+1 || all[0].ToStep != one.Step || all[0].Steps != int(one.Step-older) {
			t.Errorf("older checkpoint at step %d, last step %d, replayed %+v", older, one.Step, all)
		}
	}
	replays()
	p.says(p.msup(1, "capsule", one.Address, "--state", "st", "--from", "2", "-o", "x"), "step 2 was pruned", "a backup or an export of then has it")
	p.breakNewest("st")
	replays()
	p.says(p.msup(0, "replay", "--state", "st"), "CHECKPOINT_CORRUPT", fmt.Sprintf("identical: steps %d to %d", older+1, one.Step))
	p.msup(0, "capsule", one.Address, "--state", "st", "--from", fmt.Sprint(one.Step-3), "--to", fmt.Sprint(one.Step), "-o", "last.capsule")
	p.says(p.msup(0, "replay", "last.capsule"), fmt.Sprintf("identical: steps %d to %d", older+1, one.Step))
	p.run(0, "st", 6000)
	p.says(p.msup(0, "replay", "--state", "st"), "identical")
	p.says(p.msup(0, "reconcile", "--state", "st"), "0 differences")
}
