"""M as a neighbour sees it: asks, collects, and breaks the rules where a test wants it to."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from msup.boundary import (
    Ack,
    Address,
    BoundaryHello,
    Cursor,
    FrameConnection,
    FromPeer,
    Offer,
    SourceEvent,
    StatusReport,
    Welcome,
    decode_from_peer,
    encode,
    frame,
    intent_digest,
)
from msup.dec import to_dec
from msup.event import Execution
from msup.intent import Intent, IntentMeta, OrderBody, OrderIntent, OrderType, RiskContext, Side, TimeInForce
from msup.key import step_key

ADDRESS = Address("bot", "ema", "btc")
LINEAGE = bytes(range(16))
OWNER = b"o" * 16
FOREVER = 2**62

T = TypeVar("T")


def order(step: int, ordinal: int = 0, *, quantity: str = "1", address: Address = ADDRESS) -> OrderIntent:
    """A market order of a step."""
    risk = RiskContext.of(max_slippage="0.001", max_delay_ns=10**9, holding_time_ns=10**9, budget=1000)
    key = step_key(address, LINEAGE, step, ordinal)
    meta = IntentMeta(
        address.bot, address.strategy, "1.0.0", address.instance, "run-1", f"run-1-{step}", key, risk, "", ""
    )
    body = OrderBody(
        "BTCUSDT.SIM", Side.BUY, OrderType.MARKET, to_dec(quantity), None, None, TimeInForce.GTC, False, False
    )
    return OrderIntent(meta, body)


def offer(intent: Intent, step: int, *, seq: int = 0, epoch: int = 1, valid_until: int = FOREVER) -> Offer:
    """The offer of an intent, with its true digest."""
    meta = intent.meta
    address = Address(meta.bot, meta.strategy, meta.instance)
    return Offer(seq, address, epoch, step, 0, intent_digest(intent), valid_until, intent)


def eventually(what: Callable[[], T], within_s: float = 10.0) -> T:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


class FakeM:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        try:
            self.sock.connect(str(path))
        except OSError:
            self.sock.close()
            raise
        self._frames = FrameConnection(self.sock)
        self._seq = 0
        self.heard: list[FromPeer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, *messages: msgspec.Struct) -> None:
        """In one piece, so that they are one batch."""
        self.sock.sendall(b"".join(frame(encode(m)) for m in messages))

    def receive(self) -> FromPeer | None:
        """The next message; None at the end."""
        try:
            payload = self._frames.read()
        except ConnectionResetError:
            return None
        if payload is None:
            return None
        message = decode_from_peer(payload)
        self.heard.append(message)
        return message

    def ask(self, message: Any) -> Any:
        """Send with a number of its own and return the answer with that number; all others are in ``heard``."""
        self._seq += 1
        self.send(msgspec.structs.replace(message, seq=self._seq))
        while True:
            answer = self.receive()
            assert answer is not None, "the connection has ended"
            if answer.seq == self._seq:
                return answer

    def hello(
        self, *, epoch: int = 1, owner: bytes = OWNER, lineage: bytes = LINEAGE, address: Address = ADDRESS
    ) -> Any:
        """Announce the instance."""
        return self.ask(BoundaryHello(0, address, lineage, epoch, owner, 1))

    def welcome(self, **options: Any) -> Welcome:
        """Announce the instance and be taken."""
        answer = self.hello(**options)
        assert isinstance(answer, Welcome), answer
        return answer

    def events(self) -> list[SourceEvent]:
        """The events heard so far."""
        return [m for m in self.heard if isinstance(m, SourceEvent)]

    def executions(self) -> list[Execution]:
        """The reports heard so far."""
        return [e.event for e in self.events() if isinstance(e.event, Execution)]

    def wait_for(self, count: int) -> list[SourceEvent]:
        """Read until so many events have come."""
        while len(self.events()) < count:
            assert self.receive() is not None
        return self.events()

    def status(self, key: str) -> StatusReport:
        """Read until there is a word on a key."""
        while True:
            for m in self.heard:
                if isinstance(m, StatusReport) and m.key == key:
                    return m
            assert self.receive() is not None

    def ack(self, cursor: Cursor) -> None:
        """Everything up to there is durable."""
        self.send(Ack(0, ADDRESS, cursor))

    def ended(self) -> bool:
        """Whether the other side hangs up."""
        while self.receive() is not None:
            pass
        return True
