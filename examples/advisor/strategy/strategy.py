"""Buys what a language model proposes, when its own rule agrees, and never more.

The model proposes; the strategy decides; the gate checks that every order which increases risk rests on a live
proposal, on its instrument and side, within its largest quantity and its time. Selling what is held needs none.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated

import msup
from msup import ComputeResult, Context, Event, Execution, Quote, Strategy, TradeSide

SERVICE = "llm"
MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000


class Config(msup.Config):
    """How often the model is asked, what the strategy wants to see itself, and how long it holds."""

    every: Annotated[int, msup.param(min=1, max=100_000, unit="events", doc="quotes between two questions")] = 200
    agree_bp: Annotated[float, msup.param(min=-1000.0, max=1000.0, unit="bp", doc="least change to buy at")] = -20.0
    quantity: Annotated[Decimal, msup.param(min=1, unit="base", doc="wanted size, at most")] = Decimal(10)
    hold_s: Annotated[int, msup.param(min=1, max=86_400, unit="s", doc="time until what was bought is sold")] = 20
    ttl_ms: Annotated[int, msup.param(min=1, max=600_000, unit="ms", doc="life of a question")] = 10_000


class Leg(msup.State):
    """What is known of one instrument."""

    quotes: int = 0
    mid: Decimal = Decimal(0)
    before: Decimal = Decimal(0)  # at the last question
    position: Decimal = Decimal(0)


class State(msup.State):
    """All that survives a restart."""

    legs: dict[str, Leg] = {}
    proposals: int = 0
    taken: int = 0


class Advisor(Strategy[Config, State]):
    """Asks about every instrument in turn."""

    def on_event(self, ctx: Context, event: Event) -> None:
        """Quotes ask, proposals are weighed, fills are followed."""
        match event:
            case Quote():
                self.on_quote(ctx, event)
            case ComputeResult():
                self.on_proposals(ctx, event)
            case Execution() if event.quantity is not None:
                leg = self.state.legs.setdefault(event.instrument, Leg())
                leg.position += event.quantity if event.side is TradeSide.BUY else -event.quantity
            case _:
                pass  # compute_unavailable among it: without a proposal nothing is bought

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        """Held long enough."""
        leg = self.state.legs[timer_id]
        if leg.position > 0:
            ctx.sell(timer_id, leg.position, reduce_only=True)

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Follow the mid price, and ask when its turn has come."""
        if quote.bid is None or quote.ask is None or quote.bid > quote.ask:
            return  # one-sided or crossed: there is no mid price
        leg = self.state.legs.setdefault(quote.instrument, Leg())
        leg.mid = (quote.bid + quote.ask) / 2
        leg.quotes += 1
        if leg.quotes % self.config.every:
            return
        question = {"instrument": quote.instrument, "mid": f"{leg.mid:f}", "change_bp": self.change_bp(leg)}
        ctx.submit_compute(SERVICE, json.dumps(question).encode(), self.config.ttl_ms * MILLISECOND_NS)
        leg.before = leg.mid

    def on_proposals(self, ctx: Context, answer: ComputeResult) -> None:
        """The schema has been checked, and the gate knows the proposals; whether to follow one is decided here."""
        for proposal in json.loads(answer.payload)["proposals"]:
            self.state.proposals += 1
            instrument = proposal["instrument"]
            leg = self.state.legs.get(instrument)
            if leg is None or proposal["side"] != "buy" or leg.position > 0:
                continue
            if self.change_bp(leg) < self.config.agree_bp:
                continue
            quantity = ctx.quantity(instrument, min(self.config.quantity, Decimal(proposal["max_quantity"])))
            if quantity > 0:
                self.state.taken += 1
                ctx.buy(instrument, quantity, proposal=proposal["proposal"])
                ctx.set_timer(instrument, after_ns=self.config.hold_s * SECOND_NS)

    @staticmethod
    def change_bp(leg: Leg) -> float:
        """Change since the last question, in basis points."""
        return round(float((leg.mid / leg.before - 1) * 10_000), 3) if leg.before else 0.0
