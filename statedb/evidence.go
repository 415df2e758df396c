package statedb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const evidenceDir = "evidence"

// errEvidence marks a failure to copy the files: nothing may be written then, or they would be lost.
var errEvidence = errors.New("evidence could not be kept")

// evidenceFiles are copied as they stand; the shared-memory index is SQLite's scratch and tells nothing.
var evidenceFiles = []string{ledgerSchema.file, ledgerSchema.file + "-wal", checkpointSchema.file, checkpointSchema.file + "-wal", markFile}

// keptFiles holds files open until the databases are closed. POSIX drops all locks of a process on a file when any of its
// descriptors is closed: SQLite's locks on ledger.db would be gone, and another program could remove the log under us.
type keptFiles struct {
	mu    sync.Mutex
	files []*os.File
}

func (k *keptFiles) open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.files = append(k.files, f)
	return f, nil
}

func (k *keptFiles) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		f.Close()
	}
	k.files = nil
}

// evidenceNote lies beside the copies.
type evidenceNote struct {
	Time  time.Time        `json:"time"`
	Of    string           `json:"of"`
	Cause string           `json:"cause"`
	Sizes map[string]int64 `json:"sizes"`
}

// withEvidence copies the files to the evidence folder and says so in the error. A repeated start with the same cause finds
// the earlier copy: a supervisor that is restarted for ever must not fill the disk.
func (db *DB) withEvidence(of string, cause error) error {
	if db.writer != nil {
		db.writer.tx.Lock()
		defer db.writer.tx.Unlock()
	}
	dir, err := db.copyEvidence(of, cause)
	if err != nil {
		return fmt.Errorf("%w: %w: %w", errEvidence, cause, err)
	}
	own, ok := cause.(*Error)
	if !ok {
		own = &Error{Kind: ErrCorrupt, Place: db.dir, Err: cause, Remedy: remedyRestore}
	}
	e := *own
	e.Evidence = dir
	return &e
}

func (db *DB) copyEvidence(of string, cause error) (string, error) {
	note := evidenceNote{Time: time.Now().UTC(), Of: of, Cause: cause.Error(), Sizes: make(map[string]int64)}
	for _, name := range evidenceFiles {
		st, err := os.Stat(db.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", diskError(db.path(name), "looking at the file", err)
		}
		note.Sizes[name] = st.Size()
	}
	suffix := "-" + safeName(of)
	root := db.path(evidenceDir)
	if old, ok := sameEvidence(root, suffix, &note); ok {
		return old, nil
	}
	dir := filepath.Join(root, note.Time.Format("20060102T150405.000000000Z")+suffix)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", diskError(dir, "creating the evidence folder", err)
	}
	for name := range note.Sizes {
		if err := db.copyFile(db.path(name), filepath.Join(dir, name)); err != nil {
			return "", both(diskError(dir, "copying "+name, err), os.RemoveAll(dir))
		}
	}
	b, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return "", fmt.Errorf("evidence note: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "note.json"), append(b, '\n'), 0o600); err != nil {
		return "", both(diskError(dir, "writing the note", err), os.RemoveAll(dir))
	}
	return dir, errors.Join(syncDir(dir), syncDir(root), syncDir(db.dir))
}

func (db *DB) copyFile(from, to string) error {
	src, err := db.keep.open(from)
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return both(err, dst.Close())
	}
	return errors.Join(dst.Sync(), dst.Close())
}

// sameEvidence looks for a complete earlier copy of the same trouble.
func sameEvidence(root, suffix string, note *evidenceNote) (string, bool) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return "", false // none yet, or creating the folder will say why
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, e.Name(), "note.json"))
		if err != nil {
			continue
		}
		var old evidenceNote
		if json.Unmarshal(b, &old) != nil || old.Cause != note.Cause || old.Of != note.Of {
			continue
		}
		return filepath.Join(root, e.Name()), true
	}
	return "", false
}

// safeName makes a file name of an id: ids may hold slashes and dots.
func safeName(id string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, id)
}
