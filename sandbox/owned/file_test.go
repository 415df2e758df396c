package owned

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func nothing(*os.File) error { return nil }

// Proves: LS-1
func TestAFileBelongsToItsMakerUntilItLetsGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one.json")
	mine, err := Create(path, func(f *os.File) error { _, err := f.WriteString("{}"); return err })
	if err != nil {
		t.Fatal(err)
	}
	if taken, err := Take(path); taken != nil || err != nil {
		t.Fatalf("taken from its living owner: %v, %v", taken, err)
	}
	if err := mine.Close(); err != nil {
		t.Fatal(err)
	}
	taken, err := Take(path)
	if taken == nil || err != nil {
		t.Fatalf("a dead owner's file was not taken: %v", err)
	}
	if body, err := os.ReadFile(path); err != nil || string(body) != "{}" {
		t.Errorf("the file says %q, %v", body, err)
	}
	if err := Remove(path, taken); err != nil {
		t.Fatal(err)
	}
	if taken, err := Take(path); taken != nil || err != nil {
		t.Errorf("took what is gone: %v, %v", taken, err)
	}
}

func TestWhatCannotBeFilledLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	full := errors.New("full")
	if _, err := Create(filepath.Join(dir, "one.json"), func(*os.File) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v, want the filling's own error", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := Create(filepath.Join(dir, "absent", "one.json"), nothing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a folder that is not there", err)
	}
}

func TestWhatADeadMakerLeftUnfinishedIsNoHindrance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one.json")
	if err := os.WriteFile(path+Suffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if err := Remove(path, f); err != nil {
		t.Error(err)
	}
}

// Two supervisors of one host: one starts runners while the other, which has just started, reaps. Before files were created this way
// one start in some hundreds failed, because the reaper had removed a record between its opening and its lock.
//
// Proves: LS-1
func TestMakersBesideReapers(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var reapers, makers sync.WaitGroup
	for range 2 {
		reapers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				time.Sleep(100 * time.Microsecond) // still ten thousand times as often as supervisors start
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range entries {
					path := filepath.Join(dir, e.Name())
					f, err := Take(path)
					if err != nil {
						t.Error(err)
						return
					}
					if f == nil {
						continue
					}
					if !strings.HasSuffix(path, Suffix) {
						t.Errorf("took %s, whose maker is alive", path)
					}
					if err := Remove(path, f); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	until := time.Now().Add(time.Second)
	for maker := range 2 {
		makers.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				path := filepath.Join(dir, fmt.Sprintf("%d-%d.json", maker, n))
				f, err := Create(path, nothing)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.Remove(path); err != nil { // by its owner, and still held
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	close(stop)
	reapers.Wait()
}
