package lease

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// held are the leases of this process, by file. A classic record lock is gone when the process closes any descriptor of the file, so no
// file in this table is ever opened a second time: its mutex is held over every opening and closing of a lock file.
var held = table{leases: map[fileID]*Lease{}}

type fileID struct{ dev, ino uint64 }

type table struct {
	sync.Mutex
	leases map[fileID]*Lease
}

// at finds the lease of this process whose file lies at a path.
func (t *table) at(path string) (*Lease, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError(path, "looking for the lease", err)
	}
	return t.leases[fileID{st.Dev, st.Ino}], nil
}

func (t *table) put(l *Lease)   { t.leases[l.file.id()] = l }
func (t *table) drop(l *Lease)  { delete(t.leases, l.file.id()) }
func (f lockFile) id() fileID   { return fileID{f.dev, f.ino} }
func (f lockFile) close() error { return fileError(f.path, "closing the lease", unix.Close(f.fd)) }
