package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// record is what Reap needs to know about a runner whose supervisor died. The supervisor holds an flock on it for the
// runner's life, so a record that can be locked belongs to nobody alive.
type record struct {
	path string
	file *os.File
	recordData
}

type recordData struct {
	ID           string
	Address      string
	CgroupParent string
	Supervisor   int
}

var recordName = regexp.MustCompile(`^(c[0-9a-f]{12})\.json$`)

func newRecord(dir string, data recordData) (*record, error) {
	rec := &record{path: filepath.Join(dir, data.ID+".json"), recordData: data}
	// Locked before it has its name: no other supervisor can take it for a dead one's.
	temp := rec.path + ".new"
	body, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	if rec.file, err = os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "record a runner", Err: err, Remedy: "make the runtime directory writable"}
	}
	if err = unix.Flock(int(rec.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if _, err = rec.file.Write(append(body, '\n')); err == nil {
			err = os.Rename(temp, rec.path)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record a runner: %w", err), rec.file.Close(), os.Remove(temp))
	}
	return rec, nil
}

// remove deletes the record and then lets go of it.
func (rec *record) remove() error {
	err := os.Remove(rec.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, rec.file.Close())
}

// lockRecord opens a record that nobody holds; nil when somebody does or it is gone.
func lockRecord(path string) (*record, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reap %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // its owner removed it between open and lock
		return nil, f.Close()
	}
	return &record{path: path, file: f}, nil
}
