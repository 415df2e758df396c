package statedb

import (
	"os"
	"path/filepath"
	"testing"
)

// Proves: LS-1
func TestInUseTellsAHeldDirectory(t *testing.T) {
	dir := t.TempDir()
	if InUse(dir) {
		t.Fatal("an empty directory is in use")
	}
	db, err := Open(dir, Options{Durability: None})
	if err != nil {
		t.Fatal(err)
	}
	if !InUse(dir) {
		t.Fatal("an open directory is not in use")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if InUse(dir) {
		t.Fatal("a closed directory is in use")
	}
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, lockFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if !InUse(dir) {
		t.Fatal("a lock that cannot be read passes for free")
	}
}
