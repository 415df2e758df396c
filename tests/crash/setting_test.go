package crash

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// setting is what the worlds of a test have in common: strategies, a feed, a fresh state directory, and what I is told when nothing disturbs.
type setting struct {
	t          *testing.T
	dir        string
	feed       string
	strategies []string // their folders
	python     bool     // I is the Python receiver, else the simulated one
	args       []string // of every run
	fresh      string   // the state that all worlds begin with
	want       *book
	took       time.Duration // that run from its start to its end: kills are as far apart as the machine is slow
}

// plan says what a setting is made of.
type plan struct {
	strategies map[string]map[string]string // name → file → text
	events     int
	python     bool
	args       []string
	atLeast    int // intents that reach I
}

func newSetting(t *testing.T, p plan) *setting {
	t.Helper()
	dir, err := os.MkdirTemp(built.dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &setting{t: t, dir: dir, feed: filepath.Join(dir, "market.jsonl"), python: p.python, args: p.args, fresh: filepath.Join(dir, "fresh")}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(p.strategies)) {
		s.strategies = append(s.strategies, filepath.Join(dir, name))
		for file, text := range p.strategies[name] {
			if err := write(filepath.Join(dir, name, file), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.prepare(p); err != nil {
		t.Fatal(err)
	}
	return s
}

// prepare makes the feed, the fresh state and the undisturbed run.
func (s *setting) prepare(p plan) error {
	w, err := s.world("first")
	if err != nil {
		return err
	}
	if out, err := w.must(0, "feed", "generate", s.feed, "--seed", "3", "--events", fmt.Sprint(p.events), "--clean"); err != nil {
		return fmt.Errorf("making the feed: %w\n%s", err, out)
	}
	if err := w.startI(); err != nil {
		return err
	}
	if out, err := w.must(0, w.runArgs("--events", "1")...); err != nil {
		return fmt.Errorf("making a fresh state directory: %w\n%s", err, out)
	}
	if err := errors.Join(w.stopI(), os.Rename(w.state, s.fresh)); err != nil {
		return err
	}
	if s.python {
		if err := os.Rename(w.i, s.fresh+"-i"); err != nil {
			return err
		}
	}
	if err := w.remove(); err != nil {
		return err
	}
	if w, err = s.world("whole"); err != nil {
		return err
	}
	if err := w.startI(); err != nil {
		return err
	}
	began := time.Now()
	if err := w.finish(); err != nil {
		return fmt.Errorf("the undisturbed run: %w", errors.Join(err, w.stopI()))
	}
	s.took = time.Since(began)
	if err := w.stopI(); err != nil {
		return fmt.Errorf("after the undisturbed run: %w", err)
	}
	if s.want, err = w.book(); err != nil {
		return err
	}
	if len(s.want.told) < p.atLeast {
		return fmt.Errorf("I was told of %d intents, want at least %d: there is too little to compare", len(s.want.told), p.atLeast)
	}
	return errors.Join(w.keep(), w.remove())
}

// copyTree copies folders and regular files.
func copyTree(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			err = copyTree(source, target)
		} else if e.Type().IsRegular() {
			err = copyFile(source, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// tail keeps what a person wants to read of a long output.
func tail(text string) string {
	const most = 4000
	if text = strings.TrimSpace(text); len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}
