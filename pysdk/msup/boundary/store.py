"""The durable memory of a neighbour, in SQLite: instances, and the events that M has not acknowledged yet.

SQLite is the only truth: nothing is cached, so a transaction that fails leaves nothing behind. ``synchronous=FULL``
over a write-ahead log: what a transaction has written survives a power cut before anything that follows is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from msgspec import Struct

from msup.boundary.message import SourceEvent, decode_from_peer, encode
from msup.error import MsupError, ProtocolError
from msup.event import Cursor
from msup.limit import INT64_MAX
from msup.message import Address

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1), role TEXT NOT NULL, source TEXT NOT NULL, source_epoch INTEGER NOT NULL);
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY, bot TEXT NOT NULL, strategy TEXT NOT NULL, instance TEXT NOT NULL, lineage BLOB NOT NULL,
    epoch INTEGER NOT NULL, owner BLOB NOT NULL, last_step INTEGER NOT NULL, oldest_open INTEGER NOT NULL,
    source_epoch INTEGER NOT NULL, seq INTEGER NOT NULL, acked INTEGER NOT NULL, UNIQUE (bot, strategy, instance));
CREATE TABLE events (
    account INTEGER NOT NULL, source_epoch INTEGER NOT NULL, seq INTEGER NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (account, source_epoch, seq)) WITHOUT ROWID;
"""

_COLUMNS: Final = "id, bot, strategy, instance, lineage, epoch, owner, last_step, oldest_open, source_epoch, seq, acked"


class StoreError(MsupError):
    """The store cannot be opened or is damaged. The text says what to do."""


class Account(Struct):
    """What is known of one instance."""

    id: int
    address: Address
    lineage: bytes
    epoch: int
    owner: bytes
    last_step: int
    oldest_open: int
    source_epoch: int
    """Rises with the lineage: events are numbered anew."""
    seq: int
    """Of the last event."""
    acked: int

    @property
    def place(self) -> tuple[str, str, str]:
        """The address as a key."""
        return place(self.address)


def place(address: Address) -> tuple[str, str, str]:
    """An address as a key of a dict."""
    return address.bot, address.strategy, address.instance


class Store:
    """One database, one process. Its methods may be called by one thread at a time."""

    def __init__(self, path: str | Path, role: str, source: str, schema: str) -> None:
        """Open or make the store of ``role``; ``schema`` are the tables that the role adds."""
        self.path: Final = Path(path)
        self._lock = -1
        self._db: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._take_lock()
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._open(role, source, schema)
        except OSError as error:
            self.close()
            raise StoreError(f"store {self.path}: {error.strerror}; name a folder that can be written") from error
        except sqlite3.Error as error:
            self.close()
            raise StoreError(
                f"store {self.path}: {error}; if the file is damaged or no store, restore its backup or name another: "
                "an empty store knows no key, so M must not offer again what the lost one held"
            ) from error
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"store {self.path} is in use by another process; stop it, or name another store"
            ) from None

    def _open(self, role: str, source: str, schema: str) -> None:
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256)
        self._db = db
        (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"store {self.path}: its file system allows no write-ahead log ({mode}); name a local one")
        db.execute("PRAGMA synchronous=FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # A store that is lost and made anew must not number its events from where M has them already.
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{schema}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"store {self.path} has schema version {version}, this msup knows {SCHEMA_VERSION}; "
                "use the msup that wrote it"
            )
        with self.transaction():
            db.execute(
                "INSERT OR IGNORE INTO store VALUES (1, ?, ?, ?)",
                (role, source.replace("*", secrets.token_hex(4)), time.time_ns() // 1000),
            )
        found, self.source, self._source_epoch = db.execute("SELECT role, source, source_epoch FROM store").fetchone()
        if found != role:
            raise StoreError(f"store {self.path} belongs to {found}, not to {role}; give each its own")
        if "*" not in source and self.source != source:
            raise StoreError(f"store {self.path} numbers the source {self.source!r}, not {source!r}; keep the name")

    @property
    def db(self) -> sqlite3.Connection:
        """The database."""
        if self._db is None:
            raise StoreError(f"store {self.path} is closed")
        return self._db

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All that is written inside is durable when it ends, or none of it when it raises."""
        db = self.db
        db.execute("BEGIN")  # nobody else has the file: what only reads needs no right to write
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends it by itself on a full disk
                db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database and give the lock back."""
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Instances.

    def account(self, address: Address) -> Account | None:
        """What is known of an instance; None = nothing."""
        row = self.db.execute(
            f"SELECT {_COLUMNS} FROM accounts WHERE bot=? AND strategy=? AND instance=?", place(address)
        ).fetchone()
        return None if row is None else _account(row)

    def account_of(self, number: int) -> Account:
        """The instance with this row number."""
        return _account(self.db.execute(f"SELECT {_COLUMNS} FROM accounts WHERE id=?", (number,)).fetchone())

    def accounts(self) -> list[Account]:
        """Every instance."""
        return [_account(row) for row in self.db.execute(f"SELECT {_COLUMNS} FROM accounts ORDER BY id")]

    def add_account(self, address: Address, lineage: bytes = bytes(16)) -> Account:
        """Note a new instance; its events are numbered from 1."""
        made = Account(0, address, lineage, 0, bytes(16), 0, 0, self._source_epoch, 0, 0)
        done = self.db.execute(
            "INSERT INTO accounts (bot, strategy, instance, lineage, epoch, owner, last_step, oldest_open,"
            " source_epoch, seq, acked) VALUES (?,?,?,?,0,?,0,0,?,0,0)",
            (*place(address), lineage, made.owner, made.source_epoch),
        )
        made.id = done.lastrowid or 0
        return made

    def put_account(self, a: Account) -> None:
        """Write an instance's row."""
        self.db.execute(
            "UPDATE accounts SET lineage=?, epoch=?, owner=?, last_step=?, oldest_open=?, source_epoch=?, seq=?,"
            " acked=? WHERE id=?",
            (a.lineage, a.epoch, a.owner, a.last_step, a.oldest_open, a.source_epoch, a.seq, a.acked, a.id),
        )

    # Events towards M.

    def add_event(self, a: Account, event: SourceEvent) -> bytes:
        """Number an event and note it; returns the message as it travels. ``a`` counts on."""
        a.seq += 1
        cursor = Cursor(self.source, a.source_epoch, a.seq)
        payload = encode(SourceEvent(0, a.address, cursor, event.recv_ts, event.trace_id, event.event))
        self.db.execute("INSERT INTO events VALUES (?,?,?,?)", (a.id, a.source_epoch, a.seq, payload))
        self.db.execute("UPDATE accounts SET seq=? WHERE id=?", (a.seq, a.id))
        return payload

    def events(self, a: Account, after: int) -> list[bytes]:
        """The messages after number ``after`` that are still kept."""
        rows = self.db.execute(
            "SELECT message FROM events WHERE account=? AND source_epoch=? AND seq>? ORDER BY seq",
            (a.id, a.source_epoch, after),
        )
        return [row[0] for row in rows]

    def trim(self, number: int, source_epoch: int, acked: int, *, forget: bool) -> None:
        """M has everything up to ``acked``: with ``forget`` those events go, and those of earlier lives."""
        self.db.execute(
            "UPDATE accounts SET acked=? WHERE id=? AND source_epoch=? AND acked<?",
            (acked, number, source_epoch, acked),
        )
        if not forget:
            return
        self.db.execute(
            "DELETE FROM events WHERE account=? AND source_epoch=? AND seq<=?", (number, source_epoch, acked)
        )
        self.db.execute("DELETE FROM events WHERE account=? AND source_epoch<?", (number, source_epoch))

    def cursor(self, a: Account) -> Cursor:
        """Of the last event."""
        return Cursor(self.source, a.source_epoch, a.seq)


def _account(row: tuple[int, str, str, str, bytes, int, bytes, int, int, int, int, int]) -> Account:
    number, bot, strategy, instance, lineage, epoch, owner, last_step, oldest_open, source_epoch, seq, acked = row
    address = Address(bot, strategy, instance)
    return Account(number, address, lineage, epoch, owner, last_step, oldest_open, source_epoch, seq, acked)


def check_count(value: int, what: str) -> int:
    """Refuse what SQLite's integers do not hold: counts start at 1, a larger one is none."""
    if value > INT64_MAX:
        raise ProtocolError(f"{what} {value}")
    return value


def check_event(event: SourceEvent) -> SourceEvent:
    """The event as M will read it, or a refusal where M would refuse: too long a reason, a wrong number."""
    read = decode_from_peer(encode(event))
    if not isinstance(read, SourceEvent):
        raise ProtocolError(f"an event reads as a {type(read).__name__}")
    return read
