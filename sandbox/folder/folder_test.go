package folder

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
)

// bound is the time in which something has to happen that takes one period on an idle machine.
const bound = 20 * time.Second

func watching(t *testing.T, ws []sandbox.Writable, done <-chan struct{}) <-chan Breach {
	t.Helper()
	out := make(chan Breach, 16)
	Watch(ws, done, func(b Breach) { out <- b })
	return out
}

func next(t *testing.T, breaches <-chan Breach) Breach {
	t.Helper()
	select {
	case b := <-breaches:
		return b
	case <-time.After(bound):
		t.Fatal("no breach was told")
		return Breach{}
	}
}

// Proves: SB-2
func TestBytesAndEmptyFilesBreakTheLimit(t *testing.T) {
	for name, fill := range map[string]func(dir string) error{
		"bytes": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o600)
		},
		"empty files below a folder": func(dir string) error {
			deep := filepath.Join(dir, "a", "b")
			if err := os.MkdirAll(deep, 0o700); err != nil {
				return err
			}
			for i := range 300 {
				if err := os.WriteFile(filepath.Join(deep, fmt.Sprint(i)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, calm := t.TempDir(), t.TempDir()
			done := make(chan struct{})
			defer close(done)
			const limit = 1 << 20
			breaches := watching(t, []sandbox.Writable{
				{Target: "/scratch", Bytes: 1}, // a tmpfs, which the kernel bounds
				{Target: "/calm", Source: calm, Bytes: limit},
				{Target: "/out", Source: dir, Bytes: limit},
			}, done)
			if err := fill(dir); err != nil {
				t.Fatal(err)
			}
			if b := next(t, breaches); b.Target != "/out" || b.Limit != limit || b.Bytes <= limit || b.Err != nil {
				t.Errorf("%+v", b)
			}
			select {
			case b := <-breaches:
				t.Errorf("told again: %+v", b)
			case <-time.After(3 * period):
			}
		})
	}
}

// Proves: SB-2
func TestWhatCannotBeMeasuredIsABreach(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer close(done)
	b := next(t, watching(t, []sandbox.Writable{{Target: "/out", Source: filepath.Join(file, "below"), Bytes: 1 << 20}}, done))
	if b.Target != "/out" || b.Err == nil {
		t.Errorf("%+v", b)
	}
}

// Proves: SB-2
func TestWatchEndsWithItsJob(t *testing.T) {
	t.Parallel()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		watch(sandbox.Writable{Target: "/out", Source: t.TempDir(), Bytes: 1 << 20}, done, func(b Breach) { t.Errorf("%+v", b) })
	}()
	close(done)
	select {
	case <-ended:
	case <-time.After(bound):
		t.Error("the watch outlives its job")
	}
}

// Proves: SB-2
func TestMeasureCountsBlocksNotHoles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sparse")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	got, err := measure(dir, 1<<20)
	if err != nil || got < 2*inodeBytes || got > 1<<20 {
		t.Errorf("%d bytes, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	more, err := measure(dir, 1<<30)
	if err != nil || more < got+256<<10 {
		t.Errorf("%d bytes after %d and a file of 256 KiB, %v", more, got, err)
	}
	// A folder that is gone holds nothing: the job may have removed what it made.
	if n, err := measure(filepath.Join(dir, "none"), 1); n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Proves: SB-L1
func TestHandBackFollowsNoLink(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	target := filepath.Join(outside, "theirs")
	made := []string{filepath.Join(dir, "deep"), filepath.Join(dir, "deep", "made"), filepath.Join(dir, "link")}
	if err := os.Mkdir(made[0], 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{target, made[1]} {
		if err := os.WriteFile(f, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(target, made[2]); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	const stranger = 54321
	if root { // without root nobody can be given anything, and nothing has to be taken back
		for _, p := range append(made, dir, target) {
			if err := os.Lchown(p, stranger, stranger); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(made[1], 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := HandBack([]sandbox.Writable{{Target: "/scratch", Bytes: 1}, {Target: "/out", Source: dir, Bytes: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, p := range append(made, dir) {
		if uid := owner(t, p); uid != os.Geteuid() {
			t.Errorf("%s belongs to user %d", p, uid)
		}
	}
	if uid := owner(t, target); root && uid != stranger {
		t.Errorf("what a link leads to was given to user %d", uid)
	}
	if st, err := os.Stat(made[1]); err != nil || st.Mode() != 0o755 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := HandBack([]sandbox.Writable{{Target: "/out", Source: filepath.Join(dir, "none"), Bytes: 1}}); err == nil {
		t.Error("a folder that is not there was taken back")
	}
}
