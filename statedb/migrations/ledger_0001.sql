-- ledger.db, schema version 1. Explained in FORMAT.md. Never edit a released migration: add the next one.

-- id is chosen by statedb and doubles as the place of the instance's records in the mark file.
CREATE TABLE instances (
    id         INTEGER PRIMARY KEY,
    bot        TEXT    NOT NULL,
    strategy   TEXT    NOT NULL,
    instance   TEXT    NOT NULL,
    lineage    BLOB    NOT NULL,
    created_ns INTEGER NOT NULL,
    crc        INTEGER NOT NULL,
    UNIQUE (bot, strategy, instance)
);

-- id = instance << 40 | row_no. A table B-tree keeps rows of up to a page in place.
CREATE TABLE rows (
    id       INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    input_no INTEGER NOT NULL,
    payload  BLOB    NOT NULL,
    head     BLOB    NOT NULL,
    crc      INTEGER NOT NULL,
    ikey     BLOB
);

-- u32be instance, 16 bytes key: unique per instance.
CREATE UNIQUE INDEX intent_keys ON rows (ikey) WHERE ikey IS NOT NULL;

-- Where the chain of an instance begins after pruning, and what was kept below.
CREATE TABLE anchors (
    instance    INTEGER PRIMARY KEY,
    row_no      INTEGER NOT NULL,
    input_no    INTEGER NOT NULL,
    head        BLOB    NOT NULL,
    kept_count  INTEGER NOT NULL,
    kept_digest BLOB    NOT NULL,
    crc         INTEGER NOT NULL
);

-- id = instance << 40 | epoch.
CREATE TABLE leases (
    id         INTEGER PRIMARY KEY,
    pid        INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    boot_id    TEXT    NOT NULL,
    nonce      BLOB    NOT NULL,
    wall_ns    INTEGER NOT NULL,
    crc        INTEGER NOT NULL
);

-- Written by Reset to learn whether the disk takes writes again.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    n  INTEGER NOT NULL
);
INSERT INTO probe (id, n) VALUES (1, 0);
