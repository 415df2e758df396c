package statedbtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Files of a state directory that may be damaged.
var Files = []string{"ledger.db", "ledger.db-wal", "checkpoints.db", "checkpoints.db-wal", "mark"}

// Damage says what was done to a file.
type Damage struct {
	Path   string
	Kind   string // "flip" or "truncate"
	Offset int64
	Before []byte // flip: what stood there
	After  []byte // flip: what stands there now
}

// String says everything needed to do it again.
func (d Damage) String() string {
	if d.Kind == "truncate" {
		return fmt.Sprintf("truncate %s to %d bytes", filepath.Base(d.Path), d.Offset)
	}
	return fmt.Sprintf("%s %s at %d: %x to %x", d.Kind, filepath.Base(d.Path), d.Offset, d.Before, d.After)
}

// Flip changes every one of n consecutive bytes at a random place.
func Flip(rng *rand.Rand, path string, n int) (d Damage, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return d, fmt.Errorf("damage: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("damage %s: %w", path, cerr)
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return d, fmt.Errorf("damage: %w", err)
	}
	if st.Size() < int64(n) {
		return d, fmt.Errorf("damage %s: %d bytes long, %d to flip", path, st.Size(), n)
	}
	d = Damage{Path: path, Kind: "flip", Offset: rng.Int64N(st.Size() - int64(n) + 1), Before: make([]byte, n), After: make([]byte, n)}
	if _, err := f.ReadAt(d.Before, d.Offset); err != nil {
		return d, fmt.Errorf("damage %s: %w", path, err)
	}
	for i, b := range d.Before {
		d.After[i] = b ^ byte(1+rng.IntN(255))
	}
	if _, err := f.WriteAt(d.After, d.Offset); err != nil {
		return d, fmt.Errorf("damage %s: %w", path, err)
	}
	return d, nil
}

// Truncate cuts a file at a random place.
func Truncate(rng *rand.Rand, path string) (Damage, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Damage{}, fmt.Errorf("damage: %w", err)
	}
	if st.Size() == 0 {
		return Damage{}, fmt.Errorf("damage %s: it is empty", path)
	}
	d := Damage{Path: path, Kind: "truncate", Offset: rng.Int64N(st.Size())}
	if err := os.Truncate(path, d.Offset); err != nil {
		return d, fmt.Errorf("damage: %w", err)
	}
	return d, nil
}

// Random damages one of the files that exist and are not empty: 8 flipped bytes mostly, a truncation once in eight times.
func Random(rng *rand.Rand, dir string, files ...string) (Damage, error) {
	if len(files) == 0 {
		files = Files
	}
	var present []string
	for _, name := range files {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Size() >= 8 {
			present = append(present, filepath.Join(dir, name))
		}
	}
	if len(present) == 0 {
		return Damage{}, fmt.Errorf("damage %s: no file of %v holds anything", dir, files)
	}
	path := present[rng.IntN(len(present))]
	if rng.IntN(8) == 0 {
		return Truncate(rng, path)
	}
	return Flip(rng, path, 8)
}

// Copy copies the files of a closed or killed state directory; the lock, the shared-memory index and the evidence stay behind.
func Copy(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("copy state: %w", err)
	}
	for _, name := range Files {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("copy state: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
