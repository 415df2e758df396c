"""Follow the price out of a band around its recent mean; how wide the band is, the compute part says.

The strategy never waits for it. It asks every so many quotes, uses the last estimate while that is fresh, and falls
back to a fixed width when there is none, when it is too old, or when the answer is ``ComputeUnavailable``.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Annotated

import msup
from msup import (
    ComputeResult,
    ComputeUnavailable,
    Context,
    Event,
    Execution,
    ExecutionSnapshot,
    Quote,
    Strategy,
    TradeSide,
)

SECOND_NS = 1_000_000_000
TASK = "volatility"


class Config(msup.Config):
    """Window and asking in quotes, ages in seconds, the fallback as a fraction of the price."""

    window: Annotated[int, msup.param(min=10, max=2_000, unit="events", doc="mid prices to look at")] = 60
    every: Annotated[int, msup.param(min=1, max=10_000, unit="events", doc="quotes between two requests")] = 40
    ttl_ms: Annotated[int, msup.param(min=1, max=60_000, unit="ms", doc="an answer after it is discarded")] = 500
    fresh_s: Annotated[int, msup.param(min=1, max=3_600, unit="s", doc="how long an estimate counts")] = 120
    fallback: Annotated[float, msup.param(min=0.0001, max=0.5, unit="fraction", doc="width without one")] = 0.002
    notional: Annotated[Decimal, msup.param(min=1, unit="quote", doc="worth of a position")] = Decimal(5000)


class Leg(msup.State):
    """What is known of one instrument."""

    prices: list[float] = []
    quotes: int = 0
    target: Decimal = Decimal(0)
    position: Decimal = Decimal(0)
    width: float = 0.0  # the last estimate
    width_ts: int = 0  # of the prices it was made from; 0 = none that counts


class State(msup.State):
    """All that survives a restart."""

    legs: dict[str, Leg] = {}
    asked: dict[str, str] = {}  # instrument of a request, by "step/ordinal"


class VolBreakout(Strategy[Config, State]):
    """Trades every instrument that it gets on its own."""

    def on_event(self, ctx: Context, event: Event) -> None:
        """Quotes decide; what the compute part says changes how."""
        match event:
            case Quote():
                self.on_quote(ctx, event)
            case ComputeResult() | ComputeUnavailable():
                self.on_estimate(event)
            case Execution():
                if event.quantity is not None:
                    leg = self.leg(event.instrument)
                    leg.position += event.quantity if event.side is TradeSide.BUY else -event.quantity
            case ExecutionSnapshot():
                positions = {row.instrument: row.quantity for row in event.positions}
                for instrument, leg in self.state.legs.items():
                    leg.position = leg.target = positions.get(instrument, Decimal(0))
            case _:
                pass

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Ask now and then; trade when the price leaves the band."""
        if quote.bid is None or quote.ask is None or quote.bid > quote.ask:
            return  # one-sided or crossed: there is no mid price
        leg = self.leg(quote.instrument)
        mid = float(quote.bid + quote.ask) / 2
        leg.prices.append(mid)
        leg.quotes += 1
        if len(leg.prices) <= self.config.window:
            return
        del leg.prices[0]
        if leg.quotes % self.config.every == 0:
            ordinal = ctx.submit_compute(
                TASK, struct.pack(f"<{len(leg.prices)}d", *leg.prices), self.config.ttl_ms * 1_000_000
            )
            self.state.asked[f"{ctx.step}/{ordinal}"] = quote.instrument
        mean = sum(leg.prices) / len(leg.prices)
        width = self.width(ctx, leg)
        if mid > mean * (1 + width):
            self.want(ctx, quote, leg, ctx.quantity(quote.instrument, self.config.notional / quote.ask))
        elif mid < mean * (1 - width):
            self.want(ctx, quote, leg, -ctx.quantity(quote.instrument, self.config.notional / quote.ask))

    def on_estimate(self, event: ComputeResult | ComputeUnavailable) -> None:
        """Keep an estimate with the time of its prices; forget the last one where no new one will come."""
        instrument = self.state.asked.pop(f"{event.request_step}/{event.ordinal}", "")
        if not instrument:
            return
        leg = self.leg(instrument)
        if isinstance(event, ComputeResult):
            (leg.width,) = struct.unpack("<d", event.payload)
            leg.width_ts = event.requested_ts
        else:
            leg.width, leg.width_ts = 0.0, 0

    def width(self, ctx: Context, leg: Leg) -> float:
        """The estimate while it is fresh, else the fallback."""
        if leg.width_ts and ctx.now() - leg.width_ts <= self.config.fresh_s * SECOND_NS:
            return leg.width
        return self.config.fallback

    def want(self, ctx: Context, quote: Quote, leg: Leg, target: Decimal) -> None:
        """Ask for a position once."""
        if target != 0 and (leg.target == 0 or (target > 0) != (leg.target > 0)):
            leg.target = target
            ctx.target(quote.instrument, target)

    def leg(self, instrument: str) -> Leg:
        """The leg of an instrument; a new one at its first event."""
        return self.state.legs.setdefault(instrument, Leg())
