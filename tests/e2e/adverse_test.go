package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// adverseSeeds is how many seeds each fault is played with; make soak-boundary takes many.
var adverseSeeds = flag.Int("adverse-seeds", 1, "seeds per fault of the adverse I")

// adverseFrom is the first seed: where a soak that found something, or was ended, is taken up again.
var adverseFrom = flag.Int("adverse-from", 1, "first seed of the adverse I")

const (
	exitHalted  = 7
	faultEvents = 3000
)

// adverseFaults are the faults of the adverse I with their probabilities, and how a run with them ends.
var adverseFaults = []struct {
	fault string
	code  int
}{
	{"stall=0.3", 0},
	{"repeat=0.3", 0},
	{"reorder=0.3", 0},
	{"unknown=0.2", 0},
	{"reject=0.1", 0},
	{"unknown_key=0.2", 0},
	{"lower_epoch=0.2", 0},
	{"other_digest=0.2", 0}, // of orders that are over: noted, and nothing else
	{"skip=0.1", 0},
	{"back=0.3", 0},
	{"hangup=0.05", 0},
}

// Whatever a bad I does, by itself or all at once, the run ends as it should: no key has its effect twice, and M's positions are those that
// the venue's effects add up to.
// Proves: GT-5, GT-6, BC-I, NN-6
func TestAnAdverseI(t *testing.T) {
	all := []string{}
	for _, one := range adverseFaults {
		if !strings.HasPrefix(one.fault, "other_digest") {
			all = append(all, one.fault)
		}
		t.Run(strings.SplitN(one.fault, "=", 2)[0], func(t *testing.T) { adversity(t, one.code, one.fault) })
	}
	// I holds another intent under a key that is open: nobody can go on from there.
	t.Run("conflict", func(t *testing.T) { adversity(t, exitHalted, "unknown=0.3", "other_digest=1") })
	t.Run("everything", func(t *testing.T) { adversity(t, 0, all...) })
}

func adversity(t *testing.T, want int, faults ...string) {
	for seed := *adverseFrom; seed < *adverseFrom+*adverseSeeds; seed++ {
		x := newFast(t, fmt.Sprintf("seed %d", seed), faultEvents)
		i := x.adverse(seed, faults...)
		s := x.summary(want)
		x.stopI(i)
		x.matches(s, seed)
		if len(x.applied()) < 20 && want == 0 {
			t.Fatalf("seed %d: %d effects: there is too little to judge by", seed, len(x.applied()))
		}
	}
}

// I dies at every point of its work on a key and comes back: the run goes on, and the venue is told the same as without.
// Proves: GT-5, GT-6, BC-I, DOD-6
func TestAnIThatComesBack(t *testing.T) {
	whole := newFast(t, "whole", faultEvents)
	i := whole.adverse(1)
	whole.summary(0)
	whole.stopI(i)
	want := whole.applied()
	for n, point := range []string{"arrived", "received", "calling", "effected", "handled", "recorded", "answering"} {
		t.Run(point, func(t *testing.T) {
			x := newFast(t, point, faultEvents)
			i := x.start("--seed", fmt.Sprint(n), "--die-at", point, "--die-after", "7", "--respawn")
			s := x.summary(0)
			x.stopI(i)
			x.matches(s, n)
			got := x.applied()
			for at := range max(len(want), len(got)) {
				if at >= len(want) || at >= len(got) || want[at] != got[at] {
					t.Fatalf("effect %d differs of %d and %d:\nwithout %+v\nwith    %+v", at, len(want), len(got), tailOf(want, at), tailOf(got, at))
				}
			}
		})
	}
}

// An I that goes away and stays away is waited for, but not for ever: the run goes on restricted and ends with a word on what to do.
// Proves: BC-I, NN-6
func TestAnIThatStaysAway(t *testing.T) {
	x := newFast(t, "away", faultEvents)
	i := x.start("--die-at", "recorded", "--die-after", "7")
	x.patience = "500ms"
	s := x.summary(exitBoundary)
	x.died(i)
	if n := s.Instances[0].Reasons["SINK_UNAVAILABLE"]; n == 0 {
		t.Errorf("nothing says that I was away: %v", s.Instances[0].Reasons)
	}
	i = x.adverse(1)
	x.matches(x.summary(0), 1)
	x.stopI(i)
}

// Nobody ever knows what became of one key. The run goes on restricted instead of waiting for ever, and SIGTERM ends it in order.
// Proves: BC-I, GT-6
func TestAKeyThatStaysUnknown(t *testing.T) {
	x := newFast(t, "unknown", faultEvents)
	x.patience = "500ms"
	i := x.script(unknownI)
	s := x.summary(0)
	if got := s.Instances[0]; got.Open != 1 || got.Reason != "POSITION_UNKNOWN" {
		t.Errorf("the run ended with %d open intents and reason %q", got.Open, got.Reason)
	}
	x.stopI(i)

	x = newFast(t, "unknown, SIGTERM", faultEvents)
	i = x.script(unknownI)
	c := x.command("run", filepath.Join(x.dir, "turner"), "--feed", x.feed, "--state", filepath.Join(x.dir, "state"), "--durability", "process",
		"--execution-socket", x.socket, "--boundary-patience", "2s")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	x.await(func() bool { return len(x.effects()) > 0 })
	began := time.Now()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // the code says it
	if code := c.ProcessState.ExitCode(); code != 130 {
		t.Errorf("SIGTERM ended the run with %d", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("SIGTERM took %s", took)
	}
	x.stopI(i)
}

// I's disk is full for a while: what it refuses is offered again, once, and nothing is lost.
// Proves: GT-5, GT-6, BC-I
func TestAnIWhoseDiskIsFull(t *testing.T) {
	whole := newFast(t, "whole", faultEvents)
	i := whole.adverse(1)
	whole.summary(0)
	whole.stopI(i)
	x := newFast(t, "full", faultEvents)
	i = x.script(fullI)
	s := x.summary(0)
	x.stopI(i)
	x.matches(s, 0)
	if got, want := len(x.applied()), len(whole.applied()); got != want {
		t.Errorf("%d effects, without the full disk %d", got, want)
	}
}

// An I that lost its memory would take an old key again. It is offered nothing, the evidence is kept, and only an operator's resume goes on.
// Proves: GT-5, GT-6, NN-6
func TestAnIThatLostItsMemory(t *testing.T) {
	x := newFast(t, "forgot", faultEvents)
	i := x.start("--seed", "1")
	if code := x.msup(0, x.args("--events", "1500")...); code != 0 {
		t.Fatalf("the first run ended with %d", code)
	}
	x.stopI(i)
	before := len(x.applied())
	i = x.start("--seed", "1", "--forget")
	s := x.summary(exitHalted)
	if s.Instances[0].Reason != "SINK_FORGOT" || len(x.applied()) != before {
		t.Fatalf("reason %q, %d effects after %d", s.Instances[0].Reason, len(x.applied()), before)
	}
	found, err := filepath.Glob(filepath.Join(x.dir, "state", "evidence", "forgot-*.json"))
	if err != nil || len(found) != 1 {
		t.Errorf("evidence: %v, %v", found, err)
	}
	if code := x.msup(0, "resume", "--state", filepath.Join(x.dir, "state"), "default/turner/main"); code != 0 {
		t.Fatalf("resume ended with %d", code)
	}
	s = x.summary(0)
	x.stopI(i)
	if len(x.applied()) <= before {
		t.Errorf("nothing was traded after the resume: %+v", s)
	}
	if s.Instances[0].Health == "halted" {
		t.Errorf("still halted: %s", s.Instances[0].Reason)
	}
}

// fast is an external I without sleeping strategies.
type fast struct {
	*external
	patience string
	done     atomic.Bool
}

// pause lets a run that was just started come to trade.
func (x *fast) pause() { time.Sleep(250 * time.Millisecond) }

func newFast(t *testing.T, name string, events int) *fast {
	t.Helper()
	x := newExternal(t, name)
	source := filepath.Join(x.dir, "turner", "strategy.py")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	x.write(source, strings.Replace(string(text), "        time.sleep(0.0005)\n", "", 1))
	f := &fast{external: x, patience: "10s"}
	if err := os.Remove(x.feed); err != nil {
		t.Fatal(err)
	}
	if code := x.msup(0, "feed", "generate", x.feed, "--seed", "3", "--events", fmt.Sprint(events), "--clean"); code != 0 {
		t.Fatalf("%s: making the feed ended with %d", name, code)
	}
	return f
}

func (x *fast) adverse(seed int, faults ...string) *exec.Cmd {
	args := []string{"--seed", fmt.Sprint(seed)}
	for _, f := range faults {
		args = append(args, "--fault", f)
	}
	return x.start(args...)
}

// start starts the adverse I.
func (x *fast) start(args ...string) *exec.Cmd {
	x.t.Helper()
	return x.serve(append([]string{"-m", "msup.boundary.adverse", "--socket", x.socket, "--store", filepath.Join(x.dir, "i"), "--no-clock"}, args...)...)
}

// script starts an I of the test's own.
func (x *fast) script(text string) *exec.Cmd {
	x.t.Helper()
	path := filepath.Join(x.dir, "own.py")
	x.write(path, text)
	return x.serve(path, x.socket, filepath.Join(x.dir, "i"))
}

func (x *fast) args(more ...string) []string {
	return append([]string{"run", filepath.Join(x.dir, "turner"), "--feed", x.feed, "--state", filepath.Join(x.dir, "state"), "--durability", "process",
		"--execution-socket", x.socket, "--boundary-patience", x.patience}, more...)
}

// told is the part of a run's summary that is looked at.
type told struct {
	Instances []struct {
		Health    string            `json:"health_state"`
		Reason    string            `json:"reason_code"`
		Open      int               `json:"open_intents"`
		Fills     uint64            `json:"fills"`
		Positions map[string]string `json:"positions"`
		Reasons   map[string]uint64 `json:"reasons"`
	} `json:"instances"`
}

// summary runs the strategy to the end of the feed and returns what the run says of itself.
func (x *fast) summary(want int) told {
	x.t.Helper()
	return x.tell(want, x.args("--json")...)
}

// tell runs the program and returns what it says of the run.
func (x *fast) tell(want int, args ...string) told {
	x.t.Helper()
	c := x.command(args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	overdue := time.AfterFunc(patience, func() { _ = c.Process.Kill() }) // it may have ended
	defer overdue.Stop()
	_ = c.Run() // the code says it
	if code := c.ProcessState.ExitCode(); code != want {
		x.t.Fatalf("the run ended with %d, want %d\n%s\n%s", code, want, tail(errs.String()), tail(out.String()))
	}
	var s told
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil || len(s.Instances) != 1 {
		x.t.Fatalf("the summary %q: %v", tail(out.String()), err)
	}
	return s
}

func (x *fast) command(args ...string) *exec.Cmd {
	c := exec.Command(built.msup, args...)
	c.Env, c.Dir = x.env, x.dir
	x.t.Cleanup(func() {
		if c.Process != nil {
			_ = c.Process.Kill() // it has usually ended
		}
	})
	return c
}

// matches compares M's position with the sum of what the venue was told.
func (x *fast) matches(s told, seed int) {
	x.t.Helper()
	sum := new(big.Rat)
	for _, e := range x.applied() {
		q, ok := new(big.Rat).SetString(e.Quantity)
		if !ok {
			x.t.Fatalf("quantity %q", e.Quantity)
		}
		sum.Add(sum, q)
	}
	held := new(big.Rat)
	if text, ok := s.Instances[0].Positions["SYN-A.SIM"]; ok {
		if _, ok := held.SetString(text); !ok {
			x.t.Fatalf("position %q", text)
		}
	}
	if sum.Cmp(held) != 0 {
		x.t.Fatalf("seed %d: M holds %s, the venue was told %s; %v", seed, held.RatString(), sum.RatString(), s.Instances[0].Reasons)
	}
}

// effects is applied without judgement, for a file that is being written.
func (x *fast) effects() string {
	text, err := os.ReadFile(filepath.Join(x.dir, "i", "effects.jsonl"))
	if err != nil {
		return ""
	}
	return string(text)
}

func (x *fast) await(done func() bool) {
	x.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatal("what was waited for did not come")
		}
	}
}

const unknownI = `import pathlib, sys
from msup.boundary import Handler, Offered, Outcome, Receiver
from msup.boundary.testing import Venue, VenueHandler, no_clock

folder = pathlib.Path(sys.argv[2])
folder.mkdir(exist_ok=True)


class Forgetful(VenueHandler):
    """The third order goes out, and nobody ever knows what became of it."""

    taken = 0

    def on_offer(self, offered: Offered) -> Outcome:
        self.taken += 1
        outcome = super().on_offer(offered)
        if self.taken == 3:
            raise TimeoutError("the answer was lost")
        return outcome

    def on_unknown(self, offered: Offered):
        return None


r = Receiver(Forgetful(Venue(folder / "effects.jsonl")), socket=sys.argv[1], store=folder / "i.db", clock=no_clock, ask_every_s=0.2)
r.on_ready = lambda: print("ready", flush=True)
r.run()
`

const fullI = `import pathlib, sqlite3, sys
from msup.boundary import Receiver
from msup.boundary.testing import Venue, VenueHandler, no_clock

folder = pathlib.Path(sys.argv[2])
folder.mkdir(exist_ok=True)


class Full(Receiver):
    """Every now and then nothing can be written."""

    seen = 0

    def _offer(self, peer, m, turn):
        self.seen += 1
        if self.seen % 20 in (3, 4, 5, 6):
            raise sqlite3.OperationalError("database or disk is full")
        super()._offer(peer, m, turn)


r = Full(VenueHandler(Venue(folder / "effects.jsonl")), socket=sys.argv[1], store=folder / "i.db", clock=no_clock)
r.on_ready = lambda: print("ready", flush=True)
r.run()
`
