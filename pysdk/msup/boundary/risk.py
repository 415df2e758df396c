"""J's and E's side: approvals on request, restrictions and commands at any time (GT-7, BP-3).

Events are durable before ``restrict``, ``release`` and ``command`` return, numbered per instance, and sent again from
where M has them. They are kept for ever: a supervisor that comes back with an older ledger asks for old ones.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import time
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from msup.boundary.door import REASON_CURSOR_AHEAD, Door, Turn
from msup.boundary.keybook import intent_digest, is_key, same_place
from msup.boundary.link import Peer
from msup.boundary.message import Ack, Approval, ApprovalRequest, FromM, Refused, Resume, SourceEvent
from msup.boundary.store import Account, Store, StoreError, check_count, check_event
from msup.dec import to_dec
from msup.error import MsupError, ProtocolError
from msup.event import Cursor, Restriction, RiskEvent, SafetyCommand, SafetyEvent
from msup.intent import Intent
from msup.message import Address

_SCHEMA: Final = """
CREATE TABLE approvals (
    key TEXT PRIMARY KEY, account INTEGER NOT NULL, digest BLOB NOT NULL, approved INTEGER NOT NULL,
    reason TEXT NOT NULL) WITHOUT ROWID;
"""
_MOST_ASKED: Final = 4096


class Decision(Struct, frozen=True):
    """An answer to a request. Made by ``approve`` and ``deny``."""

    approved: bool
    reason: str


def approve(reason: str = "") -> Decision:
    """The intent may be offered to I."""
    return Decision(approved=True, reason=reason)


def deny(reason: str) -> Decision:
    """The intent is withdrawn; ``reason`` is a short tag."""
    return Decision(approved=False, reason=reason)


class Requested(Struct, frozen=True):
    """One staged intent that asks for approval until ``valid_until`` (ns since the Unix epoch)."""

    address: Address
    key: str
    step: int
    ordinal: int
    digest: bytes
    valid_until: int
    intent: Intent


class RiskHandler:
    """J's or E's own part: subclass it and write ``on_request``."""

    approver: Approver
    """That calls this handler: for restrictions, commands and later answers."""

    def on_request(self, request: Requested) -> Decision | None:
        """Judge an intent; None leaves it open, for ``Approver.answer`` or for its end at ``valid_until``.

        An exception leaves it open too. Calls come one after another; the same request may come again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no on_request")

    def on_instance(self, address: Address) -> None:
        """M has connected an instance; restrictions of earlier are sent by themselves."""


class Approver(Door):
    """The risk side. One source of numbered events per store: a store that is lost is followed by another source."""

    _keeps_all = True

    def __init__(
        self,
        handler: RiskHandler,
        *,
        socket: str | Path,
        store: str | Path,
        source: str = "risk-*",
        clock: Callable[[], int] = time.time_ns,
        uids: Collection[int] = (),
        log: logging.Logger | None = None,
    ) -> None:
        """Serve on ``socket`` with the memory in the file ``store``; the ``*`` of ``source`` becomes the store's mark.

        A source id that began again at 1 would look to M like repetition.
        """
        super().__init__(socket=socket, clock=clock, uids=uids, log=log)
        self._handler = handler
        self._path = Path(store)
        self._source = source
        self._requests: queue.Queue[tuple[Peer, ApprovalRequest] | Address | None] = queue.Queue(_MOST_ASKED)
        self._open: dict[str, tuple[Peer, ApprovalRequest]] = {}
        handler.approver = self

    # For the handler and whoever watches the market.

    def instances(self) -> list[Address]:
        """Every instance that M has named so far."""
        with self._lock:
            return [account.address for account in self._store.accounts()]

    def restrict(
        self,
        address: Address,
        restrict_id: str,
        *,
        size_factor: Decimal | int | str = 1,
        limit_only: bool = False,
        reduce_only: bool = False,
        no_trade: bool = False,
        reason: str = "",
    ) -> Cursor:
        """Impose a restriction; it holds until ``release`` with the same id. ``size_factor`` is 0..1."""
        factor = to_dec(size_factor, "size_factor")
        if not 0 <= factor <= 1:
            raise ValueError(f"size_factor {factor}: it is a part, 0..1")
        restriction = Restriction(factor, limit_only, reduce_only, no_trade)
        now = self._clock()
        return self._say(address, RiskEvent(now, now, restrict_id, False, restriction, reason))

    def release(self, address: Address, restrict_id: str, reason: str = "") -> Cursor:
        """Lift a restriction."""
        now = self._clock()
        return self._say(
            address,
            RiskEvent(now, now, restrict_id, True, Restriction(to_dec(1), False, False, False), reason),
        )

    def command(self, address: Address, command: SafetyCommand, reason: str = "") -> Cursor:
        """Give an order of E: freeze, unfreeze, cancel all, hedge to flat, halt."""
        now = self._clock()
        return self._say(address, SafetyEvent(now, now, command, reason))

    def answer(self, key: str, decision: Decision) -> None:
        """Answer a request that was left open; durable when this returns. ``KeyError`` when there is none."""
        with self._lock:
            asked = self._open.get(key)
            if asked is None:
                raise KeyError(f"no request for key {key} is open")
            self._decide(*asked, decision)

    # Inside.

    def _opened(self) -> None:
        self._store_open = Store(self._path, "risk", self._source, _SCHEMA)
        self._spawn(self._judge, "judge")

    def _interrupted(self) -> None:
        try:
            self._requests.put_nowait(None)
        except queue.Full:
            self.log.debug("the queue is full: the judge looks for itself")

    def _closed(self) -> None:
        super()._closed()
        self._open.clear()
        self._requests = queue.Queue(_MOST_ASKED)

    def _say(self, address: Address, event: RiskEvent | SafetyEvent) -> Cursor:
        with self._lock:
            turn = Turn()
            try:
                with self._store.transaction():
                    account = self._store.account(address) or self._store.add_account(address)
                    cursor = Cursor(self._store.source, account.source_epoch, account.seq + 1)
                    self._emit(account, check_event(SourceEvent(0, address, cursor, event.recv_ts, "", event)), turn)
                    self._trim(turn)
            except sqlite3.Error as error:
                raise StoreError(f"store {self._path}: {error}; nothing was said, say it again") from error
            self._carry_out(turn)
            return self._store.cursor(account)

    def _take(self, peer: Peer, message: FromM, turn: Turn) -> None:
        match message:
            case Resume(address=Address() as address):
                account = self._store.account(address) or self._store.add_account(address)
                peer.hellos[account.place] = b""
                if message.cursor.source not in ("", self._store.source):
                    # A place in the events of a store that was lost: of this one's, M has none. To count on from there
                    # would keep from it as many restrictions as the two have numbers in common.
                    message = replace(message, cursor=Cursor(self._store.source, 0, 0))
                if self._resume(peer, message, turn):
                    turn.then.append(lambda: self._present(peer, account))
            case Ack():
                self._ack(peer, message, turn)
            case ApprovalRequest():
                self._request(peer, message, turn)
            case _:
                raise ProtocolError(f"a {type(message).__name__} is no message to J or E")

    def _present(self, peer: Peer, account: Account) -> None:
        self._speakers[account.id] = peer
        self._ask(account.address)

    def _announced(self, peer: Peer, address: Address, seq: int, turn: Turn) -> Account | None:
        account = self._store.account(address)
        if account is None or account.place not in peer.hellos:
            turn.tell(peer, Refused(seq, address, "NO_HELLO", 0))
            return None
        return account

    def _behind(self, peer: Peer, message: Resume, account: Account, turn: Turn) -> bool:
        turn.tell(peer, Refused(message.seq, account.address, REASON_CURSOR_AHEAD, account.epoch))
        return False

    def _request(self, peer: Peer, m: ApprovalRequest, turn: Turn) -> None:
        check_count(m.epoch, "epoch")
        account = self._store.account(m.address) or self._store.add_account(m.address)
        key = m.intent.meta.key
        denied = ""
        if m.epoch < account.epoch:
            denied = "EPOCH_PASSED"
        elif intent_digest(m.intent) != m.digest:
            denied = "DIGEST_MISMATCH"
        elif not is_key(key) or not same_place(m.intent, m.address):
            denied = "INVALID_INTENT"
        elif m.epoch > account.epoch:
            account.epoch = m.epoch
            self._store.put_account(account)
        known = self._store.db.execute(
            "SELECT account, digest, approved, reason FROM approvals WHERE key=?", (key,)
        ).fetchone()
        if not denied and known is not None and (known[0] != account.id or known[1] != m.digest):
            denied = "KEY_CONFLICT"
        if denied:
            self.log.warning("a request of %s is denied: %s", "/".join(account.place), denied)
            turn.tell(peer, Approval(m.seq, m.address, key, False, denied))
        elif known is not None:
            turn.tell(peer, Approval(m.seq, m.address, key, bool(known[2]), known[3]))
        elif self._clock() > m.valid_until:
            turn.tell(peer, Approval(m.seq, m.address, key, False, "VALID_UNTIL_PASSED"))
        else:
            turn.then.append(lambda: self._ask((peer, m)))

    def _ask(self, what: tuple[Peer, ApprovalRequest] | Address) -> None:
        try:
            self._requests.put_nowait(what)
        except queue.Full:  # an intent that nobody approves expires
            self.log.warning("%d requests wait for the handler; one more is not put to it", _MOST_ASKED)

    def _judge(self) -> None:
        while not self._stopping.is_set():
            asked = self._requests.get()
            try:
                if isinstance(asked, Address):
                    self._handler.on_instance(asked)
                elif asked is not None:
                    self._judge_one(*asked)
            except Exception:
                self.log.exception("the handler failed; what it was asked stays open")

    def _judge_one(self, peer: Peer, m: ApprovalRequest) -> None:
        key = m.intent.meta.key
        with self._lock:
            self._open[key] = (peer, m)
            for old in [k for k, (_, r) in self._open.items() if self._clock() > r.valid_until]:
                del self._open[old]
        decision = self._handler.on_request(
            Requested(m.address, key, m.step, m.ordinal, m.digest, m.valid_until, m.intent)
        )
        if decision is None:
            return
        if not isinstance(decision, Decision):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise MsupError(f"the handler returned {decision!r}; return approve(), deny(…) or None")
        with self._lock:
            if key in self._open:  # answered meanwhile otherwise
                self._decide(peer, m, decision)

    def _decide(self, peer: Peer, m: ApprovalRequest, decision: Decision) -> None:
        key = m.intent.meta.key
        turn = Turn()
        try:
            with self._store.transaction():
                account = self._store.account(m.address) or self._store.add_account(m.address)
                self._store.db.execute(
                    "INSERT OR IGNORE INTO approvals VALUES (?,?,?,?,?)",
                    (key, account.id, m.digest, int(decision.approved), decision.reason),
                )
                self._trim(turn)
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}; the decision was not noted, give it again") from error
        self._open.pop(key, None)
        turn.tell(peer, Approval(m.seq, m.address, key, decision.approved, decision.reason))
        self._carry_out(turn)
