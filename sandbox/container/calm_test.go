package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/msup/msup/sandbox"
)

// Nothing is made in advance while a start is waited for, nor right after; an end without end does not hold it up for ever.
//
// Proves: SB-L3, LN-7
func TestCalm(t *testing.T) {
	newCalm := func() *calm { return &calm{quiet: quiet, unrest: unrest} }
	took := func(c *calm, stop chan struct{}) (time.Duration, bool) {
		began := time.Now()
		ok := c.wait(stop)
		return time.Since(began), ok
	}
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if d, ok := took(newCalm(), nil); d != 0 || !ok {
				t.Errorf("%s, %v", d, ok)
			}
		})
	})
	t.Run("after the last of two starts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCalm()
			c.begin()
			c.begin()
			for _, end := range []time.Duration{time.Second, 3 * time.Second} {
				go func() { time.Sleep(end); c.end() }()
			}
			if d, ok := took(c, nil); d != 3*time.Second+quiet || !ok {
				t.Errorf("%s, %v", d, ok)
			}
		})
	})
	t.Run("not after one that another follows", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCalm()
			c.begin()
			c.end()
			go func() { time.Sleep(quiet / 2); c.begin(); time.Sleep(time.Second); c.end() }()
			if d, ok := took(c, nil); d != quiet/2+time.Second+quiet || !ok {
				t.Errorf("%s, %v", d, ok)
			}
		})
	})
	t.Run("without an end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCalm()
			c.begin()
			if d, ok := took(c, nil); d != unrest || !ok {
				t.Errorf("%s, %v", d, ok)
			}
		})
	})
	t.Run("stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, stop := newCalm(), make(chan struct{})
			c.begin()
			go func() { time.Sleep(time.Second); close(stop) }()
			if d, ok := took(c, stop); d != time.Second || ok {
				t.Errorf("%s, %v", d, ok)
			}
			c.end()
			time.Sleep(quiet)
			if c.wait(stop) {
				t.Error("it is quiet, and what was stopped goes on")
			}
		})
	})
}

// While another start is waited for, a running instance gets no successor, and then it does. A start that fails is none that is waited for.
//
// Proves: SB-L3, LN-7
func TestSuccessorsWaitForStarts(t *testing.T) {
	s := open(t, engine(t), func(c *Config) { c.Prepare = true })
	s.starts.begin()
	r := startEcho(t, s)
	r.say(t, "x")
	time.Sleep(quiet + 500*time.Millisecond)
	if n := s.Prepared(); n != 0 {
		t.Errorf("%d prepared while a start is under way", n)
	}
	s.starts.end()
	eventually(t, "a successor waits", func() bool { return s.Prepared() == 1 })
	missing := script(t, "")
	missing.Argv = []string{"/no/such/program"}
	if _, err := s.Start(t.Context(), missing); err == nil {
		t.Fatal("a program that is not there was started")
	}
	if _, ended := s.starts.left(); ended != nil {
		t.Error("a start that failed is still under way")
	}
}

// Starts that come together are made some at a time; one that nobody waits for any more leaves the queue with a reason.
//
// Proves: SB-L3, SB-8
func TestStartsTakeTurns(t *testing.T) {
	s := open(t, engine(t), nil)
	for range makers {
		s.creating <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Start(ctx, script(t, echoCode))
	if known, ok := errors.AsType[*sandbox.Error](err); !ok || known.Reason != sandbox.ReasonSetupFailed || !errors.Is(err, context.Canceled) {
		t.Errorf("a start that was given up: %v", err)
	}
	started, spec := make(chan error, 1), script(t, echoCode)
	go func() {
		r, err := s.Start(t.Context(), spec)
		if err == nil {
			err = r.Kill()
		}
		started <- err
	}()
	select {
	case err := <-started:
		t.Fatalf("it did not wait for its turn: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	<-s.creating
	if err := <-started; err != nil {
		t.Error(err)
	}
	if n := len(s.creating); n != makers-1 {
		t.Errorf("%d places are taken, want %d", n, makers-1)
	}
}

// One leftover that cannot be removed keeps none of the others, and the report has all that were, in the order of their names.
//
// Proves: SB-L3, SB-8
func TestReapGoesOnAfterAFailure(t *testing.T) {
	s := open(t, engine(t), nil)
	bad := filepath.Join(s.cfg.RuntimeDir, "c000000000003.json") // a folder is no record
	if err := os.Mkdir(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 3 * reapers {
		id := fmt.Sprintf("c0000000001%02x", i)
		body := fmt.Sprintf(`{"ID":%q,"Address":"b/s/%d","CgroupParent":%q,"Supervisor":1}`, id, i, s.cgroups.Parent())
		if err := errors.Join(os.Mkdir(s.workDir(id), 0o711), os.WriteFile(filepath.Join(s.cfg.RuntimeDir, id+".json"), []byte(body), 0o600)); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("runner %s of b/s/%d, left by supervisor 1", id, i))
	}
	reaped, err := s.Reap(t.Context())
	if err == nil {
		t.Error("what could not be removed is no error")
	}
	if !slices.Equal(reaped.Details, want) || reaped.Dirs != len(want) {
		t.Errorf("%d folders, %q", reaped.Dirs, reaped.Details)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.cfg.RuntimeDir)
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if again, err := s.Reap(t.Context()); err != nil || !again.Empty() {
		t.Errorf("again %+v, %v", again, err)
	}
}
