package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	externalEvents = 20000
	externalSeed   = 7
	exitBoundary   = 9 // I cannot be reached: what a run ends with when its I dies
)

var externalStrategy = map[string]string{
	"strategy.toml": `[strategy]
id = "turner"
version = "1.0.0"
runtime = "python"
entry = "strategy:Turner"
[capabilities]
events = ["quote", "execution"]
instruments = ["SYN-A.SIM"]
intents = ["order"]
order_types = ["market"]
[resources]
deadline_soft_ms = 30000
deadline_hard_ms = 60000
restarts_per_hour = 100
[state]
checkpoint_steps = 300
`,
	"strategy.py": `import time
from decimal import Decimal

import msup


class Turner(msup.Strategy):
    """Turns its position over every 20 quotes."""

    class State(msup.State):
        quotes: int = 0
        position: Decimal = Decimal(0)

    def on_event(self, ctx, event):
        if isinstance(event, msup.Execution):
            if event.quantity is not None:
                self.state.position += event.quantity if event.side is msup.TradeSide.BUY else -event.quantity
            return
        if not isinstance(event, msup.Quote):
            return
        time.sleep(0.0005)
        self.state.quotes += 1
        if self.state.quotes % 20 == 0:
            if self.state.position > 0:
                ctx.sell(event.instrument, self.state.position)
            else:
                ctx.buy(event.instrument, 1 + self.state.quotes // 20 % 9)
`,
}

// external is one I of msup.boundary and the supervisors that trade against it.
type external struct {
	t      *testing.T
	dir    string
	feed   string
	env    []string
	socket string
}

// effect is one line of what the venue behind I was told to do.
type effect struct {
	Key      string
	Step     uint64
	Ordinal  uint32
	Digest   string
	Quantity string
}

// The real supervisor trades against the SDK's receiver in a process of its own. Both are killed without warning: the supervisor at random
// moments, I at every point of its work on a key. What the venue was told is the same as without, and nothing twice.
// Proves: GT-5, GT-6, NN-3, LS-3, DOD-6
func TestAnExternalIAppliesTheSameAfterKills(t *testing.T) {
	whole := newExternal(t, "whole")
	i := whole.startI(0, "received")
	if code := whole.run(0); code != 0 {
		t.Fatalf("an undisturbed run ended with %d", code)
	}
	whole.stopI(i)
	want := whole.applied()
	if len(want) < 50 {
		t.Fatalf("%d effects: there is too little to compare", len(want))
	}

	killed := newExternal(t, "killed")
	random := rand.New(rand.NewPCG(externalSeed, 1))
	supervisors, deaths := 0, 0
	for _, point := range []string{"arrived", "received", "calling", "effected", "handled", "recorded", "answering"} {
		i := killed.startI(5, point) // and comes back
		deaths++
		code := killed.run(time.Duration(900+random.IntN(600)) * time.Millisecond)
		if code >= 0 {
			t.Fatalf("the run ended with %d before it was killed", code)
		}
		supervisors++
		killed.stopI(i)
	}
	i = killed.startI(0, "received")
	if code := killed.run(0); code != 0 {
		t.Fatalf("the last run ended with %d", code)
	}
	killed.stopI(i)
	t.Logf("%d effects; supervisor killed %d times, I %d times", len(want), supervisors, deaths)
	got := killed.applied()
	for at := range max(len(want), len(got)) {
		if at >= len(want) || at >= len(got) || want[at] != got[at] {
			t.Fatalf("effect %d differs of %d and %d:\nwithout kills %+v\nwith kills    %+v", at, len(want), len(got), tailOf(want, at), tailOf(got, at))
		}
	}
}

// A deployment names its I in [boundary]. One that is not there ends the run with a word on what to do, and nothing that is not durable trades
// with a real one.
// Proves: BC-I, NN-6
func TestAnExternalIThatCannotServe(t *testing.T) {
	x := newExternal(t, "refused")
	if code := x.run(0); code != exitBoundary {
		t.Errorf("without an I the run ended with %d, want %d", code, exitBoundary)
	}
	deployment := filepath.Join(x.dir, "msup.toml")
	x.write(deployment, "[run]\nstate_dir = \"state\"\ndurability = \"process\"\n[boundary]\nexecution = \"i.sock\"\n[[strategy]]\npackage = \"turner\"\n")
	i := x.startI(0, "received")
	if code := x.msup(0, "run", "-c", deployment, "--feed", x.feed, "--events", "600"); code != 0 {
		t.Errorf("the deployment's run ended with %d", code)
	}
	if code := x.msup(0, "run", filepath.Join(x.dir, "turner"), "--feed", x.feed, "--durability", "none", "--execution-socket", x.socket); code == 0 || code == exitBoundary {
		t.Errorf(`durability "none" with a real I ended with %d`, code)
	}
	x.stopI(i)
	if len(x.applied()) == 0 {
		t.Error("the deployment traded nothing with the I of its [boundary]")
	}
}

func tailOf(effects []effect, at int) any {
	if at >= len(effects) {
		return "none"
	}
	return effects[at]
}

func newExternal(t *testing.T, name string) *external {
	t.Helper()
	dir, err := os.MkdirTemp("", "ext-") // short: a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil { // the supervisor gives up root; I's socket stays root's
		t.Fatal(err)
	}
	x := &external{t: t, dir: dir, feed: filepath.Join(dir, "market.jsonl"), socket: filepath.Join(dir, "i.sock")}
	x.env = append(x.env, "PATH="+os.Getenv("PATH"), "HOME="+dir, "TMPDIR="+dir, "MSUP_PYTHON="+built.python, "MSUP_STORE="+built.store,
		"XDG_RUNTIME_DIR="+dir, "MSUP_ISOLATION=L1", "MSUP_PRIVILEGES=separate", "MSUP_LEASE_DIR="+filepath.Join(dir, "leases"), "GORACE=atexit_sleep_ms=0 log_path="+built.races)
	for file, text := range externalStrategy {
		x.write(filepath.Join(dir, "turner", file), text)
	}
	if code := x.msup(0, "feed", "generate", x.feed, "--seed", "3", "--events", fmt.Sprint(externalEvents), "--clean"); code != 0 {
		t.Fatalf("%s: making the feed ended with %d", name, code)
	}
	return x
}

func (x *external) write(path, text string) {
	x.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// run runs the strategy on the state that is there; killAfter > 0 kills the supervisor. The code is -1 when a signal ended it.
func (x *external) run(killAfter time.Duration) int {
	x.t.Helper()
	return x.msup(killAfter, "run", filepath.Join(x.dir, "turner"), "--feed", x.feed, "--state", filepath.Join(x.dir, "state"),
		"--durability", "process", "--execution-socket", x.socket)
}

func (x *external) msup(killAfter time.Duration, args ...string) int {
	x.t.Helper()
	c := exec.Command(built.msup, args...)
	var out bytes.Buffer
	c.Env, c.Dir, c.Stdout, c.Stderr = x.env, x.dir, &out, &out
	if err := c.Start(); err != nil {
		x.t.Fatal(err)
	}
	end := patience
	if killAfter > 0 {
		end = killAfter
	}
	overdue := time.AfterFunc(end, func() { _ = c.Process.Kill() }) // it may have ended
	defer overdue.Stop()
	var exited *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exited) {
		x.t.Fatal(err)
	}
	if code := c.ProcessState.ExitCode(); code != 0 {
		x.t.Logf("msup %s: %s\n%s", args[0], c.ProcessState, tail(out.String()))
	}
	return c.ProcessState.ExitCode()
}

// startI starts the receiver of the SDK; it dies at the n-th pass of a point, 0 = never, and is started again.
func (x *external) startI(dieAfter int, point string) *exec.Cmd {
	x.t.Helper()
	return x.serve("-m", "msup.boundary.adverse", "--socket", x.socket, "--store", filepath.Join(x.dir, "i"), "--no-clock", "--respawn",
		"--seed", fmt.Sprint(externalSeed), "--die-after", fmt.Sprint(dieAfter), "--die-at", point, "--fault", "repeat=0.2", "--fault", "reorder=0.2")
}

// serve starts an I and waits until it listens.
func (x *external) serve(args ...string) *exec.Cmd {
	x.t.Helper()
	c := exec.Command(built.python, args...)
	c.Env, c.Dir, c.Stderr = x.env, x.dir, os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		x.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = c.Process.Kill() }) // it has usually ended
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		x.t.Fatalf("I did not start: %q, %v", line, err)
	}
	return c
}

func (x *external) stopI(c *exec.Cmd) {
	x.t.Helper()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		x.t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		x.t.Fatalf("I ended with %v", err)
	}
}

func (x *external) died(c *exec.Cmd) {
	x.t.Helper()
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != -1 {
		x.t.Fatalf("I was to die of a signal: %v", c.ProcessState)
	}
}

// applied is what the venue was told, in order; no key may come twice. Keys hold the lineage and are left out of what is compared. So is the
// step: a run that ends in order because its I is gone gives the strategy a shutdown, which is a step of its own.
func (x *external) applied() []effect {
	x.t.Helper()
	text, err := os.ReadFile(filepath.Join(x.dir, "i", "effects.jsonl"))
	if err != nil {
		x.t.Fatal(err)
	}
	seen := map[string]bool{}
	var effects []effect
	for line := range strings.Lines(string(text)) {
		var e effect
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			x.t.Fatalf("%q: %v", line, err)
		}
		if seen[e.Key] {
			x.t.Fatalf("key %s had its effect twice", e.Key)
		}
		seen[e.Key] = true
		e.Key, e.Step = "", 0
		effects = append(effects, e)
	}
	return effects
}
