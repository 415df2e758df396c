"""Two exponential moving averages of the mid price: long while the fast one is above the slow one, flat otherwise.

The cross is the signal, so orders go to the market: waiting for a better price would be another strategy.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msup
from msup import Context, Event, Execution, ExecutionSnapshot, IntentsDiscarded, Quote, Strategy, TradeSide

SECOND_NS = 1_000_000_000


class Config(msup.Config):
    """Lengths in quotes; the size as money, so that one value fits every instrument."""

    fast: Annotated[int, msup.param(min=1, max=10_000, unit="events", doc="length of the fast average")] = 50
    slow: Annotated[int, msup.param(min=2, max=100_000, unit="events", doc="length of the slow average")] = 250
    notional: Annotated[Decimal, msup.param(min=1, unit="quote", doc="worth of a position")] = Decimal(5000)
    pause_s: Annotated[int, msup.param(min=0, max=86_400, unit="s", doc="rest after an order that failed")] = 30


class Leg(msup.State):
    """What is known of one instrument."""

    quotes: int = 0
    fast: float = 0.0
    slow: float = 0.0
    position: Decimal = Decimal(0)
    order: str = ""  # key of the order under way
    resume_ts: int = 0  # no orders before


class State(msup.State):
    """All that survives a restart."""

    legs: dict[str, Leg] = {}


class EmaCross(Strategy[Config, State]):
    """Trades every instrument that it gets on its own, with one order under way at a time."""

    def on_init(self, ctx: Context, config: Config, restored_state: State | None) -> None:
        """Refuse lengths that can never cross."""
        self.on_config(ctx, config)

    def on_config(self, ctx: Context, config: Config) -> None:
        """The same check for lengths that change while it runs."""
        if config.fast >= config.slow:
            raise ValueError(f"fast = {config.fast} must be below slow = {config.slow}")

    def on_event(self, ctx: Context, event: Event) -> None:
        """Quotes make decisions; the rest says what became of them."""
        match event:
            case Quote():
                self.on_quote(ctx, event)
            case Execution():
                self.on_execution(ctx, event)
            case IntentsDiscarded():
                self.on_discarded(ctx, event)
            case ExecutionSnapshot():
                self.on_snapshot(event)
            case _:
                pass

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Move both averages, then bring the position to the side that they are on."""
        if quote.bid is None or quote.ask is None or quote.bid > quote.ask:
            return  # one-sided or crossed: there is no mid price worth averaging
        leg = self.state.legs.setdefault(quote.instrument, Leg())
        mid = float(quote.bid + quote.ask) / 2
        if leg.quotes == 0:
            leg.fast = leg.slow = mid
        leg.quotes += 1
        leg.fast += (mid - leg.fast) * 2 / (self.config.fast + 1)
        leg.slow += (mid - leg.slow) * 2 / (self.config.slow + 1)
        if leg.quotes <= self.config.slow or leg.order or ctx.now() < leg.resume_ts:
            return
        if leg.fast > leg.slow and leg.position <= 0:
            self.enter(ctx, leg, quote.instrument, quote.ask)
        elif leg.fast < leg.slow and leg.position > 0:
            leg.order = ctx.sell(quote.instrument, leg.position, reduce_only=True)

    def enter(self, ctx: Context, leg: Leg, instrument: str, price: Decimal) -> None:
        """Buy what the notional pays for, in whole lots."""
        quantity = ctx.quantity(instrument, self.config.notional / price)
        if quantity > 0:
            leg.order = ctx.buy(instrument, quantity)
        else:
            ctx.alert("NOTIONAL_BELOW_ONE_LOT", instrument=instrument)
            self.pause(ctx, leg)

    def on_execution(self, ctx: Context, execution: Execution) -> None:
        """Follow fills; a final report frees the leg for its next order, after a pause when it was no fill."""
        leg = self.state.legs.setdefault(execution.instrument, Leg())
        if execution.quantity is not None:
            leg.position += execution.quantity if execution.side is TradeSide.BUY else -execution.quantity
        if execution.final and execution.key == leg.order:
            leg.order = ""
            if execution.report is not msup.ExecutionReport.FILLED:
                self.pause(ctx, leg)

    def on_discarded(self, ctx: Context, notice: IntentsDiscarded) -> None:
        """An order that was refused, withdrawn or too late is not under way."""
        for leg in self.state.legs.values():
            if leg.order in notice.keys:
                leg.order = ""
                self.pause(ctx, leg)

    def on_snapshot(self, snapshot: ExecutionSnapshot) -> None:
        """I's whole word on the account replaces what was followed report by report."""
        positions = {row.instrument: row.quantity for row in snapshot.positions}
        open_keys = {row.key for row in snapshot.open}
        for instrument, leg in self.state.legs.items():
            leg.position = positions.get(instrument, Decimal(0))
            if leg.order not in open_keys:
                leg.order = ""

    def pause(self, ctx: Context, leg: Leg) -> None:
        """What was refused once is refused again a millisecond later: wait."""
        leg.resume_ts = ctx.now() + self.config.pause_s * SECOND_NS
