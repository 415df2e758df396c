"""The keys that I has seen, and what follows from its reports: open orders and positions."""

from __future__ import annotations

import decimal
import enum
import hashlib
from collections.abc import Collection
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from msup.boundary.message import Offer
from msup.boundary.store import Account, Store
from msup.codec import Decoder, encode
from msup.dec import to_dec
from msup.event import Execution, ExecutionReport, OpenOrder, Position, TradeSide
from msup.intent import Intent, Status
from msup.limit import MAX_ROWS
from msup.message import Address

SCHEMA: Final = """
CREATE TABLE keys (
    no INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, account INTEGER NOT NULL, phase INTEGER NOT NULL,
    status INTEGER NOT NULL, digest BLOB, reason TEXT NOT NULL, step INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    valid_until INTEGER NOT NULL, trace TEXT NOT NULL, intent BLOB);
CREATE INDEX open_keys ON keys (account, no) WHERE phase < 3;
CREATE TABLE orders (key TEXT PRIMARY KEY, account INTEGER NOT NULL, remaining TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX orders_of ON orders (account);
CREATE TABLE positions (
    account INTEGER NOT NULL, instrument TEXT NOT NULL, quantity TEXT NOT NULL,
    PRIMARY KEY (account, instrument)) WITHOUT ROWID;
"""

_EXACT: Final = decimal.Context(prec=400, traps=[decimal.InvalidOperation, decimal.Inexact])
_COLUMNS: Final = "no, key, account, phase, status, digest, reason, step, ordinal, valid_until, trace, intent"
_intents: Decoder[Intent] = Decoder(Intent)


class Phase(enum.IntEnum):
    """How far I is with a key."""

    RECEIVED = 0
    """Durable; the handler has not been called."""
    BEGUN = 1
    """The handler has been called, or may have been."""
    UNKNOWN = 2
    """It was, and what came of it was not recorded."""
    DONE = 3
    """The status is final."""


class Entry(Struct):
    """One key."""

    no: int
    key: str
    account: int
    phase: Phase
    status: Status
    digest: bytes | None
    """None = tombstoned before it was seen."""
    reason: str
    step: int
    ordinal: int
    valid_until: int
    trace: str
    intent: bytes | None
    """The encoded intent; None when the handler never saw it."""


class KeyBook:
    """Keys, open orders and positions in a store."""

    def __init__(self, store: Store) -> None:
        self._db = store.db

    def find(self, key: str) -> Entry | None:
        """What is known of a key."""
        return self._one("key=?", key)

    def add(self, account: Account, offer: Offer, phase: Phase, status: Status, reason: str = "") -> None:
        """Note a key with what was offered under it."""
        kept = encode(offer.intent) if phase < Phase.DONE else None
        self._db.execute(
            "INSERT INTO keys (key, account, phase, status, digest, reason, step, ordinal, valid_until, trace, intent)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                offer.intent.meta.key,
                account.id,
                int(phase),
                int(status),
                offer.digest,
                reason,
                offer.step,
                offer.ordinal,
                offer.valid_until,
                offer.intent.meta.trace_id,
                kept,
            ),
        )

    def bar(self, account: Account, key: str, reason: str) -> None:
        """Note a key that was never seen as expired."""
        self._db.execute(
            "INSERT INTO keys (key, account, phase, status, digest, reason, step, ordinal, valid_until, trace, intent)"
            " VALUES (?,?,?,?,NULL,?,0,0,0,'',NULL)",
            (key, account.id, int(Phase.DONE), int(Status.EXPIRED), reason),
        )

    def move(self, entry: Entry, phase: Phase, status: Status, reason: str = "") -> None:
        """Change how far a key is."""
        self._db.execute(
            "UPDATE keys SET phase=?, status=?, reason=? WHERE no=?", (int(phase), int(status), reason, entry.no)
        )

    def next_open(self, account: int, after: int, below: Phase) -> Entry | None:
        """The oldest key after row ``after`` whose phase is lower than ``below``."""
        return self._one("account=? AND no>? AND phase<? AND phase<3 ORDER BY no LIMIT 1", account, after, int(below))

    def unknown(self, account: int) -> list[Entry]:
        """Keys of which nobody knows what became of them."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM keys WHERE account=? AND phase<3 AND phase=2 ORDER BY no", (account,)
        )
        return [_entry(row) for row in rows]

    def waiting(self, account: int) -> tuple[int, int]:
        """How many keys wait for the handler, and the row of the newest."""
        count, newest = self._db.execute(
            "SELECT COUNT(*), COALESCE(MAX(no), 0) FROM keys WHERE account=? AND phase<3 AND phase<2", (account,)
        ).fetchone()
        return count, newest

    def lose_track(self) -> int:
        """After a crash: what was begun is unknown. Returns how many keys that are."""
        return self._db.execute("UPDATE keys SET phase=2 WHERE phase<3 AND phase=1").rowcount

    def not_called(self, called: Collection[int]) -> None:
        """At an orderly end: what was next in line, and not called, goes back into the line."""
        for (no,) in self._db.execute("SELECT no FROM keys WHERE phase<3 AND phase=1").fetchall():
            if no not in called:
                self._db.execute("UPDATE keys SET phase=0 WHERE no=?", (no,))

    def entries(self, account: int) -> list[Entry]:
        """Every key of an instance, oldest first."""
        return [
            _entry(row)
            for row in self._db.execute(f"SELECT {_COLUMNS} FROM keys WHERE account=? ORDER BY no", (account,))
        ]

    def _one(self, where: str, *values: object) -> Entry | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM keys WHERE {where}", values).fetchone()
        return None if row is None else _entry(row)

    # What follows from reports.

    def apply(self, account: Account, report: Execution) -> None:
        """Count a report into positions and open orders."""
        if report.report is ExecutionReport.FILLED and report.quantity is not None:
            if report.side is TradeSide.UNKNOWN:
                raise ValueError(f"a fill of {report.key} without a side")
            signed = report.quantity if report.side is TradeSide.BUY else -report.quantity
            held = self.position(account, report.instrument)
            quantity = to_dec(_EXACT.add(held, Decimal(signed)), f"position in {report.instrument}")
            self._db.execute(
                "INSERT OR REPLACE INTO positions VALUES (?,?,?)", (account.id, report.instrument, str(quantity))
            )
        if report.final or (report.remaining is not None and report.remaining == 0):
            self._db.execute("DELETE FROM orders WHERE key=?", (report.key,))
        elif report.remaining is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO orders VALUES (?,?,?)", (report.key, account.id, str(report.remaining))
            )

    def position(self, account: Account, instrument: str) -> Decimal:
        """The signed position that the reports add up to."""
        row = self._db.execute(
            "SELECT quantity FROM positions WHERE account=? AND instrument=?", (account.id, instrument)
        ).fetchone()
        return Decimal(0 if row is None else row[0])

    def positions(self, account: Account) -> list[Position]:
        """Every position that is not flat."""
        rows = self._db.execute(
            "SELECT instrument, quantity FROM positions WHERE account=? ORDER BY instrument", (account.id,)
        )
        return [Position(instrument, to_dec(quantity)) for instrument, quantity in rows if Decimal(quantity)]

    def open_orders(self, account: Account) -> list[OpenOrder]:
        """Every order that can still be filled, as many as a snapshot holds."""
        rows = self._db.execute(
            "SELECT key, remaining FROM orders WHERE account=? ORDER BY key LIMIT ?", (account.id, MAX_ROWS)
        )
        return [OpenOrder(key, to_dec(remaining)) for key, remaining in rows]

    def open_count(self, account: Account) -> int:
        """How many orders can still be filled."""
        return self._db.execute("SELECT COUNT(*) FROM orders WHERE account=?", (account.id,)).fetchone()[0]


def _entry(
    row: tuple[int, str, int, int, int, bytes | None, str, int, int, int, str, bytes | None],
) -> Entry:
    no, key, account, phase, status, digest, reason, step, ordinal, valid_until, trace, intent = row
    return Entry(
        no, key, account, Phase(phase), Status(status), digest, reason, step, ordinal, valid_until, trace, intent
    )


def decode_intent(kept: bytes) -> Intent:
    """An intent that was kept."""
    return _intents.decode(kept)


def intent_digest(intent: Intent) -> bytes:
    """What I checks an offer by (PROTOCOL.md section 4): the intent without its run, trace and key."""
    meta = msgspec.structs.replace(intent.meta, run_id="", trace_id="", key="")
    return hashlib.sha256(encode(msgspec.structs.replace(intent, meta=meta))).digest()


def is_key(text: str) -> bool:
    """Whether this is a key: 32 lower-case hex digits."""
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def same_place(intent: Intent, address: Address) -> bool:
    """Whether an intent names the instance that offers it."""
    meta = intent.meta
    return (meta.bot, meta.strategy, meta.instance) == (address.bot, address.strategy, address.instance)
