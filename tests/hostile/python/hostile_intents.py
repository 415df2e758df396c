"""Strategies that ask for more than they may, in well-formed words."""

from __future__ import annotations

import msgspec
from hostile_kit import Hostile
from msup import Context, Event

BTC = "BTCUSDT.BINANCE"


class Eager(Hostile):
    """More intents in a step than it may have: the SDK says so."""

    def act(self, ctx: Context) -> None:
        for n in range(100):
            ctx.buy(BTC, 1, limit=60_000 + n)


class Flood(Hostile):
    """As many intents as an answer takes, at every event, behind the SDK's back: the supervisor counts for itself."""

    def on_event(self, ctx: Context, event: Event) -> None:
        ctx._max_intents = 256
        for n in range(100):
            ctx.buy(BTC, 1, limit=60_000 + n)


class Giant(Hostile):
    """An answer that is larger than answers may be."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 1, limit=60_000, name="x" * 100, proposal="p" * 120)
        ctx._intents.extend([ctx._intents[-1]] * 250)


class CancelStorm(Hostile):
    """Cancels orders that are not its own, and none at all."""

    def on_event(self, ctx: Context, event: Event) -> None:
        for n in range(4):
            ctx.cancel(f"{n:064x}")


class Forger(Hostile):
    """Signs an intent with another strategy's name."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 1, limit=60_000)
        intent = ctx._intents[-1]
        ctx._intents[-1] = msgspec.structs.replace(
            intent, meta=msgspec.structs.replace(intent.meta, strategy="neighbour")
        )


class KeyForger(Hostile):
    """Gives an intent the key of another decision."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 1, limit=60_000)
        intent = ctx._intents[-1]
        ctx._intents[-1] = msgspec.structs.replace(intent, meta=msgspec.structs.replace(intent.meta, key="0" * 64))


class KeyReuser(Hostile):
    """Two decisions under one name."""

    def on_event(self, ctx: Context, event: Event) -> None:
        self.seen = getattr(self, "seen", 0) + 1
        ctx.buy(BTC, self.seen, limit=60_000, name="one")


class Quantities(Hostile):
    """Orders of absurd size."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 9 * 10**14, limit=60_000)
        ctx.sell(BTC, 10**6, limit=60_000)


class Trespasser(Hostile):
    """Orders for an instrument that it does not have."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 1, limit=60_000)
        intent = ctx._intents[-1]
        ctx._intents[-1] = msgspec.structs.replace(
            intent, body=msgspec.structs.replace(intent.body, instrument="ETHUSDT.BINANCE")
        )


class Alerter(Hostile):
    """A kind of intent that its descriptor does not declare, with terminal escapes in it."""

    def act(self, ctx: Context) -> None:
        ctx.target(BTC, 5)


class Telemetry(Hostile):
    """Names that were never declared."""

    def on_event(self, ctx: Context, event: Event) -> None:
        for n in range(64):
            ctx.telemetry(f"n{n}", n)


class TimerHog(Hostile):
    """More timers than it may have."""

    def act(self, ctx: Context) -> None:
        for n in range(256):
            ctx.set_timer(f"t{n}", after_ns=10**18)


class TimerStorm(Hostile):
    """Timers that are due at once, for ever: no time passes between them, and the feed would never come on."""

    def act(self, ctx: Context) -> None:
        ctx.set_timer("storm", after_ns=0)

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        ctx.set_timer(timer_id, after_ns=0)


class NotANumber(Hostile):
    """Prices that are no numbers."""

    def act(self, ctx: Context) -> None:
        ctx.buy(BTC, 1, limit=float("nan"))  # pyright: ignore[reportArgumentType]
