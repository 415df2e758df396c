package e2e

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A live run: the market comes from H, approvals and restrictions from J, effects go to I, each a process of its own; H and J die and come back
// all the time. Only what J approved has an effect, and times are the machine's.
// Proves: GT-7, BP-3, BC-H, BC-J, BC-F, EV-1, NN-6
func TestALiveRunAmongNeighbours(t *testing.T) {
	x := newLive(t)
	h, i := x.neighbour(liveMarket, x.path("h.sock")), x.start("--seed", "1")
	j := x.neighbour(liveRisk, x.path("j.sock"), x.path("j.db"), "approve")
	began := time.Now()
	s := x.live(0, "--events", "1500")
	if s.Instances[0].Reasons["APPROVAL_DENIED"] == 0 && s.Instances[0].Reasons["RISK_UNAVAILABLE"] == 0 {
		t.Errorf("J was neither asked nor away: %v", s.Instances[0].Reasons)
	}
	x.matches(s, 0)
	if len(x.applied()) < 5 {
		t.Fatalf("%d effects", len(x.applied()))
	}
	for _, e := range x.applied() {
		if q, ok := new(big.Rat).SetString(e.Quantity); !ok || q.Abs(q).Cmp(big.NewRat(5, 1)) > 0 {
			t.Errorf("an order of %s was not denied", e.Quantity)
		}
	}
	x.isNow(began)
	x.stopI(j)

	// J comes back with a restriction: nothing trades any more. It is in force in the next run, too, where J says nothing new.
	before := len(x.applied())
	j = x.neighbour(liveRisk, x.path("j.sock"), x.path("j.db"), "forbid")
	s = x.live(0, "--events", "600")
	if s.Instances[0].Reason != "RISK_RESTRICTION" || s.Instances[0].Reasons["RISK_RESTRICTION"] != 1 {
		t.Errorf("restricted for %q, told %d times", s.Instances[0].Reason, s.Instances[0].Reasons["RISK_RESTRICTION"])
	}
	x.stopI(j)
	j = x.neighbour(liveRisk, x.path("j.sock"), x.path("j.db"), "approve")
	s = x.live(0, "--events", "600")
	if s.Instances[0].Reason != "RISK_RESTRICTION" {
		t.Errorf("the restriction was lost: %q", s.Instances[0].Reason)
	}
	// What was staged when the restriction came may have been approved before it.
	if after := len(x.applied()); after > before+1 {
		t.Errorf("%d effects after the restriction", after-before)
	}
	x.stopI(j)

	// E halts it.
	j = x.neighbour(liveRisk, x.path("j.sock"), x.path("j.db"), "halt")
	if s = x.live(exitHalted, "--events", "300"); s.Instances[0].Reason != "SAFETY_HALT" {
		t.Errorf("halted for %q", s.Instances[0].Reason)
	}
	for _, c := range []*exec.Cmd{h, j, i} {
		x.stopI(c)
	}
}

// Neighbours that are not there are named, with what to do.
// Proves: BC-H, BC-J, NN-6
func TestNeighboursThatAreNotThere(t *testing.T) {
	x := newLive(t)
	i := x.start("--seed", "1")
	if code := x.msup(0, x.liveArgs("--events", "10")...); code != exitBoundary {
		t.Errorf("without H the run ended with %d", code)
	}
	h := x.neighbour(liveMarket, x.path("h.sock"))
	if code := x.msup(0, x.liveArgs("--events", "10")...); code != exitBoundary {
		t.Errorf("without J the run ended with %d", code)
	}
	if code := x.msup(0, x.liveArgs("--feed", x.feed)...); code == 0 {
		t.Error("a feed and H at once were taken")
	}
	x.stopI(h)
	x.stopI(i)
}

// SIGINT ends a live run although H is silent.
// Proves: BC-H, NN-6
func TestASilentMarketIsLeft(t *testing.T) {
	x := newLive(t)
	h, i := x.neighbour(silentMarket, x.path("h.sock")), x.start("--seed", "1")
	j := x.neighbour(liveRisk, x.path("j.sock"), x.path("j.db"), "approve")
	c := x.command(x.liveArgs()...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	x.await(func() bool { _, err := os.Stat(x.path("i")); return err == nil })
	time.Sleep(time.Second) // in the middle of the wait
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // the code says it
	if code := c.ProcessState.ExitCode(); code != 130 {
		t.Errorf("SIGINT ended the run with %d", code)
	}
	for _, c := range []*exec.Cmd{h, j, i} {
		x.stopI(c)
	}
}

// live is a deployment with all neighbours.
type live struct{ *fast }

func newLive(t *testing.T) *live {
	t.Helper()
	x := &live{newFast(t, "live", 200)}
	x.write(x.path("msup.toml"), `[run]
state_dir = "state"
durability = "process"
approval = "external"
[boundary]
execution = "i.sock"
risk = "j.sock"
market = "h.sock"
[[strategy]]
package = "turner"
`)
	return x
}

func (x *live) path(name string) string { return filepath.Join(x.dir, name) }

// start starts an I with a clock: what is late expires.
func (x *live) start(args ...string) *exec.Cmd {
	return x.serve(append([]string{"-m", "msup.boundary.adverse", "--socket", x.socket, "--store", x.path("i")}, args...)...)
}

// neighbour starts a process of the test's own.
func (x *live) neighbour(text string, args ...string) *exec.Cmd {
	x.t.Helper()
	path := x.path(fmt.Sprintf("own%d.py", len(text)))
	x.write(path, text)
	return x.serve(append([]string{path}, args...)...)
}

func (x *live) liveArgs(more ...string) []string {
	return append([]string{"run", "-c", x.path("msup.toml")}, more...)
}

func (x *live) live(want int, more ...string) told {
	x.t.Helper()
	return x.tell(want, x.liveArgs(append(more, "--json")...)...)
}

// isNow looks whether the ledger's times are the machine's: processed time that of now, core time that since the first start.
func (x *live) isNow(began time.Time) {
	x.t.Helper()
	out, err := x.command("inspect", "--state", x.path("state"), "--json").Output()
	if err != nil {
		x.t.Fatalf("inspect: %v", err)
	}
	var found struct {
		Epochs   any
		Instance struct {
			ProcessedTS int64 `json:"processed_ts"`
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		x.t.Fatalf("%v: %s", err, tail(string(out)))
	}
	if at := time.Unix(0, found.Instance.ProcessedTS); at.Before(began) || at.After(time.Now()) {
		x.t.Errorf("the last step was at %s, the run began at %s: %s", at, began, tail(string(out)))
	}
}

// dying runs serve in one child process after another: each ends itself.
const dying = `import os, signal, sys, time


def dying(serve):
    ended, child = False, 0

    def end(*_):
        nonlocal ended
        ended = True
        if child:
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGINT, end)
    first = True
    while not ended:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            serve(first)
            os._exit(0)
        os.waitpid(child, 0)
        first = False
        time.sleep(0.02)
`

const liveMarket = dying + `
from decimal import Decimal

from msup import Quote
from msup.boundary import MarketSource


def serve(first):
    with MarketSource(socket=sys.argv[1], source_epoch=time.time_ns()) as market:
        if first:
            print("ready", flush=True)
        for seq in range(1, 500):
            now = time.time_ns()
            market.publish(Quote("SYN-A.SIM", "h", now, now, seq, 0, 0, Decimal(100), Decimal(1), Decimal(101), Decimal(1)))
            time.sleep(0.002)
        os._exit(1)


dying(serve)
`

const silentMarket = dying + `
from msup.boundary import MarketSource


def serve(first):
    with MarketSource(socket=sys.argv[1]):
        print("ready", flush=True)
        time.sleep(600)


dying(serve)
`

const liveRisk = dying + `
from msup import OrderIntent
from msup.boundary import Approver, RiskHandler, approve, deny
from msup.event import SafetyCommand


class Judge(RiskHandler):
    asked = 0
    said = set()

    def on_instance(self, address):
        if sys.argv[3] in self.said:
            return
        self.said.add(sys.argv[3])
        if sys.argv[3] == "forbid":
            self.approver.restrict(address, "forbidden", no_trade=True, reason="TEST")
        if sys.argv[3] == "halt":
            self.approver.command(address, SafetyCommand.HALT, "TEST")

    def on_request(self, request):
        self.asked += 1
        if self.asked == 7:
            os._exit(1)  # before it has decided: the same is asked again
        if isinstance(request.intent, OrderIntent) and request.intent.body.quantity > 5:
            return deny("TOO_LARGE")
        return approve()


def serve(first):
    a = Approver(Judge(), socket=sys.argv[1], store=sys.argv[2])
    if first:
        a.on_ready = lambda: print("ready", flush=True)
    a.run()


dying(serve)
`
