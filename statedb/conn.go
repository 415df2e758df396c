package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// blobLimit bounds what SQLite may hand over as one value, whatever a damaged length field says.
const blobLimit = 64 << 20

const sqliteLimitLength = 0 // SQLITE_LIMIT_LENGTH

// conn is one direct driver connection; database/sql costs 1.3x to 2.4x per commit. Not safe for concurrent use.
type conn struct {
	c     *sqlite3.SQLiteConn
	path  string
	stmts map[string]*sqlite3.SQLiteStmt
}

func openConn(path string, readOnly bool) (*conn, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	mode := "rwc"
	if readOnly {
		mode = "ro"
		if frozen(abs) {
			mode += "&immutable=1"
		}
	}
	// A URI, escaped: a path may hold ? and %. NOMUTEX: one goroutine at a time uses a connection.
	return dial(path, (&url.URL{Scheme: "file", Path: abs}).String()+"?mode="+mode+"&_mutex=no&_busy_timeout=2000")
}

// frozen reports whether a database lies, complete in itself, where this process cannot write: a backup on a read-only mount. SQLite would
// want to make the shared memory of its write-ahead log there, and refuse.
func frozen(path string) bool {
	if unix.Access(filepath.Dir(path), unix.W_OK) == nil {
		return false
	}
	// While somebody writes, there is a log, if an empty one.
	_, err := os.Stat(path + "-wal")
	return errors.Is(err, fs.ErrNotExist)
}

// openMemory gives an empty database that lives in memory.
func openMemory() (*conn, error) { return dial("memory", ":memory:") }

func dial(path, dsn string) (*conn, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		return nil, diskError(path, "opening", err)
	}
	sc, ok := c.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, fmt.Errorf("open %s: driver gave a %T", path, c)
	}
	sc.SetLimit(sqliteLimitLength, blobLimit)
	cn := &conn{c: sc, path: path, stmts: make(map[string]*sqlite3.SQLiteStmt)}
	// A damaged page is refused when it is loaded, not when its cells happen to be used.
	if err := cn.exec("PRAGMA cell_size_check = ON"); err != nil {
		return nil, both(diskError(path, "opening", err), cn.close())
	}
	return cn, nil
}

func (c *conn) close() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, s := range c.stmts {
		// Close repeats the error of the statement's last run, which was already reported.
		var se sqlite3.Error
		if err := s.Close(); err != nil && !errors.As(err, &se) {
			errs = append(errs, err)
		}
	}
	c.stmts = nil
	return errors.Join(append(errs, c.c.Close())...)
}

// stmt gives the prepared statement of a query, preparing it at its first use.
func (c *conn) stmt(query string) (*sqlite3.SQLiteStmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	ds, err := c.c.Prepare(query)
	if err != nil {
		return nil, err
	}
	s, ok := ds.(*sqlite3.SQLiteStmt)
	if !ok {
		return nil, fmt.Errorf("driver gave a %T", ds)
	}
	c.stmts[query] = s
	return s, nil
}

// exec runs a prepared statement that gives no rows.
func (c *conn) exec(query string, args ...driver.Value) error {
	_, err := c.execCount(query, args...)
	return err
}

func (c *conn) execCount(query string, args ...driver.Value) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := s.Exec(args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// script runs several statements that are not kept.
func (c *conn) script(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return err
}

// query calls fn for every row; n is the number of columns. The values are copies.
func (c *conn) query(fn func(v []driver.Value) error, n int, query string, args ...driver.Value) (err error) {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(args)
	if err != nil {
		return err
	}
	defer func() { err = both(err, rows.Close()) }()
	vals := make([]driver.Value, n)
	for {
		if err := rows.Next(vals); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := fn(vals); err != nil {
			return err
		}
	}
}

// int64Of runs a query that gives one integer; found is false when there is no row or the value is NULL.
func (c *conn) int64Of(query string, args ...driver.Value) (v int64, found bool, err error) {
	err = c.query(func(vals []driver.Value) error {
		if vals[0] == nil {
			return nil
		}
		var ok bool
		if v, ok = vals[0].(int64); !ok {
			return typeError(vals[0], "integer")
		}
		found = true
		return nil
	}, 1, query, args...)
	return v, found, err
}

// typeError reports a column whose type is not the schema's: SQLite's types are per value, so damage can change them.
func typeError(got driver.Value, want string) error {
	return &Error{Kind: ErrCorrupt, Place: "column", Cause: fmt.Sprintf("a %T where %s is stored", got, want), Remedy: remedyRestore}
}

// columns takes typed values out of a row, remembering the first mismatch.
type columns struct {
	v   []driver.Value
	err error
}

func (c *columns) int(i int) int64 {
	v, ok := c.v[i].(int64)
	if !ok && c.err == nil {
		c.err = typeError(c.v[i], "integer")
	}
	return v
}

func (c *columns) blob(i int) []byte {
	v, ok := c.v[i].([]byte)
	if !ok && c.err == nil {
		c.err = typeError(c.v[i], "blob")
	}
	return v
}

func (c *columns) text(i int) string {
	v, ok := c.v[i].(string)
	if !ok && c.err == nil {
		c.err = typeError(c.v[i], "text")
	}
	return v
}

func (c *columns) digest(i int) (d [32]byte) {
	b := c.blob(i)
	if len(b) != len(d) && c.err == nil {
		c.err = typeError(c.v[i], "blob of 32 bytes")
	}
	copy(d[:], b)
	return d
}

// snapshot runs fn on one state of the database; a reader elsewise sees a newer one with every query. A snapshot holds the
// write-ahead log back: it has to be short.
func (c *conn) snapshot(fn func() error) (err error) {
	if err := c.exec("BEGIN"); err != nil {
		return diskError(c.path, "beginning to read", err)
	}
	defer func() {
		if end := c.exec("COMMIT"); end != nil {
			err = both(err, diskError(c.path, "ending to read", end))
		}
	}()
	return fn()
}
