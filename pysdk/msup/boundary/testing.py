"""An I that misbehaves, all from a seed: it dies, stalls, repeats, reorders, answers *unknown*, forgets and lies.

Its venue is a file of its own, ``effects.jsonl``, which outlives everything else: one line per effect, synced, with
key, step, ordinal and digest. That file is the oracle: no key may come twice in it, whatever happened.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from msup.boundary.door import Turn
from msup.boundary.handler import NEVER_ARRIVED, Handler, NeverArrived, Offered, Outcome, committed, rejected
from msup.boundary.link import Peer
from msup.boundary.message import Offer, Refused, SourceEvent, StatusReport, decode_from_peer, encode
from msup.boundary.receiver import Receiver
from msup.dec import to_dec
from msup.event import Cursor, TradeSide
from msup.intent import OrderIntent, PositionIntent, Side

__all__ = ["FAULTS", "POINTS", "AdverseReceiver", "Faults", "Venue", "VenueHandler", "no_clock"]

POINTS: Final = ("arrived", "received", "calling", "effected", "handled", "recorded", "answering")
"""Where it may die: before anything is durable, key durable, before the handler, after the effect, after the handler,
outcome durable, before a send."""

FAULTS: Final = (
    "stall", "repeat", "reorder", "unknown", "reject", "unknown_key", "lower_epoch", "other_digest", "skip", "back",
    "hangup",
)  # fmt: skip
"""What it may do beside dying; each falls with its own probability, drawn from the seed."""


def no_clock() -> int:
    """A clock for feeds of the past: nothing expires."""
    return 0


class Faults(Struct, frozen=True, kw_only=True):
    """What goes wrong. Probabilities are per message (per key for ``unknown`` and ``reject``), 0..1."""

    die_after: int = 0
    """Dies when it comes to its point for the n-th time; 0 = never."""
    die_at: str = "received"
    """One of ``POINTS``."""
    stall_ms: int = 20
    """The longest stall."""
    chances: dict[str, float] = {}
    """Fault → probability; names are those of ``FAULTS``."""

    def checked(self) -> Faults:
        """Refuse what is no fault."""
        if self.die_at not in POINTS:
            raise ValueError(f"{self.die_at!r} is no point; there are {', '.join(POINTS)}")
        for name, chance in self.chances.items():
            if name not in FAULTS or not 0 <= chance <= 1:
                raise ValueError(f"{name}={chance}: a fault is one of {', '.join(FAULTS)}, with a probability of 0..1")
        return self


class Venue:
    """Effects that outlive I, one per line. It takes a key as often as it is told to: a double effect must be seen."""

    def __init__(self, path: str | Path) -> None:
        """Append to ``path``."""
        self.path: Final = Path(path)
        self._lock = threading.Lock()

    def place(self, offered: Offered) -> None:
        """Take an effect, durably."""
        row: dict[str, Any] = {
            "bot": offered.address.bot,
            "strategy": offered.address.strategy,
            "instance": offered.address.instance,
            "key": offered.key,
            "step": offered.step,
            "ordinal": offered.ordinal,
            "digest": offered.digest.hex(),
            "kind": int(offered.intent.kind),
            "instrument": offered.instrument,
        }
        if isinstance(offered.intent, OrderIntent):
            body = offered.intent.body
            row["quantity"] = str(body.quantity if body.side is Side.BUY else -body.quantity)
        with self._lock, self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(row).encode() + b"\n")
            os.fdatasync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """Every effect so far. A line that a crash cut off was never answered for, and is left out."""
        with self._lock:
            text = self.path.read_bytes() if self.path.exists() else b""
        return [json.loads(line) for line in text.split(b"\n")[:-1] if line]

    def knows(self, key: str) -> bool:
        """Whether the key had its effect."""
        return any(row["key"] == key for row in self.rows())


class VenueHandler(Handler):
    """Places everything with a venue that can be asked by key. Orders fill at once, at their limit or at ``price``."""

    def __init__(self, venue: Venue, *, price: str = "1", after_effect: Callable[[str], None] | None = None) -> None:
        """``after_effect`` is called between the effect and its record: where a death hurts most."""
        self.venue: Final = venue
        self._price = to_dec(price, "price")
        self._after_effect = after_effect

    def on_offer(self, offered: Offered) -> Outcome:
        """One effect."""
        self.venue.place(offered)
        if self._after_effect is not None:
            self._after_effect(offered.key)
        return self._outcome(offered)

    def on_unknown(self, offered: Offered) -> Outcome | NeverArrived | None:
        """Ask the venue."""
        return self._outcome(offered) if self.venue.knows(offered.key) else NEVER_ARRIVED

    def _outcome(self, offered: Offered) -> Outcome:
        match offered.intent:
            case OrderIntent(body=order):
                return committed(offered.filled(order.limit_price or self._price, order.quantity))
            case PositionIntent(body=target):
                held = self.receiver.position(offered.address, target.instrument)
                difference = target.target_quantity - held
                if not difference:
                    return committed(offered.accepted(remaining=0))
                wanted = to_dec(abs(difference))
                fill = offered.filled(target.limit_price or self._price, wanted)
                return committed(
                    msgspec.structs.replace(fill, side=TradeSide.BUY if difference > 0 else TradeSide.SELL)
                )
            case _:
                return committed()


class AdverseReceiver(Receiver):
    """A ``Receiver`` on a ``Venue``, with faults."""

    def __init__(
        self,
        *,
        socket: str | Path,
        folder: str | Path,
        seed: int,
        faults: Faults | None = None,
        clock: Callable[[], int] = time.time_ns,
        kill: Callable[[], None] | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Keep ``execution.db`` and ``effects.jsonl`` in ``folder``. ``kill`` ends the process; by default SIGKILL."""
        self.faults: Final = (faults or Faults()).checked()
        self.venue: Final = Venue(Path(folder) / "effects.jsonl")
        handler = _Moody(self.venue, self.faults, seed, self._effected)
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(
            handler, socket=socket, store=Path(folder) / "execution.db", clock=clock, ask_every_s=0.2, log=log
        )
        self._random = random.Random(seed)
        self._kill = kill or _kill_self
        self._passed = 0
        self._dice = threading.Lock()
        self._held: dict[Peer, list[bytes]] = {}

    def _effected(self, key: str) -> None:
        self._point("effected", key)

    def _offer(self, peer: Peer, m: Offer, turn: Turn) -> None:
        self._point("arrived", m.intent.meta.key)
        super()._offer(peer, m, turn)

    def _point(self, name: str, key: str) -> None:
        if name != self.faults.die_at or not self.faults.die_after:
            return
        with self._dice:
            self._passed += 1
            now = self._passed == self.faults.die_after
        if now:
            self.log.warning("dying at %s %d, key %s", name, self._passed, key)
            self._kill()

    def _falls(self, name: str) -> bool:
        with self._dice:
            return self._random.random() < self.faults.chances.get(name, 0)

    def _send(self, peer: Peer, payloads: Sequence[bytes]) -> None:
        self._point("answering", "")
        if self._falls("stall"):
            with self._dice:
                pause_s = self._random.random() * self.faults.stall_ms / 1000
            time.sleep(pause_s)
        held = self._held.pop(peer, [])
        out: list[bytes] = []
        for payload in payloads:
            message = decode_from_peer(payload)
            if isinstance(message, SourceEvent) and self._falls("skip"):
                continue  # M must see the gap
            out.append(payload)
            out += self._lies(message)
            if self._falls("repeat"):
                out.append(payload)
            if isinstance(message, StatusReport) and self._falls("reorder"):
                self._hold(peer, out.pop())
        super()._send(peer, [*out, *held])
        if self._falls("hangup"):
            peer.drop()

    def _hold(self, peer: Peer, payload: bytes) -> None:
        """Keep a status back until something else has been said, or for 50 ms."""
        self._held.setdefault(peer, []).append(payload)

        def release() -> None:
            with self._lock:
                held = self._held.pop(peer, [])
                if held and not peer.gone:
                    Receiver._send(self, peer, held)

        timer = threading.Timer(0.05, release)
        timer.daemon = True
        timer.start()

    def _lies(self, message: object) -> list[bytes]:
        """Things that no sound I would say, beside the true ones."""
        found: list[bytes] = []
        if isinstance(message, StatusReport) and message.digest is not None:
            if self._falls("unknown_key"):
                found.append(encode(msgspec.structs.replace(message, seq=0, key=self._key())))
            if self._falls("other_digest"):
                found.append(encode(msgspec.structs.replace(message, seq=0, digest=bytes(32))))
        if isinstance(message, SourceEvent) and message.address is not None:
            cursor = message.cursor
            if self._falls("lower_epoch"):
                older = Cursor(cursor.source, max(cursor.source_epoch - 1, 0), cursor.seq + 1000)
                found.append(encode(msgspec.structs.replace(message, cursor=older)))
                found.append(encode(Refused(0, message.address, "EPOCH_PASSED", 0)))
            if self._falls("back") and cursor.seq > 1:
                older = Cursor(cursor.source, cursor.source_epoch, cursor.seq - 1)
                found.append(encode(msgspec.structs.replace(message, cursor=older)))
        return found

    def _key(self) -> str:
        with self._dice:
            return f"{self._random.getrandbits(128):032x}"


class _Moody(VenueHandler):
    """Rejects some keys, and of some says for a while that nobody knows: by the key and the seed, not by the moment."""

    def __init__(self, venue: Venue, faults: Faults, seed: int, after_effect: Callable[[str], None]) -> None:
        super().__init__(venue, after_effect=after_effect)
        self._faults = faults
        self._seed = seed
        self._asked: set[str] = set()

    def _falls(self, name: str, key: str) -> bool:
        return random.Random(f"{self._seed}/{name}/{key}").random() < self._faults.chances.get(name, 0)

    def on_offer(self, offered: Offered) -> Outcome:
        if self._falls("reject", offered.key):
            return rejected("ADVERSE")
        outcome = super().on_offer(offered)
        if self._falls("unknown", offered.key):
            raise TimeoutError("the venue took it and its answer was lost")
        return outcome

    def on_unknown(self, offered: Offered) -> Outcome | NeverArrived | None:
        if self._falls("unknown", offered.key) and offered.key not in self._asked:
            self._asked.add(offered.key)  # known when it is asked again
            return None
        return super().on_unknown(offered)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # SIGKILL of oneself returns at times before it strikes
