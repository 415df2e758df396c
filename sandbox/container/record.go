package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/owned"
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
	body, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	rec.file, err = owned.Create(rec.path, func(f *os.File) error {
		_, err := f.Write(append(body, '\n'))
		return err
	})
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "record a runner", Err: err, Remedy: "make the runtime directory writable"}
	}
	return rec, nil
}

// remove deletes the record and then lets go of it.
func (rec *record) remove() error { return owned.Remove(rec.path, rec.file) }

// lockRecord opens a record that nobody holds; nil when somebody does or it is gone.
func lockRecord(path string) (*record, error) {
	f, err := owned.Take(path)
	if f == nil || err != nil {
		return nil, err
	}
	return &record{path: path, file: f}, nil
}
