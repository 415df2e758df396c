"""Long while a model outside expects the price to rise, flat otherwise.

The model is no part of the strategy: it is a service that answers beside it, when it can. What it says is an event like
any other; while nothing fresh is known, the strategy is flat.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Annotated

import msup
from msup import ComputeResult, ComputeUnavailable, Context, Event, Quote, Strategy

SERVICE = "returns"
MILLISECOND_NS = 1_000_000
WINDOW = 256  # mid prices that the features are made of


class Config(msup.Config):
    """How often the model is asked, what it must expect, and the size as money."""

    every: Annotated[int, msup.param(min=1, max=100_000, unit="events", doc="quotes between two questions")] = 100
    enter_bp: Annotated[float, msup.param(min=0.0, max=1000.0, unit="bp", doc="expected return to be long at")] = 1.0
    notional: Annotated[Decimal, msup.param(min=1, unit="quote", doc="worth of a position")] = Decimal(5000)
    ttl_ms: Annotated[int, msup.param(min=1, max=60_000, unit="ms", doc="age at which an answer is of no use")] = 2_000


class Leg(msup.State):
    """What is known of one instrument."""

    logs: list[float] = []  # logarithms of the last mid prices, the newest last
    quotes: int = 0
    long: bool = False


class State(msup.State):
    """All that survives a restart."""

    legs: dict[str, Leg] = {}
    asked: dict[str, str] = {}  # "step.ordinal" of a question under way → instrument
    answers: int = 0
    unavailable: int = 0


class FairValue(Strategy[Config, State]):
    """Asks about every instrument that it gets on its own, with one question under way at a time for each."""

    def on_event(self, ctx: Context, event: Event) -> None:
        """Quotes ask; answers decide."""
        match event:
            case Quote():
                self.on_quote(ctx, event)
            case ComputeResult():
                self.on_answer(ctx, event)
            case ComputeUnavailable():
                self.state.unavailable += 1
                instrument = self.state.asked.pop(f"{event.request_step}.{event.ordinal}", "")
                self.go(ctx, instrument, long=False)  # nothing is known any more
            case _:
                pass

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Keep the window, and ask when its turn has come."""
        if quote.bid is None or quote.ask is None or quote.bid > quote.ask:
            return  # one-sided or crossed: there is no mid price
        leg = self.state.legs.setdefault(quote.instrument, Leg())
        leg.logs.append(math.log(float(quote.bid + quote.ask) / 2))
        del leg.logs[:-WINDOW]
        leg.quotes += 1
        if len(leg.logs) < WINDOW or leg.quotes % self.config.every or quote.instrument in self.state.asked.values():
            return
        question = json.dumps(features(leg.logs)).encode()
        ordinal = ctx.submit_compute(SERVICE, question, self.config.ttl_ms * MILLISECOND_NS)
        self.state.asked[f"{ctx.step}.{ordinal}"] = quote.instrument

    def on_answer(self, ctx: Context, answer: ComputeResult) -> None:
        """The schema has been checked: what is here is a number and the name of a model."""
        instrument = self.state.asked.pop(f"{answer.request_step}.{answer.ordinal}", "")
        self.state.answers += 1
        self.go(ctx, instrument, long=json.loads(answer.payload)["expected_bp"] >= self.config.enter_bp)

    def go(self, ctx: Context, instrument: str, *, long: bool) -> None:
        """Bring the position to where it should be."""
        leg = self.state.legs.get(instrument)
        if leg is None or leg.long == long:
            return
        leg.long = long
        price = Decimal(math.exp(leg.logs[-1]))
        ctx.target(instrument, ctx.quantity(instrument, self.config.notional / price) if long else 0)


def features(logs: list[float]) -> dict[str, float]:
    """Log returns over some lengths, and the distance from the mean of the window, in basis points."""
    now, mean = logs[-1], sum(logs) / len(logs)
    back = {f"over_{n}": round((now - logs[-1 - n]) * 1e4, 3) for n in (4, 16, 64)}
    return {**back, "above_mean": round((now - mean) * 1e4, 3)}
