package warden

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/msup/msup/sandbox"
)

// weight is the share of the processor that the kernel gives to the control group of a process, against its neighbours.
func weight(t *testing.T, pid int) int {
	t.Helper()
	found := -1
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || name != "cpu.shares" && name != "cpu.weight" {
			return nil // other tests' groups come and go
		}
		inside, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup.procs"))
		if err != nil || !slices.Contains(strings.Fields(string(inside)), strconv.Itoa(pid)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			found, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	})
	if err != nil || found < 0 {
		t.Fatalf("process %d is in no group with a weight: %v", pid, err)
	}
	return found
}

// A supervisor without root lowers its own runners through the helper, and gives them back what they had; a number that is none of its runners'
// is refused, and the neighbour keeps its weight.
//
// Proves: LN-7, SB-2, SB-6
func TestASealedHelperLowersItsRunners(t *testing.T) {
	b := start(t)
	b.seal(2)
	r, neighbour := b.run(), b.run()
	usual := weight(t, r.PID())
	for _, lowered := range []bool{true, true, false, false} {
		if err := r.(sandbox.Prioritised).SetLowered(lowered); err != nil {
			t.Fatal(err)
		}
		want := usual
		if lowered {
			want = usual / 10
		}
		if got := weight(t, r.PID()); got != want {
			t.Errorf("lowered %v: weight %d, want %d", lowered, got, want)
		}
		if got := weight(t, neighbour.PID()); got != usual {
			t.Errorf("its neighbour has weight %d, want %d", got, usual)
		}
	}
	for _, number := range []uint64{0, 99} {
		if _, err := b.client.ask(request{Verb: verbLower, Runner: number, Lower: true}); !refusedBySeal(err) {
			t.Errorf("runner %d: %v", number, err)
		}
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.(sandbox.Prioritised).SetLowered(true); err != nil {
		t.Errorf("a runner that has ended is an error: %v", err)
	}
	if err := b.client.Close(); err != nil {
		t.Error(err)
	}
}

// ranked is a runner that tells when its priority was changed.
type ranked struct {
	sandbox.Runner
	fails   error
	done    chan struct{}
	changes []string
	began   time.Time
}

func (r *ranked) Done() <-chan struct{} { return r.done }

func (r *ranked) SetLowered(lowered bool) error {
	r.changes = append(r.changes, fmt.Sprintf("%s %v", time.Since(r.began), lowered))
	return r.fails
}

// However often a supervisor asks, a priority is changed once for every change that it asks for, and never sooner than the period allows.
//
// Proves: LN-7, SB-2
func TestPrioritiesChangeAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &ranked{done: make(chan struct{}), began: time.Now()}
		h := &held{Runner: r, address: "b/s/i"}
		ask := func(ctx context.Context, lowered bool) error { return h.lower(ctx, lowered) }
		for _, lowered := range []bool{false, true, true, false, true, true, false} {
			if err := ask(t.Context(), lowered); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"0s true", "250ms false", "500ms true", "750ms false"}; !slices.Equal(r.changes, want) {
			t.Errorf("changes %q, want %q", r.changes, want)
		}
		// One that fails counts for the rate, and is tried again when it is asked for again.
		r.fails = errors.New("no such file")
		time.Sleep(time.Hour)
		r.began, r.changes = time.Now(), nil
		for range 2 {
			if err := ask(t.Context(), true); !errors.Is(err, r.fails) {
				t.Errorf("it failed, and that is told as %v", err)
			}
		}
		if want := []string{"0s true", "250ms true"}; !slices.Equal(r.changes, want) {
			t.Errorf("changes %q, want %q", r.changes, want)
		}
		// Who waits for its time is not kept by a helper that ends, nor by a runner that has ended.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ask(ctx, true); !errors.Is(err, context.Canceled) {
			t.Errorf("a helper that ends: %v", err)
		}
		close(r.done)
		if err := ask(t.Context(), true); err != nil {
			t.Errorf("a runner that has ended: %v", err)
		}
		if len(r.changes) != 2 {
			t.Errorf("changes %q", r.changes)
		}
	})
	none := &held{Runner: struct{ sandbox.Runner }{}, address: "b/s/i"}
	if err := none.lower(t.Context(), true); err == nil || !strings.Contains(err.Error(), "b/s/i") || !strings.Contains(err.Error(), "no priorities") {
		t.Errorf("a sandbox without priorities: %v", err)
	}
}
