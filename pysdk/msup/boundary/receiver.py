"""I's receiver: the boundary protocol on one side, ten lines of handler on the other (GT-5, GT-6, LS-3, BC-I)."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from typing import Final

from msup.boundary.door import Door, Turn
from msup.boundary.handler import NEVER_ARRIVED, REASON_UNKNOWN, Handler, Offered, Outcome
from msup.boundary.keybook import SCHEMA, Entry, KeyBook, Phase, decode_intent, intent_digest, is_key, same_place
from msup.boundary.link import FRAME_TIMEOUT_S, Peer
from msup.boundary.message import (
    Ack,
    BoundaryHello,
    FromM,
    LastStep,
    Offer,
    Query,
    Refused,
    Resume,
    SnapshotRequest,
    SourceEvent,
    StatusReport,
    Sync,
    Tombstone,
    Welcome,
)
from msup.boundary.server import DEFAULT_MOST_PEERS, DEFAULT_OUT_BYTES
from msup.boundary.store import Account, Store, StoreError, check_count, check_event, place
from msup.error import MsupError, ProtocolError
from msup.event import Cursor, Execution, ExecutionReport, ExecutionSnapshot
from msup.intent import OrderIntent, PositionIntent, Status
from msup.limit import MAX_ROWS
from msup.message import Address

DEFAULT_MOST_WAITING: Final = 4096
DEFAULT_ASK_EVERY_S: Final = 5.0
_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 2.0
_MOST_CALLS: Final = 2


class Receiver(Door):
    """The execution side: takes each key once, durably, and calls the handler for it."""

    def __init__(
        self,
        handler: Handler,
        *,
        socket: str | Path,
        store: str | Path,
        source: str = "execution",
        clock: Callable[[], int] = time.time_ns,
        most_waiting: int = DEFAULT_MOST_WAITING,
        ask_every_s: float = DEFAULT_ASK_EVERY_S,
        uids: Collection[int] = (),
        out_bytes: int = DEFAULT_OUT_BYTES,
        most_peers: int = DEFAULT_MOST_PEERS,
        frame_timeout_s: float = FRAME_TIMEOUT_S,
        log: logging.Logger | None = None,
    ) -> None:
        """Serve on ``socket`` with the memory in the file ``store``; ``source`` names the events in M's cursors.

        At most ``most_waiting`` keys of one instance wait for the handler; more are rejected. While keys are unknown,
        ``on_unknown`` is asked every ``ask_every_s`` seconds. ``clock`` gives ns since
        the Unix epoch; one that always gives 0 lets nothing expire, for a feed of the past.
        """
        super().__init__(
            socket=socket,
            clock=clock,
            uids=uids,
            out_bytes=out_bytes,
            most_peers=most_peers,
            frame_timeout_s=frame_timeout_s,
            log=log,
        )
        self._handler = handler
        self._path = Path(store)
        self._source = source
        self._most_waiting = most_waiting
        self._ask_every_s = ask_every_s
        self._workers: dict[int, _Worker] = {}
        self._askers: dict[str, tuple[Peer, int]] = {}
        self._syncs: list[tuple[Peer, int, dict[int, int]]] = []
        self._called: set[int] = set()
        handler.receiver = self

    # For the handler and its venue's own threads.

    def offered(self, key: str) -> Offered:
        """The intent under a key, to make later reports with; ``KeyError`` when I never took it."""
        with self._lock:
            entry = self._book.find(key)
            if entry is None or entry.intent is None:
                raise KeyError(f"no intent was taken under key {key}")
            return self._offered(entry)

    def report(self, execution: Execution) -> Cursor:
        """Report on an order, at any time after ``on_offer`` was called for it; durable when this returns.

        The same report given twice is reported twice: deduplicate by the venue's own number.
        """
        with self._lock:
            entry = self._book.find(execution.key)
            if entry is None:
                raise KeyError(f"no intent was taken under key {execution.key}")
            account = self._store.account_of(entry.account)
            event = self._event(account, entry, execution)
            turn = Turn()
            try:
                with self._store.transaction():
                    self._note(account, event, turn)
            except sqlite3.Error as error:
                raise StoreError(f"store {self._path}: {error}; the report was not noted, give it again") from error
            self._carry_out(turn)
            return self._store.cursor(account)

    def settle(self, key: str, outcome: Outcome) -> None:
        """Say what became of a key that was unknown."""
        with self._lock:
            entry = self._book.find(key)
            if entry is None or entry.phase is not Phase.UNKNOWN:
                raise KeyError(f"key {key} is not unknown")
            try:
                self._write(entry, self._checked(entry, outcome))
            except sqlite3.Error as error:
                raise StoreError(f"store {self._path}: {error}; the outcome was not noted, give it again") from error

    def position(self, address: Address, instrument: str) -> Decimal:
        """The signed position of an instance that the reports so far add up to."""
        with self._lock:
            account = self._store.account(address)
            return Decimal(0) if account is None else self._book.position(account, instrument)

    def entries(self, address: Address) -> list[Entry]:
        """Every key of an instance with its status, oldest first."""
        with self._lock:
            account = self._store.account(address)
            return [] if account is None else self._book.entries(account.id)

    # Life.

    def _opened(self) -> None:
        self._store_open = Store(self._path, "execution", self._source, SCHEMA)
        self._book = KeyBook(self._store)
        with self._store.transaction():
            lost = self._book.lose_track()
        if lost:
            self.log.warning("%d keys were begun and not recorded; on_unknown is asked", lost)
        for account in self._store.accounts():
            if self._book.next_open(account.id, 0, Phase.DONE) is not None:
                self._worker(account.id).wake(ask=True)

    def _interrupted(self) -> None:
        with self._lock:
            for worker in self._workers.values():
                worker.wake()

    def _closed(self) -> None:
        if self._store_open is not None:
            try:
                with self._store.transaction():
                    self._book.not_called(self._called)
            except sqlite3.Error as error:
                self.log.warning("keys that were next in line will be unknown at the next start: %s", error)
        super()._closed()
        self._called.clear()
        self._workers.clear()
        self._askers.clear()
        self._syncs.clear()

    def _left(self, peer: Peer) -> None:
        super()._left(peer)
        with self._lock:
            self._syncs = [sync for sync in self._syncs if sync[0] is not peer]

    def _worker(self, account: int) -> _Worker:
        worker = self._workers.get(account)
        if worker is None:
            worker = self._workers[account] = _Worker(self, account)
            self._spawn(worker.run, f"instance-{account}")
        return worker

    # What M says.

    def _take(self, peer: Peer, message: FromM, turn: Turn) -> None:
        match message:
            case BoundaryHello():
                self._hello(peer, message, turn)
            case Offer():
                self._offer(peer, message, turn)
            case Query():
                account = self._speaks(peer, message, turn)
                if account is not None:
                    self._query(peer, message, account, turn)
            case Tombstone():
                account = self._speaks(peer, message, turn)
                if account is not None:
                    if self._book.find(message.key) is None:
                        self._book.bar(account, message.key, "TOMBSTONED")
                    turn.tell(peer, self._word(message.seq, account, message.key))
            case SnapshotRequest():
                account = self._announced(peer, message.address, message.seq, turn)
                if account is not None:
                    turn.tell(peer, self._snapshot(message.seq, account))
                    turn.tell(peer, LastStep(message.seq, message.address, account.last_step))
            case Ack():
                self._ack(peer, message, turn)
            case Resume():
                self._resume(peer, message, turn)
            case Sync():
                self._sync(peer, message, turn)
            case _:
                raise ProtocolError(f"a {type(message).__name__} is no message to I")

    def _hello(self, peer: Peer, m: BoundaryHello, turn: Turn) -> None:
        check_count(m.epoch, "epoch")
        check_count(m.oldest_open_step, "oldest open step")
        a = self._store.account(m.address)
        if a is None:
            a = self._store.add_account(m.address, m.lineage)
        elif m.epoch < a.epoch:
            turn.tell(peer, Refused(m.seq, m.address, "EPOCH_PASSED", a.epoch))
            return
        elif m.epoch == a.epoch and m.owner_nonce != a.owner:
            turn.tell(peer, Refused(m.seq, m.address, "SECOND_OWNER", a.epoch))
            return
        elif m.lineage != a.lineage:
            # Created anew. Orders and positions are the market's and stay; events are numbered anew.
            a.lineage, a.last_step, a.oldest_open = m.lineage, 0, 0
            a.source_epoch, a.seq, a.acked = a.source_epoch + 1, 0, 0
        a.epoch, a.owner, a.oldest_open = m.epoch, m.owner_nonce, max(a.oldest_open, m.oldest_open_step)
        a.acked = self._acked_of(a)
        self._store.put_account(a)
        account = a

        def announced() -> None:
            peer.hellos[account.place] = m.owner_nonce
            self._speakers[account.id] = peer
            self.log.info(
                "instance %s announced: epoch %d, step %d, %s",
                "/".join(account.place),
                account.epoch,
                account.last_step,
                peer.name,
            )

        turn.then.append(announced)
        turn.tell(peer, Welcome(m.seq, m.address, a.last_step, self._store.cursor(a)))
        self._resend(peer, a, a.acked, turn)

    def _announced(self, peer: Peer, address: Address, seq: int, turn: Turn) -> Account | None:
        account = self._store.account(address)
        nonce = peer.hellos.get(place(address))
        if account is None or nonce is None:
            turn.tell(peer, Refused(seq, address, "NO_HELLO", 0))
            return None
        if nonce != account.owner:
            turn.tell(peer, Refused(seq, address, "EPOCH_PASSED", account.epoch))
            return None
        return account

    def _speaks(self, peer: Peer, m: Offer | Query | Tombstone, turn: Turn) -> Account | None:
        account = self._announced(peer, m.address, m.seq, turn)
        if account is None or m.epoch == account.epoch:
            return account
        reason = "EPOCH_UNKNOWN" if m.epoch > account.epoch else "EPOCH_PASSED"
        turn.tell(peer, Refused(m.seq, m.address, reason, account.epoch))
        return None

    def _offer(self, peer: Peer, m: Offer, turn: Turn) -> None:
        check_count(m.step, "step")
        account = self._speaks(peer, m, turn)
        if account is None:
            return
        if m.step > account.last_step:
            account.last_step = m.step
            self._store.put_account(account)
        key = m.intent.meta.key
        known = self._book.find(key)
        if known is not None:
            self._known(peer, m, account, known, turn)
            return
        status, reason = self._first_sight(m, account)
        if reason == "DIGEST_MISMATCH":  # a corrupt offer must not occupy the key of the sound one
            turn.tell(peer, StatusReport(m.seq, m.address, key, status, m.digest, reason))
        elif status is not Status.OFFERED:
            self._book.add(account, m, Phase.DONE, status, reason)
            turn.tell(peer, self._word(m.seq, account, key))
        else:
            # The first in line is begun in the same commit: its handler needs none of its own.
            idle = self._book.next_open(account.id, 0, Phase.UNKNOWN) is None
            self._book.add(account, m, Phase.BEGUN if idle else Phase.RECEIVED, status)
            turn.then.append(lambda: self._received(peer, m, account))

    def _received(self, peer: Peer, m: Offer, account: Account) -> None:
        self._askers[m.intent.meta.key] = (peer, m.seq)
        self._point("received", m.intent.meta.key)
        self._worker(account.id).wake()

    def _first_sight(self, m: Offer, account: Account) -> tuple[Status, str]:
        if intent_digest(m.intent) != m.digest:
            return Status.REJECTED, "DIGEST_MISMATCH"
        if not is_key(m.intent.meta.key) or not same_place(m.intent, m.address):
            return Status.REJECTED, "INVALID_INTENT"
        if self._clock() > m.valid_until:
            return Status.EXPIRED, "VALID_UNTIL_PASSED"
        orders = isinstance(m.intent, (OrderIntent, PositionIntent)) and self._book.open_count(account) >= MAX_ROWS // 2
        if orders or self._book.waiting(account.id)[0] >= self._most_waiting:
            return Status.REJECTED, "TOO_MANY_ORDERS"
        return Status.OFFERED, ""

    def _known(self, peer: Peer, m: Offer, account: Account, known: Entry, turn: Turn) -> None:
        if known.digest is not None and (known.digest != m.digest or known.account != account.id):
            self.log.warning("key %s was offered with other content by %s", known.key, "/".join(account.place))
            turn.tell(peer, StatusReport(m.seq, m.address, known.key, Status.REJECTED, known.digest, "KEY_CONFLICT"))
        elif known.phase in (Phase.RECEIVED, Phase.BEGUN):  # its status comes when the handler has returned
            turn.then.append(lambda: self._askers.__setitem__(known.key, (peer, m.seq)))
        else:
            turn.tell(peer, self._word(m.seq, account, known.key))
            self._ask_again(account, known, turn)

    def _query(self, peer: Peer, m: Query, account: Account, turn: Turn) -> None:
        turn.tell(peer, self._word(m.seq, account, m.key))
        known = self._book.find(m.key)
        if known is not None and known.account == account.id:
            self._ask_again(account, known, turn)

    def _ask_again(self, account: Account, known: Entry, turn: Turn) -> None:
        if known.phase is Phase.UNKNOWN:
            turn.then.append(lambda: self._worker(account.id).wake(ask=True))

    def _word(self, seq: int, account: Account, key: str) -> StatusReport:
        """What is known of a key. A key that the handler has, or that is unknown, is *offered*: no final word yet."""
        known = self._book.find(key)
        if known is None or known.account != account.id:
            return StatusReport(seq, account.address, key, Status.NOT_SEEN, None, "")
        return StatusReport(seq, account.address, key, known.status, known.digest, known.reason)

    def _snapshot(self, seq: int, account: Account) -> SourceEvent:
        # It has no number of its own: it carries that of the last event, which it contains.
        now, cursor = self._clock(), self._store.cursor(account)
        snapshot = ExecutionSnapshot(now, now, self._book.positions(account), self._book.open_orders(account), cursor)
        return SourceEvent(seq, account.address, cursor, now, "", snapshot)

    def _behind(self, peer: Peer, message: Resume, account: Account, turn: Turn) -> bool:
        turn.tell(peer, self._snapshot(message.seq, account))
        return True

    def _sync(self, peer: Peer, m: Sync, turn: Turn) -> None:
        waiting: dict[int, int] = {}
        for bot, strategy, instance in peer.hellos:
            account = self._store.account(Address(bot, strategy, instance))
            if account is not None:
                count, newest = self._book.waiting(account.id)
                if count:
                    waiting[account.id] = newest
        if waiting:
            turn.then.append(lambda: self._syncs.append((peer, m.seq, waiting)))
        else:
            turn.tell(peer, Ack(m.seq, None, Cursor("", 0, 0)))

    # What the handler says. One thread per instance comes here.

    def _work_one(self, account: int) -> bool:
        """Call the handler for the oldest key that waits; False when none does."""
        with self._lock:
            entry = self._book.next_open(account, 0, Phase.UNKNOWN)
        if entry is None:
            return False
        if entry.phase is Phase.RECEIVED:
            begun = entry
            if not self._persist(lambda: self._begin(begun)):
                return False
        return self._finish(entry, self._judge(entry, ask=False))

    def _begin(self, entry: Entry) -> None:
        with self._store.transaction():
            self._book.move(entry, Phase.BEGUN, Status.OFFERED)

    def _ask_unknown(self, account: int) -> None:
        with self._lock:
            entries = self._book.unknown(account)
        for entry in entries:
            if self._stopping.is_set() or not self._finish(entry, self._judge(entry, ask=True)):
                return

    def _has_unknown(self, account: int) -> bool:
        with self._lock:
            return bool(self._book.unknown(account))

    def _finish(self, entry: Entry, outcome: Outcome | None) -> bool:
        self._point("handled", entry.key)
        try:
            done = self._persist(lambda: self._write(entry, outcome))
        except ValueError:
            self.log.exception("the reports on key %s cannot be counted: what it has done is unknown", entry.key)
            done = self._persist(lambda: self._write(entry, None))
        if done:
            self._called.discard(entry.no)
            self._point("recorded", entry.key)
        return done

    def _judge(self, entry: Entry, *, ask: bool) -> Outcome | None:
        """The handler's word; None when nobody knows what has happened."""
        for _ in range(_MOST_CALLS):
            with self._lock:
                offered = self._offered(entry)
            try:
                if ask:
                    answer = self._handler.on_unknown(offered)
                    if answer is not NEVER_ARRIVED:
                        return None if answer is None else self._checked(entry, answer)
                    ask = False
                if offered.now > offered.valid_until:
                    return Outcome(Status.EXPIRED, "VALID_UNTIL_PASSED", ())
                self._point("calling", entry.key)
                self._called.add(entry.no)
                return self._checked(entry, self._handler.on_offer(offered))
            except Exception:
                self.log.exception("the handler failed on key %s: what it has done is unknown", entry.key)
                if ask:
                    return None
                ask = True
        return None

    def _checked(self, entry: Entry, outcome: object) -> Outcome:
        """Refuse an outcome that could not be told."""
        if not isinstance(outcome, Outcome) or outcome.status not in (Status.COMMITTED, Status.REJECTED):
            raise MsupError(f"the handler returned {outcome!r}; return committed(…) or rejected(…)")
        if len(outcome.reason.encode()) > 64:
            raise MsupError(f"the reason {outcome.reason!r} is longer than 64 bytes")
        with self._lock:
            account = self._store.account_of(entry.account)
            for report in outcome.reports:
                if report.key != entry.key:
                    raise MsupError(f"a report on key {report.key} in the outcome of {entry.key}; use Receiver.report")
                self._event(account, entry, report)
        return outcome

    def _persist(self, write: Callable[[], None]) -> bool:
        """Write, as often as it takes; False when the receiver stops first: the key is then unknown when it starts."""
        wait_s = _RETRY_FIRST_S
        while True:
            try:
                with self._lock:
                    write()
            except sqlite3.Error as error:
                self.log.error("the store %s cannot be written: %s; trying again in %.2f s", self._path, error, wait_s)  # noqa: TRY400
                if self._stopping.wait(wait_s):
                    return False
                wait_s = min(2 * wait_s, _RETRY_MOST_S)
            else:
                return True

    def _write(self, entry: Entry, outcome: Outcome | None) -> None:
        """Note what became of a key and tell it. The events come before the status that they belong to."""
        turn = Turn()
        with self._store.transaction():
            known = self._book.find(entry.key)
            if known is None or known.phase is Phase.DONE:  # settled meanwhile
                return
            account = self._store.account_of(entry.account)
            if outcome is None:
                self._book.move(entry, Phase.UNKNOWN, Status.OFFERED, REASON_UNKNOWN)
                if known.reason != REASON_UNKNOWN:  # told once
                    report = self._offered(entry).report(ExecutionReport.UNKNOWN, reason=REASON_UNKNOWN)
                    self._note(account, self._event(account, entry, report), turn)
            else:
                for report in outcome.reports:
                    self._note(account, self._event(account, entry, report), turn)
                self._book.move(entry, Phase.DONE, outcome.status, outcome.reason)
            peer, seq = self._askers.get(entry.key, (None, 0))
            speaker = self._speakers.get(account.id)
            turn.tell(speaker, self._word(seq if peer is speaker else 0, account, entry.key))
            following = self._book.next_open(account.id, entry.no, Phase.BEGUN)
            if following is not None and known.phase is not Phase.UNKNOWN:
                self._book.move(following, Phase.BEGUN, Status.OFFERED)
            self._trim(turn)
        self._askers.pop(entry.key, None)
        self._synced(entry, turn)
        self._carry_out(turn)

    def _synced(self, entry: Entry, turn: Turn) -> None:
        left: list[tuple[Peer, int, dict[int, int]]] = []
        for peer, seq, waiting in self._syncs:
            if waiting.get(entry.account, entry.no + 1) <= entry.no:
                del waiting[entry.account]
            if waiting:
                left.append((peer, seq, waiting))
            else:
                turn.tell(peer, Ack(seq, None, Cursor("", 0, 0)))
        self._syncs = left

    def _event(self, account: Account, entry: Entry, report: Execution) -> SourceEvent:
        cursor = Cursor(self._source, account.source_epoch, account.seq + 1)
        return check_event(SourceEvent(0, account.address, cursor, self._clock(), entry.trace, report))

    def _note(self, account: Account, event: SourceEvent, turn: Turn) -> None:
        if isinstance(event.event, Execution):
            self._book.apply(account, event.event)
        self._emit(account, event, turn)

    def _offered(self, entry: Entry) -> Offered:
        if entry.intent is None:
            raise StoreError(f"store {self._path} is damaged: key {entry.key} is open and has no intent")
        account = self._store.account_of(entry.account)
        return Offered(
            account.address,
            entry.key,
            entry.step,
            entry.ordinal,
            entry.digest or b"",
            entry.valid_until,
            decode_intent(entry.intent),
            self._clock(),
        )

    def _point(self, name: str, key: str) -> None:
        """A place where a process may die; tests make it."""


class _Worker:
    """Calls the handler for one instance, one key after another."""

    def __init__(self, receiver: Receiver, account: int) -> None:
        self._receiver = receiver
        self._account = account
        self._changed = threading.Condition()
        self._wanted = False
        self._ask = False

    def wake(self, *, ask: bool = False) -> None:
        with self._changed:
            self._wanted = True
            self._ask = self._ask or ask
            self._changed.notify()

    def run(self) -> None:
        r = self._receiver
        stopping = r._stopping  # pyright: ignore[reportPrivateUsage]
        unknown = False
        while not stopping.is_set():
            with self._changed:
                while not self._wanted:
                    if not self._changed.wait(r._ask_every_s if unknown else None):  # pyright: ignore[reportPrivateUsage]
                        self._wanted = self._ask = True
                ask, self._wanted, self._ask = self._ask, False, False
            try:
                if ask:
                    r._ask_unknown(self._account)  # pyright: ignore[reportPrivateUsage]
                while not stopping.is_set() and r._work_one(self._account):  # pyright: ignore[reportPrivateUsage]
                    pass
                unknown = r._has_unknown(self._account)  # pyright: ignore[reportPrivateUsage]
            except (sqlite3.Error, MsupError):
                r.log.exception("the store cannot be read; trying again in 1 s")
                stopping.wait(1)
                self.wake(ask=ask)
