package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// doKills: kills ROUNDS SEED ARG… starts the program again and again on the same state, each time kills a runner in mid-run, and then the
// program itself, both without warning. A run that ends before it is killed fails: the feed was too short to prove anything.
func doKills(ts *testscript.TestScript, args []string) {
	rounds, seed, argv := code(ts, args[0]), code(ts, args[1]), args[2:]
	chance := rand.New(rand.NewPCG(uint64(seed), 0))
	pause := func() { time.Sleep(time.Duration(100+chance.IntN(500)) * time.Millisecond) }
	strategies := regexp.MustCompile(`^default/`) // not the trial runner of the start
	for round := range rounds {
		p := start(ts, 0, argv)
		_, err := p.runnerOf(strategies, 0)
		ts.Check(err)
		pause()
		first := p.killRunner(ts, strategies)
		second, err := p.runnerOf(strategies, first)
		ts.Check(err)
		pause()
		if p.ended() {
			ts.Fatalf("round %d: the run ended before it was killed:\n%s", round, tail(p.stderr.String()))
		}
		p.killed = true
		ts.Check(p.cmd.Process.Signal(syscall.SIGKILL))
		p.finish(ts, -1)
		if err := waitGone(second); err != nil {
			ts.Fatalf("round %d: the runner outlived its supervisor: %v", round, err)
		}
	}
}

// waitGone waits until a process has ended; a zombie has.
func waitGone(pid int) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(rest, "Z") {
			return nil
		}
	}
	return fmt.Errorf("process %d still runs", pid)
}

// doBroken: broken CLASS CODE REASON runs the strategy in good/ beside the CLASS of bad/strategy.py on market.jsonl. It must end with
// CODE; the broken instance must show REASON, and the good one must give the intents of alone.jsonl, as if it were alone.
func doBroken(ts *testscript.TestScript, args []string) {
	class, want, reason := args[0], args[1], args[2]
	descriptor := strings.ReplaceAll(ts.ReadFile("descriptor.toml"), "CLASS", class)
	ts.Check(os.WriteFile(ts.MkAbs(filepath.Join("bad", "strategy.toml")), []byte(descriptor), 0o600))
	out, summary := class+".jsonl", class+".json"
	p := start(ts, 0, []string{"run", "good", "bad", "--feed", "market.jsonl", "--durability", "process", "--out", out, "--json"})
	p.finish(ts, code(ts, want))
	ts.Check(os.WriteFile(ts.MkAbs(summary), []byte(p.stdout.String()), 0o600))
	doHolds(ts, []string{summary, "instances/bad/reasons/" + reason, ">", "0"})
	doHolds(ts, []string{summary, "instances/good/health_state", "=", "healthy"})
	doHolds(ts, []string{summary, "instances/good/market_events/dropped", "=", "0"})
	health := "^(healthy|degraded)$"
	if want == "7" {
		health = "halted"
	}
	doHolds(ts, []string{summary, "instances/bad/health_state", "~", health})
	doAccounts(ts, []string{summary})
	var good []string
	for line := range strings.Lines(ts.ReadFile(out)) {
		if strings.Contains(line, `"strategy":"good"`) {
			good = append(good, line)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(out), []byte(strings.Join(good, "")), 0o600))
	doSame(ts, []string{"alone.jsonl", out}, differing)
}
