package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/msup/msup/statedb"
)

// program is msup itself: strategies need it as their second stage, a simulated I as its process.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cmd-msup-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "msup")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const secretValue = "s3cr3t-v4lue-of-the-venue"

// place is a folder with a store, leases and a deployment of its own.
type place struct {
	t   *testing.T
	dir string
	env []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir()}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	p.write("venue.key", secretValue)
	p.write("msup.toml", fmt.Sprintf(`[[bot]]
id = "desk"
[secrets]
venue = { env = "VENUE_SECRET_NAME" }
[[strategy]]
package = %q
bot = "desk"
`, filepath.Join(examples, "ema_cross")))
	p.env = append(os.Environ(), "MSUP_PYTHON="+tool(t, "python3"), "MSUP_STORE="+p.path("store"), "XDG_RUNTIME_DIR="+p.path("run"),
		"MSUP_LEASE_DIR="+p.path("leases"), "MSUP_ISOLATION=L1", // what these tests tell does not depend on the walls
		"VENUE_SECRET_NAME="+secretValue)
	if err := os.Mkdir(p.path("run"), 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// msup runs the program and wants an exit code; what it printed comes back, errors behind results.
func (p *place) msup(want int, args ...string) string {
	p.t.Helper()
	path, err := program()
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.CommandContext(p.t.Context(), path, args...)
	c.Dir, c.Env = p.dir, p.env
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	if got := c.ProcessState.ExitCode(); got != want {
		p.t.Fatalf("msup %s: exit code %d, want %d (%v)\n%s\n%s", strings.Join(args, " "), got, want, err, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

func (p *place) run(want int, state string, events int) string {
	p.t.Helper()
	return p.msup(want, "run", "-c", "msup.toml", "--feed", "market.jsonl", "--events", fmt.Sprint(events), "--state", state, "-q")
}

func (p *place) says(text string, all ...string) {
	p.t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			p.t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// Proves: ST-4, NN-3
func TestStateVerbs(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "3000", "-q")
	p.run(0, "st", 3000)
	p.says(p.msup(0, "state", "verify", "st"), "desk/ema_cross/", "ok:", "1 instances, everything verifies")
	var l listing
	if err := json.Unmarshal([]byte(p.msup(0, "state", "list", "st", "--json")), &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Instances) != 1 || l.Instances[0].Step < 100 || l.Instances[0].Bytes == 0 || len(l.Instances[0].Checkpoints) == 0 ||
		l.Instances[0].Checkpoints[0].Step != l.Instances[0].Step || l.Files["ledger.db"] == 0 {
		t.Errorf("listed %+v", l)
	}
	p.says(p.msup(0, "state", "list", "st"), "CHECKPOINTS AT STEP", fmt.Sprint(l.Instances[0].Step))
	p.says(p.msup(0, "state", "export", "st", "-o", "st.jsonl"), "1 instances", "sha256")
	p.says(p.msup(1, "state", "export", "st", "-o", "st.jsonl"), "exists")
	p.says(p.msup(2, "state", "export", "st"), "-o")
	p.says(p.msup(0, "state", "import", "st.jsonl", "imported"), "everything verifies")
	p.says(p.msup(5, "state", "import", "st.jsonl", "imported"), "not empty", "name a directory")
	p.says(p.msup(0, "state", "backup", "st", "copy"), "everything verifies")
	p.says(p.msup(5, "state", "backup", "st", "st"), "not empty")
	p.says(p.msup(5, "state", "list", "nowhere"), "no such directory")
	for _, dir := range []string{"imported", "copy"} {
		p.says(p.msup(0, "replay", "--state", dir), "identical")
	}
	p.says(p.msup(0, "positions", "--state", "st"), "INSTRUMENT", "desk/ema_cross/")
	p.says(p.msup(0, "intents", "--state", "st", "--status", "committed", "--from", "1"), "committed")
	if out := p.msup(0, "intents", "--state", "st", "--status", "rejected", "--verdict", "refused"); out != "" {
		t.Errorf("rejected intents that were refused: %s", out)
	}
	p.says(p.msup(2, "intents", "--state", "st", "--status", "open"), "write some of")
	p.says(p.msup(2, "intents", "--state", "st", "--verdict", "x"), "write one of")
}

// Proves: ST-5
func TestStateOfAnotherBotIsRefused(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "300", "-q")
	p.run(0, "st", 300)
	before := p.msup(0, "state", "list", "st", "--json")
	text, err := os.ReadFile(p.path("msup.toml"))
	if err != nil {
		t.Fatal(err)
	}
	p.write("msup.toml", strings.ReplaceAll(string(text), `"desk"`, `"other"`))
	p.says(p.run(5, "st", 300), "it is of bot desk; this deployment has bot other", "nothing was changed")
	if after := p.msup(0, "state", "list", "st", "--json"); after != before {
		t.Errorf("it was changed:\n%s\n%s", before, after)
	}
	p.write("run/thesis.txt", "")
	p.says(p.run(5, "run", 300), "thesis.txt, which msup did not put there")
}

// Proves: ST-4
func TestVerifyNamesTheBadRow(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "500", "-q")
	p.run(0, "st", 500)
	path := p.path("st/ledger.db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Everywhere: SQLite leaves old copies of rows in the unused part of its pages, and damage there is none.
	damaged := bytes.ReplaceAll(data, []byte("SYN-A.SIM"), []byte("RYN-A.SIM"))
	if bytes.Equal(damaged, data) {
		t.Fatal("no event of SYN-A.SIM in the ledger")
	}
	data = damaged
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p.says(p.msup(5, "state", "verify", "st"), "DAMAGED", " row ", "checksum", "restore the state directory from a backup")
	var r reportJSON
	out := p.msup(5, "state", "verify", "st", "--json")
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil || r.OK || len(r.Instances) != 1 || len(r.Instances[0].Problems) == 0 {
		t.Errorf("%v: %s", err, out)
	}
	p.says(p.msup(5, "state", "export", "st", "-o", "x"), "checksum")
	if _, err := os.Stat(p.path("x")); err == nil {
		t.Error("half an export was left behind")
	}
}

// An older backup put in the place of the directory is found out by what I has seen.
//
// Proves: ST-4, GT-6, LS-3
func TestOlderBackupIsFoundThroughLastStep(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "6000", "-q")
	p.run(0, "st", 2000)
	p.msup(0, "state", "backup", "st", "older")
	p.says(p.msup(0, "reconcile", "--state", "st"), "0 differences")
	p.run(0, "st", 6000)
	for _, err := range []error{os.Rename(p.path("st"), p.path("lost")), os.Rename(p.path("older"), p.path("st")), os.Rename(p.path("lost/i"), p.path("st/i"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.says(p.msup(9, "reconcile", "--state", "st"), "older backup", "nothing is applied")
	p.says(p.msup(9, "reconcile", "--state", "st", "--json"), `"last_step_at_i"`)
	p.says(p.msup(0, "reconcile", "--state", "st", "--apply"), "0 recorded")
	keys := p.countAtI("st")
	for range 2 {
		p.says(p.run(7, "st", 6000), "halted (ROWS_LOST)", "or the state directory is an older copy", "evidence=")
	}
	kept, err := filepath.Glob(p.path("st/evidence/*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("evidence of two starts: %v, %v", kept, err)
	}
	for _, name := range []string{"ledger.db", "checkpoints.db", "mark", "note.json"} {
		if info, err := os.Stat(filepath.Join(kept[0], name)); err != nil || info.Size() == 0 {
			t.Errorf("the evidence has no %s: %v", name, err)
		}
	}
	if now := p.countAtI("st"); now != keys {
		t.Errorf("I has %d keys, it had %d", now, keys)
	}
	p.says(p.msup(0, "explain", "ROWS_LOST"), "older backup", "msup reconcile")
	if r, err := statedb.Verify(p.path("st")); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// On a host that has no lease of the later runs, an older backup has an epoch that I knows as passed: it is refused, and the message says so.
// --above goes above it, and the rest is as on the same host.
//
// Proves: LS-3, ST-4, GT-6
func TestOlderBackupOnAnotherHostIsRefusedByEpoch(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "3000", "-q")
	p.run(0, "st", 1000)
	p.msup(0, "state", "backup", "st", "older")
	for _, events := range []int{1500, 2000, 3000} {
		p.run(0, "st", events)
	}
	// Another host: the backup, I as it is, no lease.
	for _, err := range []error{os.RemoveAll(p.path("leases")), os.Rename(p.path("st/i"), p.path("older/i"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	keys := p.countAtI("older")
	p.says(p.run(9, "older", 3000), "EPOCH_PASSED, the highest epoch it knows is 4", "older backup or a copy")
	p.says(p.msup(0, "explain", "EPOCH_PASSED"), "older backup", "--above")
	p.says(p.msup(9, "reconcile", "--state", "older"), "EPOCH_PASSED")
	p.says(p.msup(9, "reconcile", "--state", "older", "--above", "4"), "has seen step", "older backup", "nothing is applied")
	p.says(p.run(7, "older", 3000), "halted (ROWS_LOST)")
	if now := p.countAtI("older"); now != keys {
		t.Errorf("I has %d keys, it had %d", now, keys)
	}
}

// Proves: NN-7, BC-H, OB-9
func TestCapsule(t *testing.T) {
	p := newPlace(t)
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "3000", "-q")
	p.run(0, "st", 1500)
	p.run(0, "st", 3000) // steps on both sides of a checkpoint
	var l listing
	if err := json.Unmarshal([]byte(p.msup(0, "state", "list", "st", "--json")), &l); err != nil {
		t.Fatal(err)
	}
	name, last := l.Instances[0].Address, l.Instances[0].Step
	older := l.Instances[0].Checkpoints[1].Step
	for file, steps := range map[string][2]string{"early.capsule": {"2", "400"}, "late.capsule": {fmt.Sprint(older + 5), fmt.Sprint(last)}} {
		args := []string{"capsule", name, "--state", "st", "--from", steps[0], "--to", steps[1], "-o"}
		p.says(p.msup(0, append(args, file)...), "sha256")
		p.msup(0, append(args, "again")...)
		one, err := os.ReadFile(p.path(file))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(p.path("again"))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: made twice, two capsules (%v)", file, err)
		}
		if err := os.Remove(p.path("again")); err != nil {
			t.Fatal(err)
		}
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{secretValue, "VENUE_SECRET_NAME", p.dir, "PYTHONHASHSEED", " " + host + " ", tool(t, "python3")} {
			if bytes.Contains(one, []byte(secret)) {
				t.Errorf("%s holds %q", file, secret)
			}
		}
		// Another machine: nothing but the capsule.
		other := newPlace(t)
		if err := os.WriteFile(other.path(file), one, 0o600); err != nil {
			t.Fatal(err)
		}
		out := other.msup(0, "replay", file)
		other.says(out, "identical: steps ", " to "+steps[1])
		if entries, err := os.ReadDir(other.path("store/packages")); err == nil && len(entries) > 0 {
			t.Errorf("the replay left %v in the store", entries)
		}
		one[len(one)/2] ^= 1
		other.write("edited.capsule", string(one))
		other.says(other.msup(3, "replay", "edited.capsule"), "capsule: ", "was changed", "nothing was run")
		other.write("cut.capsule", string(one[:len(one)/3]))
		other.says(other.msup(3, "replay", "cut.capsule"), "cut off")
		other.says(other.msup(3, "replay", file, "--sha256", strings.Repeat("0", 64)), "not the 0000")
	}
	if !strings.Contains(p.msup(0, "replay", "late.capsule"), fmt.Sprintf("steps %d to", older+1)) {
		t.Error("the late capsule does not begin at the checkpoint")
	}
	p.says(p.msup(1, "capsule", name, "--state", "st", "--from", fmt.Sprint(last+1), "-o", "x"), "is not in the ledger")
	p.says(p.msup(2, "capsule", name, "--state", "st", "--from", "9", "--to", "8", "-o", "x"), "the first comes first")
	p.says(p.msup(2, "capsule", "a/b/c", "--state", "st", "--from", "9", "-o", "x"), "no instance")
	p.says(p.msup(1, "capsule", name, "--state", "st", "--from", "9", "-o", "late.capsule"), "exists")
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "msup-capsule-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
