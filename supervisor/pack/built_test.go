package pack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The cache of compilations stays below its ceiling: what was not used for the longest time goes first, what was just used or written stays, and
// so does whatever msup did not put there. A package, which is what runs refer to, is not touched.
//
// Proves: SB-2, AD-3
func TestOldCompilationsAreRemoved(t *testing.T) {
	s := store(t.TempDir())
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	const size = 1000
	key := func(n int) string { return fmt.Sprintf("%064x", n) }
	artifact := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, size) }
	for n := range 10 {
		if err := s.keepBuilt(key(n), artifact(n)); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(time.Duration(n-100) * time.Minute)
		for _, name := range []string{key(n), key(n) + ".json"} {
			if err := os.Chtimes(filepath.Join(s.built(), name), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := s.builtBefore(key(0)); !ok { // the oldest is used: it is the youngest now
		t.Fatal("what was compiled is not found")
	}
	others := map[string]bool{"README": true, ".write-young": true}
	for name := range others {
		if err := os.WriteFile(filepath.Join(s.built(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dead, before := filepath.Join(s.built(), ".write-dead"), time.Now().Add(-2*unfinishedAfter)
	pkg := filepath.Join(s.packages(), key(1))
	for _, err := range []error{os.WriteFile(dead, artifact(0), 0o600), os.Chtimes(dead, before, before), os.WriteFile(pkg, artifact(1), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if removed, freed, err := s.pruneBuilt(1 << 20); err != nil || removed != 0 || freed != 0 {
		t.Fatalf("below the ceiling %d went, %d bytes, %v", removed, freed, err)
	}
	if _, err := os.Lstat(dead); err == nil {
		t.Error("what a dead build had begun is still there")
	}
	removed, freed, err := s.pruneBuilt(4 * (size + 200))
	if err != nil || removed != 6 || freed < 6*size {
		t.Errorf("%d went, %d bytes, %v", removed, freed, err)
	}
	for n := range 10 {
		data, ok := s.builtBefore(key(n))
		if want := n == 0 || n > 6; ok != want || ok && !bytes.Equal(data, artifact(n)) {
			t.Errorf("compilation %d is there: %t, want %t", n, ok, want)
		}
	}
	entries, err := os.ReadDir(s.built())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		delete(others, e.Name())
		if n := strings.TrimSuffix(e.Name(), ".json"); n == key(1) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	if len(others) != 0 {
		t.Errorf("somebody else's files went: %v", others)
	}
	if _, err := os.Lstat(pkg); err != nil {
		t.Errorf("a package went: %v", err)
	}
	if removed, _, err := s.pruneBuilt(0); err != nil || removed != 3 {
		t.Errorf("with no room at all %d went, %v; the last one stays", removed, err)
	}
}
