package recordings

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// witness is a test whose failure can be looked at.
type witness struct {
	testing.TB
	failed bool
}

func (w *witness) Helper()      {}
func (w *witness) Name() string { return "TestWitness" }
func (w *witness) Fatalf(string, ...any) {
	w.failed = true
	panic(w)
}

func path(t *testing.T, rel string) (found, failed bool) {
	w := &witness{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(w) {
			panic(r)
		}
		failed = w.failed
	}()
	_, found = Path(w, rel)
	return found, false
}

// Absent recordings do not run on a user's machine, fail in CI, and an incomplete folder always fails.
func TestAbsenceIsSaidAndFailsInCI(t *testing.T) {
	t.Setenv("MSUP_RECORDINGS", filepath.Join(t.TempDir(), "absent"))
	t.Setenv("CI", "")
	out = io.Discard
	t.Cleanup(func() { out = os.Stderr })
	list := filepath.Join(t.TempDir(), "not_run")
	t.Setenv("MSUP_NOT_RUN", list)
	if found, failed := path(t, "x"); found || failed {
		t.Errorf("on a user's machine: found %v, failed %v", found, failed)
	}
	if b, err := os.ReadFile(list); err != nil || string(b) != Marker+" TestWitness needs x\n" {
		t.Errorf("the list of tests that did not run: %q %v", b, err)
	}
	t.Setenv("CI", "true")
	if _, failed := path(t, "x"); !failed {
		t.Error("in CI absence does not fail")
	}
	dir := t.TempDir()
	t.Setenv("MSUP_RECORDINGS", dir)
	t.Setenv("CI", "")
	if _, failed := path(t, "x"); !failed {
		t.Error("an incomplete folder does not fail")
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, failed := path(t, "x"); !found || failed {
		t.Errorf("a file that is there: found %v, failed %v", found, failed)
	}
}
