package statedb

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// slotStore is checkpoints.db: a database of its own, because blobs of 16 MB blocked a ledger's writer for 35 to 65 ms.
type slotStore struct {
	path string

	mu     sync.Mutex
	c      *conn // writes
	back   *conn // reads back what was written, with a cache of its own
	broken error // the file cannot be used; nothing in it is touched
	closed bool
}

// storedSlot is one slot as read: a checkpoint, or why it is none.
type storedSlot struct {
	slot       int
	checkpoint Checkpoint
	err        error
}

// openSlots opens checkpoints.db. A damaged file is left as it is: instances may go on from their logs, without checkpoints.
func openSlots(db *DB) (*slotStore, error) {
	s := &slotStore{path: db.path(checkpointSchema.file)}
	version, err := inspectSlots(s.path)
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrForeign) {
		s.broken = db.withEvidence("checkpoints", err)
		db.log.Error("checkpoints cannot be used", "err", s.broken)
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if s.c, err = openConn(s.path, false); err != nil {
		return s, err
	}
	if err := tune(s.c, db.opt.Durability); err != nil {
		return s, err
	}
	if err := checkpointSchema.migrate(s.c, version); err != nil {
		return s, err
	}
	if s.back, err = openConn(s.path, true); err != nil {
		return s, err
	}
	return s, syncDir(db.dir)
}

func inspectSlots(path string) (version int64, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, diskError(path, "looking at the checkpoints", err)
	}
	c, err := openConn(path, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = both(err, c.close()) }()
	return checkpointSchema.inspect(c)
}

func (s *slotStore) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	err := errors.Join(s.back.close(), s.c.close())
	s.c, s.back = nil, nil
	return err
}

func (s *slotStore) usable() error {
	if s.closed {
		return ErrClosed
	}
	return s.broken
}

// read gives the slots that exist, damaged ones included.
func (s *slotStore) read(st *state) (out []storedSlot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	for slot := range 2 {
		body, found, err := readSlot(s.back, st, slot)
		if err == nil && !found {
			continue
		}
		got := storedSlot{slot: slot}
		if err == nil {
			got.checkpoint, err = decodeCheckpoint(st.lineage, body)
		}
		if err != nil {
			got.err = &Error{Kind: ErrCorrupt, Place: s.path, Cause: "the checkpoint cannot be read", Err: err,
				Remedy: "the other slot is used, with a longer replay; if there is none, " + remedyRestore}
		}
		out = append(out, got)
	}
	return out, nil
}

func readSlot(c *conn, st *state, slot int) (body []byte, found bool, err error) {
	err = c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		body, found = cols.blob(0), true
		return cols.err
	}, 1, "SELECT body FROM slots WHERE lineage = ? AND slot = ?", st.lineage[:], int64(slot))
	return body, found, err
}

// write replaces one slot in a transaction, brings it from the log into the file, and reads it back.
func (s *slotStore) write(st *state, slot int, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	err := s.c.exec("INSERT OR REPLACE INTO slots (lineage, slot, body) VALUES (?, ?, ?)", st.lineage[:], int64(slot), body)
	if err != nil {
		return diskError(s.path, "writing the slot", err)
	}
	// Emptying the log each time keeps it short, and syncs the file under durability power.
	if err := s.c.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return diskError(s.path, "syncing the slot", err)
	}
	got, found, err := readSlot(s.back, st, slot)
	if err != nil {
		return diskError(s.path, "reading the slot back", err)
	}
	if !found || !bytes.Equal(got, body) {
		return &Error{Kind: ErrIO, Place: s.path, Cause: fmt.Sprintf("slot %d reads back other than it was written", slot), Remedy: remedyDisk}
	}
	return nil
}

// bodies gives both slots as they are stored, nil where there is none.
func (s *slotStore) bodies(st *state) (out [2][]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return out, err
	}
	for slot := range out {
		body, _, err := readSlot(s.back, st, slot)
		if err != nil {
			return out, diskError(s.path, "reading a slot", err)
		}
		out[slot] = body
	}
	return out, nil
}
