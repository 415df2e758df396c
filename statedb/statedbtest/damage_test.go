package statedbtest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Proves: ST-4
func TestDamageIsRealAndRepeatable(t *testing.T) {
	origin := t.TempDir()
	content := bytes.Repeat([]byte("state"), 1000)
	for _, name := range []string{"ledger.db", "mark"} {
		if err := os.WriteFile(filepath.Join(origin, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kinds := make(map[string]bool)
	for seed := range uint64(64) {
		var results [2][]byte
		for i := range results {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := Copy(origin, dir); err != nil {
				t.Fatal(err)
			}
			d, err := Random(rand.New(rand.NewPCG(seed, 0)), dir)
			if err != nil {
				t.Fatal(err)
			}
			kinds[d.Kind] = true
			if results[i], err = os.ReadFile(d.Path); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(results[i], content) {
				t.Errorf("seed %d: %s changed nothing", seed, d)
			}
		}
		if !bytes.Equal(results[0], results[1]) {
			t.Errorf("seed %d gives two different damages", seed)
		}
	}
	if !kinds["flip"] || !kinds["truncate"] {
		t.Errorf("kinds %v", kinds)
	}
	if _, err := Random(rand.New(rand.NewPCG(1, 1)), t.TempDir()); err == nil {
		t.Error("nothing to damage, and no error")
	}
}
