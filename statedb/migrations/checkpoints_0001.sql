-- checkpoints.db, schema version 1. Explained in FORMAT.md. Never edit a released migration: add the next one.

-- Two slots per instance, written alternately. body ends with its own checksum.
CREATE TABLE slots (
    lineage BLOB    NOT NULL,
    slot    INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    PRIMARY KEY (lineage, slot)
);
