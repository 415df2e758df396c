package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/tests/recordings"
)

var replayEvents = flag.Int("events", 0, "how many recorded events each strategy of the replay test is given; 0 = all of the recordings, more than a million")

// patience is for a million events on a busy machine.
const patience = 9 * time.Minute

const eurusd = "lean/Data/forex/fxcm/tick/eurusd"

// More than a million recorded events, decided on in Python and in Wasm side by side, are replayed from the whole log: every answer, verdict and
// checkpoint has the recorded hash, in both runtimes.
// Proves: NN-1, NN-5, NN-7, DOD-5
func TestReplayOfAMillionEvents(t *testing.T) {
	for name, feed := range map[string]struct {
		path    string
		atLeast int
		args    []string
	}{
		"eurusd":  {eurusd, 1_000_000, []string{"--time-zone", "UTC-05:00"}},
		"btcusdt": {"hftbacktest/usdm/btcusdt_20240808.gz", 60_000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path, here := recordings.Path(t, feed.path)
			if !here {
				return
			}
			p := newProgram(t)
			args := append(feed.args, "--keep-log", "--durability", "process", "--json", "-q", "--feed", path, "--state", p.state)
			if *replayEvents > 0 {
				args, feed.atLeast = append(args, "--events", fmt.Sprint(*replayEvents)), min(feed.atLeast, *replayEvents*9/10)
			}
			began := time.Now()
			out, err := p.msup(append([]string{"run", filepath.Join(p.root, "examples", "ema_cross"), filepath.Join(p.root, "examples", "ema_cross_rs")}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			ran := time.Since(began)
			for strategy, n := range deliveries(t, out) {
				if t.Logf("%s: %d events delivered", strategy, n); n < feed.atLeast {
					t.Errorf("%s: %d events, want at least %d", strategy, n, feed.atLeast)
				}
			}
			began = time.Now()
			if out, err = p.msup("replay", "--state", p.state); err != nil {
				t.Fatalf("the replay: %v", err)
			}
			if !strings.Contains(out, "identical") {
				t.Errorf("the replay does not say identical:\n%s", tail(out))
			}
			t.Logf("ran %.0f s, replayed %.0f s: %s", ran.Seconds(), time.Since(began).Seconds(), tail(out))
		})
	}
}

// program is the built msup with a state directory.
type program struct {
	root, dir, path, python, state string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &program{root: root, dir: dir, path: filepath.Join(dir, "msup"), python: os.Getenv("MSUP_PYTHON"), state: filepath.Join(dir, "state")}
	if p.python == "" {
		p.python = filepath.Join(root, ".venv", "bin", "python3")
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "./cmd/msup") // without the race detector: a million events
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return p
}

// msup runs the program, which ends with 0, and gives its standard output.
func (p *program) msup(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, p.path, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	c.Env = append(os.Environ(), "MSUP_PYTHON="+p.python, "MSUP_ISOLATION=L1", "MSUP_LEASE_DIR="+filepath.Join(p.dir, "leases"))
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("msup %s: %w\n%s%s", args[0], err, tail(out.String()), tail(errs.String()))
	}
	return out.String(), nil
}

// tail keeps what a person wants to read of a long output.
func tail(text string) string {
	const most = 3000
	if text = strings.TrimSpace(text); len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// deliveries reads a run's summary: market events delivered, by strategy.
func deliveries(t *testing.T, out string) map[string]int {
	t.Helper()
	var summary struct {
		Instances []struct {
			Instance     string
			MarketEvents struct{ Delivered int } `json:"market_events"`
		}
	}
	if err := json.Unmarshal([]byte(out), &summary); err != nil {
		t.Fatalf("the summary is no JSON: %v\n%s", err, tail(out))
	}
	found := map[string]int{}
	for _, i := range summary.Instances {
		found[i.Instance] = i.MarketEvents.Delivered
	}
	if len(found) != 2 {
		t.Fatalf("the summary names %d strategies, want 2:\n%s", len(found), tail(out))
	}
	return found
}
