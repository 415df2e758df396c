package statedb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

const (
	markFile      = "mark"
	markRecordLen = 512 // one sector: a torn write damages one record, and the other of the pair stands
	markBodyLen   = 77
	maxMarkBytes  = 1 << 30
)

var markMagic = [4]byte{'m', 's', 'm', '1'}

// markRecord says how far an instance had come when it was last reported, outside of SQLite's reach.
type markRecord struct {
	lineage    ipc.Lineage
	generation uint64
	head       Head
	epoch      ipc.Epoch
	durability Durability
}

func (r *markRecord) encode() []byte {
	b := make([]byte, 0, markRecordLen)
	b = append(b, markMagic[:]...)
	b = append(b, r.lineage[:]...)
	b = binary.BigEndian.AppendUint64(b, r.generation)
	b = binary.BigEndian.AppendUint64(b, r.head.RowNo)
	b = append(b, r.head.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.epoch))
	b = append(b, byte(r.durability))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:markRecordLen]
}

func decodeMark(b []byte) (r markRecord, ok bool) {
	if len(b) < markBodyLen+4 || !bytes.Equal(b[:4], markMagic[:]) ||
		binary.BigEndian.Uint32(b[markBodyLen:]) != crc32.Checksum(b[:markBodyLen], castagnoli) {
		return markRecord{}, false
	}
	copy(r.lineage[:], b[4:])
	r.generation = binary.BigEndian.Uint64(b[20:])
	r.head.RowNo = binary.BigEndian.Uint64(b[28:])
	copy(r.head.Hash[:], b[36:])
	r.epoch = ipc.Epoch(binary.BigEndian.Uint64(b[68:]))
	r.durability = Durability(b[76])
	return r, true
}

// readMarks gives the newest valid record of every instance number. damaged holds the numbers whose records were written
// once and are all unreadable. A missing file gives no records.
func readMarks(path string) (marks map[int64]markRecord, damaged []int64, err error) {
	marks = make(map[int64]markRecord)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marks, nil, nil
	}
	if err != nil {
		return nil, nil, diskError(path, "reading the mark", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMarkBytes))
	if err != nil {
		return nil, nil, diskError(path, "reading the mark", err)
	}
	for id := int64(1); len(b) > 0; id++ {
		pair := b[:min(len(b), 2*markRecordLen)]
		b = b[len(pair):]
		var best markRecord
		found := false
		for i := 0; i < len(pair); i += markRecordLen {
			if r, ok := decodeMark(pair[i:min(len(pair), i+markRecordLen)]); ok && (!found || r.generation > best.generation) {
				best, found = r, true
			}
		}
		if found {
			marks[id] = best
		} else if len(bytes.Trim(pair, "\x00")) > 0 {
			damaged = append(damaged, id)
		}
	}
	return marks, damaged, nil
}

// mark is the open high-water mark. Records are written without waiting; one goroutine syncs them.
type mark struct {
	path string
	sync bool // durability power

	mu       sync.Mutex
	f        *os.File
	capacity int64
	records  map[int64]markRecord // what was last written
	dirty    bool
	failed   error // of the last background sync; cleared when a later one succeeds
	wake     chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
}

func openMark(dir string, durability Durability, known map[int64]markRecord) (*mark, error) {
	path := filepath.Join(dir, markFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(path, "opening the mark", err)
	}
	m := &mark{path: path, sync: durability == Power, f: f, records: make(map[int64]markRecord),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	var top int64 = defaultMarkCapacity
	for id, r := range known {
		m.records[id] = r
		top = max(top, id)
	}
	if err := m.reserve(top); err != nil {
		return nil, both(err, f.Close())
	}
	go m.syncLoop()
	return m, nil
}

// reserve allocates the records of instance numbers up to id, so that no later write has to grow the file.
func (m *mark) reserve(id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id <= m.capacity {
		return nil
	}
	want := max(int64(defaultMarkCapacity), m.capacity)
	for want < id {
		want *= 2
	}
	size := want * 2 * markRecordLen
	err := unix.Fallocate(int(m.f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A file system without fallocate: the length alone, space is taken at the first write.
		err = nil
		if st, serr := m.f.Stat(); serr != nil {
			err = serr
		} else if st.Size() < size {
			err = m.f.Truncate(size)
		}
	}
	if err != nil {
		return diskError(m.path, "allocating the mark", err)
	}
	if err := m.f.Sync(); err != nil {
		return diskError(m.path, "allocating the mark", err)
	}
	if err := syncDir(filepath.Dir(m.path)); err != nil {
		return err
	}
	m.capacity = want
	return nil
}

// write replaces the older record of an instance. It returns before the disk has it; it fails when an earlier sync failed.
func (m *mark) write(id int64, r markRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		if err := m.rewriteLocked(); err != nil {
			return err
		}
	}
	r.generation = m.records[id].generation + 1
	if err := m.putLocked(id, r); err != nil {
		return err
	}
	m.records[id] = r
	if m.sync && !m.dirty {
		m.dirty = true
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (m *mark) putLocked(id int64, r markRecord) error {
	off := (id-1)*2*markRecordLen + int64(r.generation&1)*markRecordLen
	if _, err := m.f.WriteAt(r.encode(), off); err != nil {
		return diskError(m.path, "writing the mark", err)
	}
	return nil
}

// rewriteLocked writes everything again after a failed sync: the kernel may have dropped the pages and called them clean.
func (m *mark) rewriteLocked() error {
	for id, r := range m.records {
		if err := m.putLocked(id, r); err != nil {
			return err
		}
	}
	if err := unix.Fdatasync(int(m.f.Fd())); err != nil {
		return diskError(m.path, "syncing the mark", err)
	}
	m.failed, m.dirty = nil, false
	return nil
}

// flush waits until everything written is on disk (durability power; else there is nothing to wait for).
func (m *mark) flush() error {
	if !m.sync {
		return nil
	}
	m.mu.Lock()
	m.dirty = false
	f := m.f
	m.mu.Unlock()
	err := unix.Fdatasync(int(f.Fd()))
	if err == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = diskError(m.path, "syncing the mark", err)
	return m.failed
}

func (m *mark) get(id int64) (markRecord, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	return r, ok
}

// syncLoop syncs within markSyncInterval of the first unsynced write; the pause lets one sync serve many commits.
func (m *mark) syncLoop() {
	defer close(m.stopped)
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
		}
		select {
		case <-m.stop:
			return
		case <-time.After(markSyncInterval / 2):
		}
		// The error stays in m.failed and is given to the next write.
		_ = m.flush()
	}
}

func (m *mark) close() error {
	close(m.stop)
	<-m.stopped
	return errors.Join(m.flush(), m.f.Close())
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return diskError(dir, "syncing the directory", err)
	}
	if err := d.Sync(); err != nil {
		return both(diskError(dir, "syncing the directory", err), d.Close())
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("close %s: %w", dir, err)
	}
	return nil
}
