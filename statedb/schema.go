package statedb

import (
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schema is one database's identity and history.
type schema struct {
	file     string // in the state directory
	prefix   string // of its migrations
	appID    int64  // PRAGMA application_id: tells our files from others
	versions []string
}

var (
	ledgerSchema     = mustSchema("ledger.db", "ledger_", 0x6d73756c)           // "msul"
	checkpointSchema = mustSchema("checkpoints.db", "checkpoints_", 0x6d737563) // "msuc"
)

// mustSchema collects the embedded migrations of one database in order; the files are part of the binary.
func mustSchema(file, prefix string, appID int64) *schema {
	names, err := fs.Glob(migrationFiles, "migrations/"+prefix+"*.sql")
	if err != nil {
		panic("statedb: " + err.Error())
	}
	s := &schema{file: file, prefix: prefix, appID: appID}
	for i, n := range names {
		if want := fmt.Sprintf("migrations/%s%04d.sql", prefix, i+1); n != want {
			panic("statedb: migration " + n + " where " + want + " is due")
		}
		b, err := migrationFiles.ReadFile(n)
		if err != nil {
			panic("statedb: " + err.Error())
		}
		s.versions = append(s.versions, string(b))
	}
	return s
}

func (s *schema) current() int64 { return int64(len(s.versions)) }

// inspect says at which version a database is; 0 means that it is empty. A foreign or newer one is refused.
func (s *schema) inspect(c *conn) (version int64, err error) {
	fail := func(err error) (int64, error) { return 0, diskError(c.path, "reading the schema", err) }
	objects, _, err := c.int64Of("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return fail(err)
	}
	app, _, err := c.int64Of("PRAGMA application_id")
	if err != nil {
		return fail(err)
	}
	version, _, err = c.int64Of("PRAGMA user_version")
	if err != nil {
		return fail(err)
	}
	switch {
	case objects == 0 && app == 0 && version == 0:
		return 0, nil
	case app != s.appID:
		return 0, &Error{Kind: ErrForeign, Place: c.path, Cause: fmt.Sprintf("application id %#x, not %#x", app, s.appID),
			Remedy: "name another directory with --state, or restore this one from a backup"}
	case version > s.current():
		return 0, &Error{Kind: ErrVersion, Place: c.path,
			Cause:  fmt.Sprintf("schema version %d, this msup knows up to %d", version, s.current()),
			Remedy: "start the msup that wrote it, or a newer one; nothing was changed"}
	case version < 1:
		return 0, &Error{Kind: ErrCorrupt, Place: c.path, Cause: fmt.Sprintf("schema version %d", version), Remedy: remedyRestore}
	}
	return version, s.compare(c, version)
}

// compare checks that the stored schema is the one that the migrations make: flipped bytes in it may still be valid SQL.
func (s *schema) compare(c *conn, version int64) error {
	ref, err := s.reference(version)
	if err != nil {
		return err
	}
	got, err := dumpSchema(c)
	if err != nil {
		return diskError(c.path, "reading the schema", err)
	}
	if got != ref {
		return &Error{Kind: ErrCorrupt, Place: c.path, Cause: "its tables are not those of schema version " + fmt.Sprint(version),
			Remedy: remedyRestore}
	}
	return nil
}

// reference is the schema that a fresh database has at a version.
func (s *schema) reference(version int64) (dump string, err error) {
	mem, err := openMemory()
	if err != nil {
		return "", err
	}
	defer func() { err = both(err, mem.close()) }()
	for i := range version {
		if err := mem.script(s.versions[i]); err != nil {
			return "", fmt.Errorf("migration %d of %s: %w", i+1, s.file, err)
		}
	}
	return dumpSchema(mem)
}

func dumpSchema(c *conn) (string, error) {
	var b strings.Builder
	err := c.query(func(v []driver.Value) error {
		fmt.Fprintf(&b, "%s %s %s %v\n", v[0], v[1], v[2], v[3])
		return nil
	}, 4, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
	return b.String(), err
}

// migrate brings a database to the current version, one transaction per step.
func (s *schema) migrate(c *conn, version int64) error {
	for v := version; v < s.current(); v++ {
		step := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;\nCOMMIT;",
			s.versions[v], s.appID, v+1)
		if err := c.script(step); err != nil {
			if !c.c.AutoCommit() {
				err = both(err, c.script("ROLLBACK"))
			}
			return diskError(c.path, fmt.Sprintf("migrating to schema version %d", v+1), err)
		}
	}
	return nil
}
