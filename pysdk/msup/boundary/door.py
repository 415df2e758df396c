"""What I and J/E have in common: numbered events, durable until M has them, and one turn per batch of messages."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from msup.boundary.link import FRAME_TIMEOUT_S, Peer
from msup.boundary.message import Ack, BoundaryHello, FromM, Refused, Resume, SourceEvent, decode_from_m, encode, frame
from msup.boundary.server import DEFAULT_MOST_PEERS, DEFAULT_OUT_BYTES, Server
from msup.boundary.store import Account, Store, check_count, place
from msup.error import ProtocolError
from msup.message import Address

REASON_PERSIST_FAILED: Final = "PERSIST_FAILED"
REASON_CURSOR_AHEAD: Final = "CURSOR_AHEAD"


class Turn:
    """What one batch of messages leads to, carried out when it is durable."""

    __slots__ = ("answers", "then")

    def __init__(self) -> None:
        self.answers: list[tuple[Peer | None, bytes]] = []
        self.then: list[Callable[[], None]] = []

    def tell(self, peer: Peer | None, message: Struct | bytes) -> None:
        """Queue an answer."""
        self.answers.append((peer, message if isinstance(message, bytes) else encode(message)))


class Door(Server):
    """A server with a store behind it."""

    _keeps_all = False
    """Whether events stay after M has acknowledged them."""

    def __init__(
        self,
        *,
        socket: str | Path,
        clock: Callable[[], int] = time.time_ns,
        uids: Collection[int] = (),
        out_bytes: int = DEFAULT_OUT_BYTES,
        most_peers: int = DEFAULT_MOST_PEERS,
        frame_timeout_s: float = FRAME_TIMEOUT_S,
        log: logging.Logger | None = None,
    ) -> None:
        """``clock`` gives ns since the Unix epoch, UTC: it stamps events and judges ``valid_until``."""
        super().__init__(
            socket=socket,
            uids=uids,
            out_bytes=out_bytes,
            most_peers=most_peers,
            frame_timeout_s=frame_timeout_s,
            log=log,
        )
        self._clock = clock
        self._lock = threading.RLock()
        self._store_open: Store | None = None
        self._speakers: dict[int, Peer] = {}
        self._acked: dict[int, tuple[int, int]] = {}

    # What I and J/E do.

    @abstractmethod
    def _take(self, peer: Peer, message: FromM, turn: Turn) -> None:
        """Work off one message inside a transaction."""

    @abstractmethod
    def _announced(self, peer: Peer, address: Address, seq: int, turn: Turn) -> Account | None:
        """The instance, if this peer may speak for it."""

    @abstractmethod
    def _behind(self, peer: Peer, message: Resume, account: Account, turn: Turn) -> bool:
        """M resumes from events that are not kept any more, or of an earlier life; False when there is no way on."""

    @property
    def _store(self) -> Store:
        if self._store_open is None:
            raise RuntimeError("not started")
        return self._store_open

    # A batch.

    def _arrived(self, peer: Peer, payloads: list[bytes]) -> None:
        broken: ProtocolError | None = None
        messages: list[FromM] = []
        for payload in payloads:
            try:
                messages.append(decode_from_m(payload))
            except ProtocolError as error:
                broken = error
                break
        with self._lock:
            for run in _runs(messages):
                try:
                    self._turn(peer, run)
                except ProtocolError as error:
                    broken = error
                    break
                if peer.gone:
                    return
        if broken is not None:
            raise broken

    def _turn(self, peer: Peer, messages: Sequence[FromM]) -> None:
        """Work off messages in one transaction; when it cannot be written, one by one, and refuse those that fail."""
        turn = Turn()
        broken: ProtocolError | None = None
        try:
            with self._store.transaction():
                for message in messages:
                    try:
                        self._take(peer, message, turn)
                    except ProtocolError as error:  # what came before it counts
                        broken = error
                        break
        except sqlite3.Error as error:
            if len(messages) == 1:
                self._fail(peer, messages[0], error)
                return
            for message in messages:
                self._turn(peer, [message])
            return
        self._carry_out(turn)
        if broken is not None:
            raise broken

    def _carry_out(self, turn: Turn) -> None:
        for action in turn.then:
            action()
        joined: dict[Peer, list[bytes]] = {}
        for peer, payload in turn.answers:
            if peer is not None and not peer.gone:
                joined.setdefault(peer, []).append(payload)
        for peer, payloads in joined.items():
            self._send(peer, payloads)

    def _send(self, peer: Peer, payloads: Sequence[bytes]) -> None:
        """Everything that leaves towards M passes here, in order."""
        if not peer.put(b"".join(map(frame, payloads))):
            self.log.warning(
                "%s does not take its answers and is dropped; events wait for its next connection", peer.name
            )
            peer.drop()

    def _fail(self, peer: Peer, message: FromM, error: sqlite3.Error) -> None:
        self.log.error(
            "the store %s cannot be written: %s; nothing was taken of this %s; look at the disk's space and health",
            self._store.path,
            error,
            type(message).__name__,
        )
        address: Address | None = getattr(message, "address", None)
        if address is None or isinstance(message, Ack):
            return
        self._send(peer, [encode(Refused(message.seq, address, REASON_PERSIST_FAILED, 0))])

    def _left(self, peer: Peer) -> None:
        with self._lock:
            for number in [n for n, speaker in self._speakers.items() if speaker is peer]:
                del self._speakers[number]

    # Events: acknowledged, resumed, sent.

    def _ack(self, peer: Peer, message: Ack, turn: Turn) -> None:
        if message.address is None:
            raise ProtocolError("an ack without address")
        account = self._announced(peer, message.address, message.seq, turn)
        if account is None or message.cursor.source_epoch < account.source_epoch:
            return
        if message.cursor.source_epoch > account.source_epoch or message.cursor.seq > account.seq:
            raise ProtocolError(
                f"an ack of {'/'.join(place(message.address))} for event {message.cursor.seq} of epoch "
                f"{message.cursor.source_epoch}, the last is {account.seq} of epoch {account.source_epoch}"
            )
        # Losing an ack costs a repetition, so it waits for the next write instead of making one.
        if message.cursor.seq > self._acked_of(account):
            self._acked[account.id] = (account.source_epoch, message.cursor.seq)

    def _acked_of(self, account: Account) -> int:
        epoch, seq = self._acked.get(account.id, (0, 0))
        return max(account.acked, seq if epoch == account.source_epoch else 0)

    def _trim(self, turn: Turn) -> None:
        """Write the acks that wait, inside somebody's transaction."""
        if self._acked:
            for number, (epoch, seq) in self._acked.items():
                self._store.trim(number, epoch, seq, forget=not self._keeps_all)
            turn.then.append(self._acked.clear)

    def _resume(self, peer: Peer, message: Resume, turn: Turn) -> bool:
        """Send what comes after M's cursor; False when M may not have it or knows more than is known here."""
        if message.address is None:
            raise ProtocolError("a resume without address")
        account = self._announced(peer, message.address, message.seq, turn)
        if account is None:
            return False
        epoch, seq = message.cursor.source_epoch, check_count(message.cursor.seq, "event")
        if epoch > account.source_epoch or (epoch == account.source_epoch and seq > account.seq):
            turn.tell(peer, Refused(message.seq, message.address, REASON_CURSOR_AHEAD, account.epoch))
            return False
        if epoch == account.source_epoch and (seq >= account.acked or self._keeps_all):
            self._resend(peer, account, seq, turn)
        elif epoch == 0 and (account.acked == 0 or self._keeps_all):
            self._resend(peer, account, 0, turn)
        else:
            return self._behind(peer, message, account, turn)
        return True

    def _resend(self, peer: Peer, account: Account, after: int, turn: Turn) -> None:
        for payload in self._store.events(account, after):
            turn.tell(peer, payload)

    def _emit(self, account: Account, event: SourceEvent, turn: Turn) -> None:
        """Number an event, note it, and send it when it is durable."""
        turn.tell(self._speakers.get(account.id), self._store.add_event(account, event))

    # Life.

    def _closed(self) -> None:
        with self._lock:
            store = self._store_open
            if store is None:
                return
            try:
                with store.transaction():
                    self._trim(Turn())
            except sqlite3.Error as error:
                self.log.warning("the last acks were not written, M will hear events again: %s", error)
            self._acked.clear()
            self._store_open = None
            store.close()


def _runs(messages: list[FromM]) -> Iterator[list[FromM]]:
    """Cut a batch so that an announcement is a turn of its own: what follows builds on it."""
    run: list[FromM] = []
    for message in messages:
        if isinstance(message, (BoundaryHello, Resume)):
            if run:
                yield run
                run = []
            yield [message]
        else:
            run.append(message)
    if run:
        yield run
