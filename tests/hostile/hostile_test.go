package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/supervisor"
)

var (
	only    = flag.String("attack", "", "only this attack")
	atOnce  = flag.Int("at-once", 4, "how many attacks are made at a time")
	repeats = 3 // of what broke a bound that a busy machine breaks as well
)

func TestMain(m *testing.M) {
	process.Init()
	flag.Parse()
	code := m.Run()
	if summary.Len() > 0 && os.Getenv(childEnv) == "" {
		fmt.Print(summary.String())
	}
	os.Exit(code)
}

// Every attack in the process sandbox, by a supervisor that is root (or whoever runs the tests).
//
// Proves: NN-2, DOD-2, SB-L1, SB-1, SB-2, SB-3, SB-4, SB-5, SB-6, SB-7, SB-8
func TestHostilePython(t *testing.T) { judgeAll(t, attackAll(t, levelRoot)) }

// The same in containers.
//
// Proves: NN-2, DOD-2, SB-L3, SB-1, SB-2, SB-3, SB-4, SB-5, SB-6, SB-7, SB-8
func TestHostilePythonInContainers(t *testing.T) { judgeAll(t, attackAll(t, levelContainer)) }

// childEnv marks the test binary that runs as nobody; its results go to the file that it names.
const childEnv = "MSUP_HOSTILE_CHILD"

// The same by a supervisor without privileges: rlimits stand in for control groups.
//
// Proves: NN-2, DOD-2, SB-L1, SB-1, SB-2, SB-3, SB-4, SB-5, SB-6, SB-8
func TestHostilePythonAsNobody(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		for _, r := range attackAll(t, levelNobody) {
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%s%s\n", resultPrefix, line)
		}
		return
	}
	if os.Geteuid() != 0 {
		judgeAll(t, attackAll(t, levelNobody))
		return
	}
	prepareFiles(t)
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHostilePythonAsNobody$", "-attack="+*only, fmt.Sprintf("-at-once=%d", *atOnce))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", childEnv + "=1", filesEnv + "=" + os.Getenv(filesEnv)}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	var results []*result
	for line := range bytes.Lines(out) {
		text, ok := bytes.CutPrefix(line, []byte(resultPrefix))
		if !ok {
			continue
		}
		r := &result{}
		if err := json.Unmarshal(text, r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	judgeAll(t, results)
}

const resultPrefix = "HOSTILE "

// neighbourClass is the well-behaved strategy that runs beside all others.
const neighbourClass = "Neighbour"

// attackAll makes every attack of the table at one level, several at a time, beside a neighbour that must decide as if it were alone.
func attackAll(t *testing.T, l level) []*result {
	t.Helper()
	h := newHost(t, l)
	calm := h.calm()
	neighbour := h.start(t.Context(), "neighbour:"+neighbourClass, limits, calm)
	var (
		mu      sync.Mutex // of neighbour and results
		results []*result
		work    sync.WaitGroup
		places  = make(chan struct{}, *atOnce)
		alone   sync.RWMutex // what is repeated runs by itself
	)
	for _, a := range attacks() {
		if (*only != "" && a.name() != *only) || (len(a.levels) > 0 && !slices.Contains(a.levels, l)) {
			continue
		}
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			apart := a.apart && l == levelNobody
			guard, leave := alone.RLock, alone.RUnlock
			if apart {
				guard, leave = alone.Lock, alone.Unlock
			}
			guard()
			r := h.run(t.Context(), a)
			leave()
			for n := 1; n < repeats && len(r.Slow) > 0 && len(r.Wrong) == 0; n++ {
				// A stall that the strategy causes comes again; one that comes from a busy machine does not.
				alone.Lock()
				r = h.run(t.Context(), a)
				alone.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
			if err := neighbour.deliver(t.Context()); err != nil {
				r.wrong("the neighbour does not answer: %v", err)
			}
		})
	}
	work.Wait()
	if err := neighbour.end(); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	compareAlone(t, h, calm, neighbour)
	return results
}

// compareAlone lets the neighbour decide on the same quotes once more, with nobody beside it.
func compareAlone(t *testing.T, h *host, d supervisor.Deadlines, beside *subject) {
	t.Helper()
	s := h.start(context.Background(), "neighbour:"+neighbourClass, limits, d)
	for range beside.seq {
		if err := s.deliver(t.Context()); err != nil {
			t.Errorf("the neighbour alone: %v", err)
		}
	}
	if err := s.end(); err != nil {
		t.Errorf("the neighbour alone: %v", err)
	}
	if len(beside.intents) == 0 || !slices.EqualFunc(s.intents, beside.intents, bytes.Equal) {
		t.Errorf("the neighbour decided %d times beside hostile strategies, %d times alone, and not the same; log %q", len(beside.intents), len(s.intents), beside.lines)
	}
}

// summary is the table that is printed at the end.
var summary strings.Builder

func judgeAll(t *testing.T, results []*result) {
	t.Helper()
	if len(results) == 0 {
		t.Error("no attack was made")
	}
	if *only == "" && len(results) < 60 {
		t.Errorf("only %d attacks", len(results))
	}
	slices.SortFunc(results, func(a, b *result) int { return strings.Compare(a.Attack, b.Attack) })
	var late time.Duration
	attempts := 0
	for _, r := range results {
		t.Run(r.Attack, func(t *testing.T) {
			for _, w := range r.Wrong {
				t.Error(w)
			}
			for _, s := range r.Slow {
				t.Errorf("%s, %d times in a row", s, repeats)
			}
		})
		verdict := r.Outcome
		if r.Refused > 0 {
			verdict = fmt.Sprintf("refused %d times", r.Refused)
		}
		if len(r.Wrong)+len(r.Slow) > 0 {
			verdict = "FAILED: " + verdict
		}
		fmt.Fprintf(&summary, "%-22s %-10s %-18s %v\n", r.Attack, r.Level, verdict, r.Reasons)
		late, attempts = max(late, r.Late), attempts+r.Refused
	}
	fmt.Fprintf(&summary, "%d attacks at %s, %d attempts named what stopped them; heartbeat at most %s late\n\n", len(results), results[0].Level, attempts, late.Round(time.Microsecond))
}
