package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/msup/msup/ipc"
)

// DB is one open state directory.
type DB struct {
	dir    string
	opt    Options
	log    *slog.Logger
	lock   *os.File
	mark   *mark
	writer *writer
	wal    *walKeeper
	read   *readerPool
	slots  *slotStore
	stats  *statsKeeper
	keep   keptFiles

	creating sync.Mutex // one new instance at a time
	pruning  pruneTurn

	mu     sync.Mutex
	states map[ipc.Address]*state
	lost   map[int64]error // instances that may not be opened, by number
	orphan error           // why no instance may be created: an identity may be missing
	closed bool
}

// Open takes a state directory for this process, creating it when it is absent. A second process is refused (ErrLocked). Before
// anything is written, the ledger is compared with the high-water mark; files of instances that lost rows are copied first.
func Open(dir string, opt Options) (*DB, error) {
	return openDir(dir, opt, func() error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return diskError(dir, "creating the state directory", err)
		}
		return refuseForeign(dir)
	}, false)
}

// OpenExisting is Open for those who look at an earlier run: a directory without a ledger is refused (ErrNoLedger), and neither it nor
// anything in it is created.
func OpenExisting(dir string, opt Options) (*DB, error) {
	return openDir(dir, opt, func() error { return requireLedger(dir) }, true)
}

func openDir(dir string, opt Options, prepare func() error, existing bool) (*DB, error) {
	opt = opt.withDefaults()
	if opt.Durability > None {
		return nil, fmt.Errorf("open state %s: %s: %w", dir, opt.Durability, ErrInvalid)
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	lock, err := acquireLock(dir)
	if err != nil {
		return nil, err
	}
	db := &DB{dir: dir, opt: opt, log: opt.Logger, lock: lock, states: make(map[ipc.Address]*state)}
	db.stats = newStats(opt.Observer)
	if err := db.start(existing); err != nil {
		return nil, both(err, db.shutdown())
	}
	return db, nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.CommitDelay == 0 {
		o.CommitDelay = DefaultCommitDelay
	}
	if o.WALTarget == 0 {
		o.WALTarget = DefaultWALTarget
	}
	return o
}

// ownFiles are what a run may leave in its state directory before there is a ledger, and what a file system puts into a fresh one.
var ownFiles = map[string]bool{lockFile: true, evidenceDir: true, "logs": true, "i": true, "lost+found": true}

// refuseForeign refuses to begin a ledger among files of somebody else: a mistyped --state would fill a home directory, and start every
// strategy anew.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return diskError(dir, "looking at the state directory", err)
	}
	foreign := ""
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ledgerSchema.file) || name == markFile {
			return nil // begun already: what is wrong with it is told by what looks into it
		}
		if !ownFiles[name] && !strings.HasPrefix(name, checkpointSchema.file) && foreign == "" {
			foreign = name
		}
	}
	if foreign == "" {
		return nil
	}
	return &Error{Kind: ErrForeign, Place: dir, Cause: fmt.Sprintf("it holds no ledger, but %s, which msup did not put there", foreign),
		Remedy: "name an empty directory with --state, or one that does not exist yet; nothing was changed"}
}

// Own lists what in a directory is a state directory's, and refuses a directory of somebody else's as Open does. One that does not exist is
// nobody's. Nothing is changed.
func Own(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diskError(dir, "looking at the state directory", err)
	}
	if err := refuseForeign(dir); err != nil {
		return nil, err
	}
	var own []string
	for _, e := range entries {
		name := e.Name()
		if ownFiles[name] && name != "lost+found" || strings.HasPrefix(name, ledgerSchema.file) || strings.HasPrefix(name, checkpointSchema.file) || strings.HasPrefix(name, markFile) {
			own = append(own, name)
		}
	}
	return own, nil
}

// requireLedger looks whether a directory is one that Open has filled. One with a mark alone has lost its ledger, which Open tells.
func requireLedger(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noLedger(dir, "there is no such directory", err)
	case err != nil:
		return diskError(dir, "looking at the state directory", err)
	case !info.IsDir():
		return noLedger(dir, "it is a file, not a directory", nil)
	}
	for _, name := range []string{ledgerSchema.file, markFile} {
		path := filepath.Join(dir, name)
		if _, err = os.Stat(path); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return diskError(path, "looking at the state directory", err)
		}
	}
	return noLedger(dir, "the directory holds no "+ledgerSchema.file, nil)
}

func noLedger(dir, cause string, err error) error {
	return &Error{Kind: ErrNoLedger, Place: dir, Cause: cause, Err: err, Remedy: "name the state directory of an earlier run with --state"}
}

func (db *DB) start(existing bool) error {
	pre, err := db.preflight()
	if err != nil {
		return err
	}
	if existing && pre.version == 0 {
		return noLedger(db.dir, "its "+ledgerSchema.file+" is empty: nothing was ever recorded", nil)
	}
	db.lost, db.orphan = pre.lost, pre.orphan
	for _, st := range pre.instances {
		db.states[st.addr] = st
	}
	path := db.path(ledgerSchema.file)
	c, err := openConn(path, false)
	if err != nil {
		return err
	}
	if err := tune(c, db.opt.Durability); err != nil {
		return both(err, c.close())
	}
	if err := ledgerSchema.migrate(c, pre.version); err != nil {
		return both(err, c.close())
	}
	// What survived kill -9 in the page cache alone becomes durable before anything is built on it.
	if err := c.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return both(diskError(path, "emptying the write-ahead log", err), c.close())
	}
	if err := syncDir(db.dir); err != nil {
		return both(err, c.close())
	}
	if db.mark, err = openMark(db.dir, db.opt.Durability, pre.marks); err != nil {
		return both(err, c.close())
	}
	db.read = &readerPool{path: path}
	if db.wal, err = newWALKeeper(db, path); err != nil {
		return both(err, c.close())
	}
	db.writer = newWriter(db, c, db.opt.CommitDelay)
	db.wal.start()
	db.slots, err = openSlots(db)
	return err
}

// tune sets a ledger connection up for writing.
func tune(c *conn, d Durability) error {
	sync := map[Durability]string{Power: "FULL", Process: "NORMAL", None: "OFF"}[d]
	for _, p := range []string{
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = " + sync,
		"PRAGMA wal_autocheckpoint = 0", // it put 7 ms into p99; walKeeper does it beside the writer
		"PRAGMA cache_size = -16384",
		"PRAGMA temp_store = MEMORY",
		"PRAGMA trusted_schema = OFF",
	} {
		if err := c.script(p); err != nil {
			return diskError(c.path, p, err)
		}
	}
	// SQLite keeps the old mode without an error where a file system has no shared memory.
	var mode string
	err := c.query(func(v []driver.Value) error {
		mode, _ = v[0].(string)
		return nil
	}, 1, "PRAGMA journal_mode")
	if err == nil && mode != "wal" {
		err = &Error{Kind: ErrIO, Place: c.path, Cause: fmt.Sprintf("journal mode %q instead of wal", mode),
			Remedy: "put the state directory on a local file system (ext4, xfs, btrfs, tmpfs)"}
	}
	return diskError(c.path, "reading the journal mode", err)
}

func (db *DB) path(name string) string { return filepath.Join(db.dir, name) }

// Dir is the state directory.
func (db *DB) Dir() string { return db.dir }

// Close persists what is queued, empties the write-ahead log and gives the directory free.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	return db.shutdown()
}

// shutdown closes what start has opened, in the order of dependence.
func (db *DB) shutdown() error {
	var errs []error
	if db.slots != nil {
		errs = append(errs, db.slots.close())
	}
	if db.writer != nil {
		db.writer.close()
	}
	if db.wal != nil {
		errs = append(errs, db.wal.close())
	}
	if db.read != nil {
		errs = append(errs, db.read.close())
	}
	if db.writer != nil {
		err := db.writer.c.script("PRAGMA wal_checkpoint(TRUNCATE)")
		if err != nil {
			err = diskError(db.writer.c.path, "emptying the write-ahead log", err)
		}
		if errors.Is(err, ErrDiskFull) { // nothing is lost: what was reported lies in the log
			db.log.Warn("the write-ahead log is left for the next start to empty", "err", err)
			err = nil
		}
		errs = append(errs, err, db.writer.c.close())
	}
	if db.mark != nil {
		errs = append(errs, db.mark.close())
	}
	db.keep.close()
	errs = append(errs, db.lock.Close())
	return errors.Join(errs...)
}

// Instances lists what the ledger knows, by address.
func (db *DB) Instances() ([]InstanceInfo, error) {
	db.mu.Lock()
	states := make([]*state, 0, len(db.states))
	for _, st := range db.states {
		states = append(states, st)
	}
	db.mu.Unlock()
	c, err := db.read.acquire()
	if err != nil {
		return nil, err
	}
	defer db.read.release(c)
	out := make([]InstanceInfo, 0, len(states))
	for _, st := range states {
		t, err := loadTail(c, st)
		if err != nil {
			return nil, err
		}
		out = append(out, InstanceInfo{Address: st.addr, Lineage: st.lineage, Created: st.created, Epoch: t.epoch, Head: t.head})
	}
	slices.SortFunc(out, func(a, b InstanceInfo) int {
		return compareAddress(a.Address, b.Address)
	})
	return out, nil
}

// preflight is what a look at the directory gives, before anything in it is changed.
type preflight struct {
	version   int64
	instances []*state
	marks     map[int64]markRecord
	lost      map[int64]error
	orphan    error
}

func (db *DB) preflight() (*preflight, error) {
	pre := &preflight{lost: make(map[int64]error)}
	var err error
	if pre.marks, _, err = readMarks(db.path(markFile)); err != nil {
		return nil, err
	}
	path := db.path(ledgerSchema.file)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return pre, db.requireNoMarks(pre)
	} else if err != nil {
		return nil, diskError(path, "looking at the ledger", err)
	}
	if err := db.inspectLedger(path, pre); err != nil {
		// Without a mark the directory may be somebody else's: nothing is put into it.
		if (errors.Is(err, ErrCorrupt) || errors.Is(err, ErrForeign)) && len(pre.marks) > 0 {
			err = db.withEvidence("ledger", err)
		}
		return nil, err
	}
	if pre.version == 0 {
		return pre, db.requireNoMarks(pre)
	}
	for _, st := range pre.instances {
		if err := pre.lost[st.id]; err != nil {
			if pre.lost[st.id] = db.withEvidence(string(st.addr.Instance), err); errors.Is(pre.lost[st.id], errEvidence) {
				return nil, pre.lost[st.id]
			}
		}
	}
	if pre.orphan != nil {
		if pre.orphan = db.withEvidence("identity", pre.orphan); errors.Is(pre.orphan, errEvidence) {
			return nil, pre.orphan
		}
		db.log.Error("an instance may be missing from the ledger; none will be created", "err", pre.orphan)
	}
	return pre, nil
}

// requireNoMarks refuses to make a fresh ledger beside a mark that remembers one.
func (db *DB) requireNoMarks(pre *preflight) error {
	if len(pre.marks) == 0 {
		return nil
	}
	err := error(&Error{Kind: ErrRowsLost, Place: db.path(ledgerSchema.file), Remedy: remedyRestore,
		Cause: fmt.Sprintf("the ledger is empty or missing, the high-water mark remembers %d instances", len(pre.marks))})
	return db.withEvidence("ledger", err)
}

// inspectLedger opens the ledger read-only: closing such a connection cannot rewrite the log that may be evidence.
func (db *DB) inspectLedger(path string, pre *preflight) (err error) {
	c, err := openConn(path, true)
	if err != nil {
		return err
	}
	defer func() { err = both(err, c.close()) }()
	if pre.version, err = ledgerSchema.inspect(c); err != nil || pre.version == 0 {
		return err
	}
	if err := quickCheck(c); err != nil {
		return err
	}
	var damaged error
	if pre.instances, damaged, err = loadInstances(c); err != nil {
		return err
	}
	pre.orphan = both(damaged, orphans(path, pre.instances, pre.marks))
	for _, st := range pre.instances {
		if err := compareTail(c, st, pre.marks); err != nil {
			pre.lost[st.id] = err
		}
	}
	return nil
}

// quickCheck looks at the structure of the whole file: a page that is used twice would damage rows later, when it is written.
func quickCheck(c *conn) error {
	var found string
	err := c.query(func(v []driver.Value) error {
		if s, ok := v[0].(string); !ok || s != "ok" {
			found = fmt.Sprint(v[0])
		}
		return nil
	}, 1, "PRAGMA quick_check(1)")
	if err != nil {
		return diskError(c.path, "checking the structure", err)
	}
	if found != "" {
		return &Error{Kind: ErrCorrupt, Place: c.path, Cause: found, Remedy: remedyRestore}
	}
	return nil
}

// orphans finds instances that only the mark remembers.
func orphans(path string, instances []*state, marks map[int64]markRecord) error {
	known := make(map[ipc.Lineage]bool)
	for _, st := range instances {
		known[st.lineage] = true
	}
	for id, m := range marks {
		if !known[m.lineage] {
			return &Error{Kind: ErrRowsLost, Place: path, Remedy: remedyRestore,
				Cause: fmt.Sprintf("the high-water mark remembers lineage %s (number %d, %d rows), which the ledger does not know",
					m.lineage, id, m.head.RowNo)}
		}
	}
	return nil
}
