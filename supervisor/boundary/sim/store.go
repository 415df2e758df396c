package sim

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

const (
	databaseName  = "sim.db"
	schemaVersion = 1
)

// Decimals are text: SQLite's numbers are floats. Keys and reports are never deleted.
const schema = `
CREATE TABLE IF NOT EXISTS accounts (
	id INTEGER PRIMARY KEY, bot TEXT NOT NULL, strategy TEXT NOT NULL, instance TEXT NOT NULL, lineage BLOB NOT NULL,
	epoch INTEGER NOT NULL, owner BLOB NOT NULL, last_step INTEGER NOT NULL, oldest_open INTEGER NOT NULL,
	source_epoch INTEGER NOT NULL, seq INTEGER NOT NULL, acked INTEGER NOT NULL, UNIQUE (bot, strategy, instance));
CREATE TABLE IF NOT EXISTS keys (
	key TEXT PRIMARY KEY, account INTEGER NOT NULL, status INTEGER NOT NULL, digest BLOB, reason TEXT NOT NULL,
	step INTEGER NOT NULL, ordinal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
	key TEXT PRIMARY KEY, no INTEGER NOT NULL, account INTEGER NOT NULL, instrument TEXT NOT NULL, side INTEGER NOT NULL,
	kind INTEGER NOT NULL, quantity TEXT NOT NULL, remaining TEXT NOT NULL, limit_price TEXT, stop_price TEXT, tif INTEGER NOT NULL,
	reduce_only INTEGER NOT NULL, post_only INTEGER NOT NULL, target INTEGER NOT NULL, day INTEGER NOT NULL, trace TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
	account INTEGER NOT NULL, instrument TEXT NOT NULL, quantity TEXT NOT NULL, PRIMARY KEY (account, instrument)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (
	account INTEGER NOT NULL, source_epoch INTEGER NOT NULL, seq INTEGER NOT NULL, trace TEXT NOT NULL, event BLOB NOT NULL,
	PRIMARY KEY (account, source_epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), now_ts INTEGER NOT NULL, order_no INTEGER NOT NULL);
`

// store keeps the engine's state in SQLite. One process at a time: a lock beside the database sees to it.
type store struct {
	db   *sql.DB
	lock *os.File
	path string
	// committed is called after every transaction and before its answers are sent; tests kill the process there.
	committed func()
}

func openStore(dir string, noSync bool) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory of the simulated I: %w; name one that can be written", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "sim.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory of the simulated I: %w; name one that can be written", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state directory %s of the simulated I is in use by another process (%w); stop it or name another directory", dir, err), lock.Close())
	}
	s := &store{lock: lock, path: filepath.Join(dir, databaseName)}
	sync := "FULL"
	if noSync {
		sync = "OFF"
	}
	s.db, err = sql.Open("sqlite3", "file:"+s.path+"?_journal_mode=WAL&_synchronous="+sync+"&_txlock=immediate&_busy_timeout=0")
	if err == nil {
		s.db.SetMaxOpenConns(1)
		err = s.migrate()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the simulated I's state %s: %w; if the file is damaged, move the directory away and start with an empty one", s.path, err), s.close())
	}
	return s, nil
}

func (s *store) migrate() error {
	var version int
	if err := s.db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	switch version {
	case schemaVersion:
		return nil
	case 0:
		if _, err := s.db.Exec(schema + fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion)); err != nil {
			return fmt.Errorf("making the schema: %w", err)
		}
		return nil
	}
	return fmt.Errorf("schema version %d, this msup knows %d; use the msup that wrote it", version, schemaVersion)
}

func (s *store) close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the simulated I's state: %w", err)
	}
	return nil
}

// positionKey names one position.
type positionKey struct {
	account    *account
	instrument ipc.InstrumentID
}

type reportRow struct {
	account          int64
	sourceEpoch, seq uint64
	trace            ipc.TraceID
	event            *ipc.Execution
}

type keyRow struct {
	key   ipc.Key
	entry *keyEntry
}

// changes collects what a batch has changed; the values are read at the commit.
type changes struct {
	accounts  map[*account]bool
	keys      []keyRow
	orders    map[ipc.Key]*order // nil = no longer open
	positions map[positionKey]bool
	reports   []reportRow
	dirty     bool // something that must be durable before it is told; acks alone are not
}

func (c *changes) account(a *account) {
	c.ack(a)
	c.dirty = true
}

// ack notes an account whose acknowledged cursor moved. Losing that costs a repetition, so it waits for the next commit.
func (c *changes) ack(a *account) {
	if c.accounts == nil {
		c.accounts = make(map[*account]bool)
	}
	c.accounts[a] = true
}

func (c *changes) key(k ipc.Key, entry *keyEntry) {
	c.keys = append(c.keys, keyRow{k, entry})
	c.dirty = true
}

func (c *changes) order(o *order) { c.setOrder(o.key, o) }

func (c *changes) dropOrder(o *order) { c.setOrder(o.key, nil) }

func (c *changes) setOrder(k ipc.Key, o *order) {
	if c.orders == nil {
		c.orders = make(map[ipc.Key]*order)
	}
	c.orders[k] = o
	c.dirty = true
}

func (c *changes) position(a *account, id ipc.InstrumentID) {
	if c.positions == nil {
		c.positions = make(map[positionKey]bool)
	}
	c.positions[positionKey{a, id}] = true
	c.dirty = true
}

func (c *changes) report(a *account, trace ipc.TraceID, ex *ipc.Execution) {
	c.reports = append(c.reports, reportRow{a.id, a.sourceEpoch, a.seq, trace, ex})
	c.dirty = true
}

// commit writes the changes in one synced transaction.
func (s *store) commit(c *changes, now ipc.Nanos, orderNo uint64) error {
	if !c.dirty {
		return nil
	}
	if err := s.write(c, now, orderNo); err != nil {
		return fmt.Errorf("persisting the simulated I's state in %s: %w; look at the disk's space and health, then start it again: it goes on where it was", s.path, err)
	}
	*c = changes{}
	if s.committed != nil {
		s.committed()
	}
	return nil
}

// flush writes what may wait, at the end.
func (s *store) flush(c *changes, now ipc.Nanos, orderNo uint64) error {
	c.dirty = c.dirty || len(c.accounts) > 0
	return s.commit(c, now, orderNo)
}

func (s *store) write(c *changes, now ipc.Nanos, orderNo uint64) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	if err := c.write(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if _, err := tx.Exec("INSERT INTO clock VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET now_ts = excluded.now_ts, order_no = excluded.order_no", int64(now), int64(orderNo)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (c *changes) write(tx *sql.Tx) error {
	for a := range c.accounts {
		_, err := tx.Exec(`INSERT INTO accounts VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET lineage = excluded.lineage,
			epoch = excluded.epoch, owner = excluded.owner, last_step = excluded.last_step, oldest_open = excluded.oldest_open,
			source_epoch = excluded.source_epoch, seq = excluded.seq, acked = excluded.acked`,
			a.id, string(a.address.Bot), string(a.address.Strategy), string(a.address.Instance), a.lineage[:], int64(a.epoch), a.owner[:],
			int64(a.lastStep), int64(a.oldestOpen), int64(a.sourceEpoch), int64(a.seq), int64(a.acked))
		if err != nil {
			return fmt.Errorf("account %s: %w", a.address, err)
		}
	}
	for _, k := range c.keys {
		var digest []byte
		if k.entry.digest != nil {
			digest = k.entry.digest[:]
		}
		if _, err := tx.Exec("INSERT INTO keys VALUES (?,?,?,?,?,?,?)", string(k.key), k.entry.account.id, int(k.entry.status), digest,
			string(k.entry.reason), int64(k.entry.step), int64(k.entry.ordinal)); err != nil {
			return fmt.Errorf("key %s: %w", k.key, err)
		}
	}
	for k, o := range c.orders {
		var err error
		if o == nil {
			_, err = tx.Exec("DELETE FROM orders WHERE key = ?", string(k))
		} else {
			_, err = tx.Exec("INSERT OR REPLACE INTO orders VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", string(k), int64(o.no), o.account.id,
				string(o.instrument), int(o.side), int(o.kind), o.quantity.String(), o.remaining.String(), optional(o.limit), optional(o.stop),
				int(o.tif), o.reduceOnly, o.postOnly, o.target, o.day, string(o.trace))
		}
		if err != nil {
			return fmt.Errorf("order %s: %w", k, err)
		}
	}
	for p := range c.positions {
		if _, err := tx.Exec("INSERT OR REPLACE INTO positions VALUES (?,?,?)", p.account.id, string(p.instrument), p.account.positions[p.instrument].String()); err != nil {
			return fmt.Errorf("position of %s in %s: %w", p.account.address, p.instrument, err)
		}
	}
	for _, r := range c.reports {
		b, err := ipc.AppendEvent(nil, r.event)
		if err == nil {
			_, err = tx.Exec("INSERT INTO reports VALUES (?,?,?,?,?)", r.account, int64(r.sourceEpoch), int64(r.seq), string(r.trace), b)
		}
		if err != nil {
			return fmt.Errorf("report %d: %w", r.seq, err)
		}
	}
	return nil
}

func optional(d *ipc.Decimal) any {
	if d == nil {
		return nil
	}
	return d.String()
}

// reports reads the reports of an account after a number.
func (s *store) reports(a *account, after uint64, fn func(seq uint64, trace ipc.TraceID, ex *ipc.Execution)) (err error) {
	rows, err := s.db.Query("SELECT seq, trace, event FROM reports WHERE account = ? AND source_epoch = ? AND seq > ? ORDER BY seq", a.id, int64(a.sourceEpoch), int64(after))
	if err != nil {
		return fmt.Errorf("reading reports of %s: %w", a.address, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var seq int64
		var trace string
		var b []byte
		if err := rows.Scan(&seq, &trace, &b); err != nil {
			return fmt.Errorf("reading reports of %s: %w", a.address, err)
		}
		ev, err := ipc.DecodeEvent(b)
		ex, ok := ev.(*ipc.Execution)
		if err != nil || !ok {
			return fmt.Errorf("report %d of %s in %s is damaged (%v); move the state directory away and start with an empty one", seq, a.address, s.path, err)
		}
		fn(uint64(seq), ipc.TraceID(trace), ex)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading reports of %s: %w", a.address, err)
	}
	return nil
}
