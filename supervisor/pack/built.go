package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mostBuiltBytes is how much of what was compiled is kept. A crate compiles to 1 to 5 MB, so that is hundreds of them.
const mostBuiltBytes = 1 << 30

// unfinishedAfter is when a file that was begun and never got its name belongs to nobody any more.
const unfinishedAfter = time.Hour

// built is what was compiled once, by a key of everything that decides on it:
//
//	<store>/built/<key>.json  sha256 and size; its time is that of the last use
//	<store>/built/<key>       the artifact
//
// It is a cache. No package and no run refers to it: a package has a copy of its artifact, and runners are shown packages alone.
func (s store) built() string { return filepath.Join(string(s), "built") }

type builtKey struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// builtBefore returns what was compiled under a key; anything unusable means that it is compiled again.
func (s store) builtBefore(key string) ([]byte, bool) {
	text, err := readPlain(filepath.Join(s.built(), key+".json"), 4096)
	if err != nil {
		return nil, false
	}
	var k builtKey
	if json.Unmarshal(text, &k) != nil {
		return nil, false
	}
	data, err := readPlain(filepath.Join(s.built(), key), maxArtifactBytes)
	if err != nil {
		return nil, false
	}
	sum := sha256.Sum256(data)
	if int64(len(data)) != k.Size || hex.EncodeToString(sum[:]) != k.SHA256 {
		return nil, false
	}
	now := time.Now()
	// Where that fails, it is taken for older than it is, and compiled again some day.
	_ = os.Chtimes(filepath.Join(s.built(), key+".json"), now, now)
	return data, true
}

func (s store) keepBuilt(key string, artifact []byte) error {
	sum := sha256.Sum256(artifact)
	text, err := json.Marshal(builtKey{hex.EncodeToString(sum[:]), int64(len(artifact))})
	if err != nil {
		return fmt.Errorf("encode the key of what was compiled: %w", err)
	}
	if err := writeFile(filepath.Join(s.built(), key), artifact); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.built(), key+".json"), append(bytes.Clone(text), '\n'))
}

// compiled is one entry of the cache.
type compiled struct {
	key   string
	bytes int64
	used  time.Time
}

// pruneBuilt removes what was not used for the longest time until at most so many bytes are left; the entry that was used last stays, however
// large it is. A build beside it that finds its entry gone compiles again.
func (s store) pruneBuilt(most int64) (removed int, freed int64, err error) {
	entries, err := os.ReadDir(s.built())
	if err != nil {
		return 0, 0, fmt.Errorf("look at what was compiled: %w", err)
	}
	found := map[string]*compiled{}
	var total int64
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() { // gone meanwhile, or nothing of ours
			continue
		}
		if strings.HasPrefix(e.Name(), ".write-") {
			if time.Since(info.ModTime()) > unfinishedAfter {
				errs = append(errs, s.dropBuilt(e.Name()))
			}
			continue
		}
		key := strings.TrimSuffix(e.Name(), ".json")
		if raw, err := hex.DecodeString(key); err != nil || len(raw) != sha256.Size {
			continue // somebody else's
		}
		c := found[key]
		if c == nil {
			c = &compiled{key: key}
			found[key] = c
		}
		c.bytes += info.Size()
		if total += info.Size(); info.ModTime().After(c.used) {
			c.used = info.ModTime()
		}
	}
	oldest := make([]*compiled, 0, len(found))
	for _, c := range found {
		oldest = append(oldest, c)
	}
	slices.SortFunc(oldest, func(a, b *compiled) int {
		if n := a.used.Compare(b.used); n != 0 {
			return n
		}
		return strings.Compare(a.key, b.key)
	})
	for len(oldest) > 1 && total > most {
		c := oldest[0]
		oldest = oldest[1:]
		// Without its key the artifact is not used any more, also when the removal ends between the two.
		if err := errors.Join(s.dropBuilt(c.key+".json"), s.dropBuilt(c.key)); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
		freed += c.bytes
		total -= c.bytes
	}
	return removed, freed, errors.Join(errs...)
}

func (s store) dropBuilt(name string) error {
	if err := os.Remove(filepath.Join(s.built(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was compiled: %w", err)
	}
	return nil
}
