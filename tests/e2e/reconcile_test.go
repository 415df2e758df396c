package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// says runs a verb, wants its exit code and returns all that it said.
func (x *fast) says(want int, args ...string) string {
	x.t.Helper()
	c := x.command(args...)
	overdue := time.AfterFunc(patience, func() { _ = c.Process.Kill() }) // it may have ended
	defer overdue.Stop()
	out, _ := c.CombinedOutput() // the code says it
	if code := c.ProcessState.ExitCode(); code != want {
		x.t.Fatalf("msup %s ended with %d, want %d:\n%s", strings.Join(args, " "), code, want, tail(string(out)))
	}
	return string(out)
}

func (x *fast) reconcile(want int, more ...string) string {
	x.t.Helper()
	return x.says(want, append([]string{"reconcile", "--state", filepath.Join(x.dir, "state"), "--execution-socket", x.socket}, more...)...)
}

func (x *fast) contains(text string, all ...string) {
	x.t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			x.t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// I dies between an order's effect and its word on it, and so does the supervisor. reconcile names the intent, --apply takes I's word,
// and the next run goes on: the venue has been told the same as without, and nothing twice.
// Proves: GT-5, GT-6, BC-I, NN-6
func TestReconcileTakesIsWordOnAnIntent(t *testing.T) {
	whole := newFast(t, "whole", faultEvents)
	i := whole.adverse(1)
	whole.summary(0)
	whole.stopI(i)
	want := whole.applied()

	x := newFast(t, "reconciled", faultEvents)
	i = x.start("--die-at", "handled", "--die-after", "7")
	c := x.command(x.args()...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	x.died(i)
	time.Sleep(200 * time.Millisecond) // M waits for an I that comes back; what was offered is durable
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()              // it was killed
	x.reconcile(exitBoundary) // nobody is there
	i = x.adverse(1)
	x.await(func() bool { return strings.Contains(x.reconcile(exitBoundary), "I: committed") }) // it asks its venue what became of the key
	out := x.reconcile(exitBoundary)
	x.contains(out, "  intent ", "M: offered", "I: committed", "the next start, or --apply, takes I's word", "1 reports not taken yet")
	x.contains(x.says(0, "intents", "--state", filepath.Join(x.dir, "state"), "--open"), "offered")
	x.contains(x.reconcile(0, "--apply"), "1 recorded")
	if out := x.says(0, "intents", "--state", filepath.Join(x.dir, "state"), "--open"); strings.Contains(out, "offered") {
		t.Errorf("still offered:\n%s", out)
	}
	out = x.reconcile(exitBoundary) // the report of the fill is the next start's
	x.contains(out, "  position ", "reports of I are not in the ledger yet: the next start takes them")
	if strings.Contains(out, "  intent ") {
		t.Errorf("the intent is still another:\n%s", out)
	}
	x.contains(x.reconcile(0, "--apply"), "0 recorded")
	x.matches(x.summary(0), 0)
	x.contains(x.reconcile(0), "0 differences, 0 reports not taken yet")
	x.stopI(i)
	got := x.applied()
	for at := range max(len(want), len(got)) {
		if at >= len(want) || at >= len(got) || want[at] != got[at] {
			t.Fatalf("effect %d differs of %d and %d:\nwithout %+v\nwith    %+v", at, len(want), len(got), tailOf(want, at), tailOf(got, at))
		}
	}
	x.contains(x.says(0, "replay", "--state", filepath.Join(x.dir, "state")), "identical")
}

// I has lost its memory: reconcile says so and applies nothing. After the operator's resume positions are unknown, everybody says so, and --apply
// makes them I's.
// Proves: GT-6, BC-I, NN-6
func TestReconcileMakesPositionsKnown(t *testing.T) {
	x := newFast(t, "unknown", faultEvents)
	state := filepath.Join(x.dir, "state")
	i := x.adverse(1)
	if code := x.msup(0, x.args("--events", "1500")...); code != 0 {
		t.Fatalf("the first run ended with %d", code)
	}
	x.stopI(i)
	i = x.start("--seed", "1", "--forget")
	before := x.says(0, "positions", "--state", state, "--json")
	x.contains(x.reconcile(exitBoundary), "I has lost its memory", "nothing is applied")
	x.contains(x.reconcile(0, "--apply"), "0 recorded")
	if now := x.says(0, "positions", "--state", state, "--json"); now != before {
		t.Errorf("positions were %s\nthey are %s", before, now)
	}
	x.stopI(i)
	i = x.start("--seed", "1", "--forget") // the reconciler's hello is forgotten too
	if s := x.summary(exitHalted); s.Instances[0].Reason != "SINK_FORGOT" {
		t.Fatalf("the run ended with reason %q", s.Instances[0].Reason)
	}
	x.says(0, "resume", "--state", state, "default/turner/main")
	x.contains(x.says(0, "positions", "--state", state), "unknown (POSITION_UNKNOWN)")
	x.contains(x.reconcile(exitBoundary), "position all", "M: unknown (POSITION_UNKNOWN)", "--apply takes I's snapshot")
	x.contains(x.reconcile(0, "--apply"), "1 recorded")
	if out := x.says(0, "positions", "--state", state); strings.Contains(out, "unknown") {
		t.Errorf("still unknown:\n%s", out)
	}
	x.contains(x.reconcile(0), "0 differences")
	if s := x.summary(0); s.Instances[0].Health == "halted" {
		t.Errorf("still halted: %s", s.Instances[0].Reason)
	}
	x.stopI(i)
}

// Two broken checkpoints, and an older backup under an I that has seen more: both are evidence that an operator finds in full.
// Proves: ST-4, GT-6
func TestEvidenceIsKeptBeforeAHalt(t *testing.T) {
	x := newFast(t, "evidence", faultEvents)
	state := filepath.Join(x.dir, "state")
	i := x.adverse(1)
	if code := x.msup(0, x.args("--events", "1000")...); code != 0 {
		t.Fatalf("the first run ended with %d", code)
	}
	x.says(0, "state", "backup", state, state+"-older")
	x.summary(0)
	effects := x.effects()
	for _, err := range []error{os.Rename(state, state+"-newest"), os.Rename(state+"-older", state)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s := x.summary(exitHalted); s.Instances[0].Reason != "ROWS_LOST" {
		t.Errorf("the older backup ended with reason %q", s.Instances[0].Reason)
	}
	x.whole(state)
	// The newest directory is put back, and both of its checkpoints are broken.
	for _, err := range []error{os.Rename(state, state+"-halted"), os.Rename(state+"-newest", state)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(state, "checkpoints.db")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const mark = `"version":1,"address"`
	if n := strings.Count(string(body), mark); n < 2 {
		t.Fatalf("%d cores in checkpoints.db", n)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(body), mark, `"version":7,"address"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	x.contains(x.says(exitState, x.args()...), "CHECKPOINT_CORRUPT", "copied to", "evidence")
	x.whole(state)
	if x.effects() != effects {
		t.Error("the venue was told something more")
	}
	x.stopI(i)
}

const exitState = 5

// whole wants one folder of evidence with every file of the state directory.
func (x *fast) whole(state string) {
	x.t.Helper()
	kept, err := filepath.Glob(filepath.Join(state, "evidence", "*", "note.json"))
	if err != nil || len(kept) != 1 {
		x.t.Fatalf("evidence in %s: %v, %v", state, kept, err)
	}
	for _, name := range []string{"ledger.db", "checkpoints.db", "mark"} {
		if info, err := os.Stat(filepath.Join(filepath.Dir(kept[0]), name)); err != nil || info.Size() == 0 {
			x.t.Errorf("%s is not in the evidence: %v", name, err)
		}
	}
}
