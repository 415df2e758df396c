"""Buy what has fallen too far below its recent mean, sell what has risen too far above it, leave at the mean.

Mean and deviation come from a numpy window of mid prices. Orders wait at the touch; a timer gives up on those that
nobody took.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msup
import numpy as np
from msup import Context, Event, Execution, ExecutionSnapshot, IntentsDiscarded, Quote, Side, Strategy, TradeSide
from numpy.typing import NDArray

SECOND_NS = 1_000_000_000


class Config(msup.Config):
    """The window in quotes, the threshold in standard deviations, the size as money."""

    window: Annotated[int, msup.param(min=10, max=10_000, unit="events", doc="mid prices to look at")] = 250
    entry: Annotated[float, msup.param(min=0.1, max=10.0, doc="deviations from the mean to enter at")] = 2.0
    notional: Annotated[Decimal, msup.param(min=1, unit="quote", doc="worth of a position")] = Decimal(5000)
    patience_s: Annotated[int, msup.param(min=1, max=3_600, unit="s", doc="life of a waiting order")] = 20


class Leg(msup.State):
    """What is known of one instrument."""

    prices: NDArray[np.float64]  # the last mid prices, a ring
    quotes: int = 0
    position: Decimal = Decimal(0)
    order: str = ""  # key of the order under way
    resume_ts: int = 0  # no orders before


class State(msup.State):
    """All that survives a restart."""

    legs: dict[str, Leg] = {}


class MeanReversion(Strategy[Config, State]):
    """Trades every instrument that it gets on its own, with one order under way at a time."""

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
                self.on_snapshot(ctx, event)
            case _:
                pass

    def on_config(self, ctx: Context, config: Config) -> None:
        """A window of another length begins anew."""
        for leg in self.state.legs.values():
            if len(leg.prices) != config.window:
                leg.prices, leg.quotes = np.zeros(config.window), 0

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Put the mid price into the window, then compare it with the band around the mean."""
        if quote.bid is None or quote.ask is None or quote.bid > quote.ask:
            return  # one-sided or crossed: there is no mid price
        leg = self.leg(quote.instrument)
        mid = float(quote.bid + quote.ask) / 2
        leg.prices[leg.quotes % self.config.window] = mid
        leg.quotes += 1
        if leg.quotes < self.config.window or leg.order or ctx.now() < leg.resume_ts:
            return
        deviation = float(leg.prices.std())
        if deviation == 0.0:
            return  # nothing moved
        score = (mid - float(leg.prices.mean())) / deviation
        if leg.position > 0 and score >= 0:
            self.place(ctx, leg, quote, Side.SELL, leg.position)
        elif leg.position < 0 and score <= 0:
            self.place(ctx, leg, quote, Side.BUY, -leg.position)
        elif leg.position == 0 and abs(score) >= self.config.entry:
            side = Side.BUY if score < 0 else Side.SELL
            self.place(ctx, leg, quote, side, ctx.quantity(quote.instrument, self.config.notional / quote.ask))

    def place(self, ctx: Context, leg: Leg, quote: Quote, side: Side, quantity: Decimal) -> None:
        """Join the queue at the touch, and set the timer that gives up."""
        if quantity == 0:
            ctx.alert("NOTIONAL_BELOW_ONE_LOT", instrument=quote.instrument)
            self.pause(ctx, leg)
            return
        reduce_only = leg.position != 0
        if side is Side.BUY:
            leg.order = ctx.buy(quote.instrument, quantity, limit=quote.bid, reduce_only=reduce_only)
        else:
            leg.order = ctx.sell(quote.instrument, quantity, limit=quote.ask, reduce_only=reduce_only)
        ctx.set_timer(quote.instrument, after_ns=self.config.patience_s * SECOND_NS)

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        """An order has waited long enough: cancel it, and ask again should the cancel be lost."""
        leg = self.leg(timer_id)
        if leg.order:
            ctx.cancel(leg.order, instrument=timer_id)
            ctx.set_timer(timer_id, after_ns=self.config.patience_s * SECOND_NS)

    def on_execution(self, ctx: Context, execution: Execution) -> None:
        """Follow fills; a final report frees the leg for its next order, after a pause when it was refused."""
        leg = self.leg(execution.instrument)
        if execution.quantity is not None:
            leg.position += execution.quantity if execution.side is TradeSide.BUY else -execution.quantity
        if execution.final and execution.key == leg.order:
            self.finish(ctx, leg, execution.instrument)
            if execution.report is msup.ExecutionReport.REJECTED:
                self.pause(ctx, leg)

    def on_discarded(self, ctx: Context, notice: IntentsDiscarded) -> None:
        """An order that was refused, withdrawn or too late is not under way."""
        for instrument, leg in self.state.legs.items():
            if leg.order in notice.keys:
                self.finish(ctx, leg, instrument)
                self.pause(ctx, leg)

    def on_snapshot(self, ctx: Context, snapshot: ExecutionSnapshot) -> None:
        """I's whole word on the account replaces what was followed report by report."""
        positions = {row.instrument: row.quantity for row in snapshot.positions}
        open_keys = {row.key for row in snapshot.open}
        for instrument, leg in self.state.legs.items():
            leg.position = positions.get(instrument, Decimal(0))
            if leg.order and leg.order not in open_keys:
                self.finish(ctx, leg, instrument)

    def leg(self, instrument: str) -> Leg:
        """The leg of an instrument; a new one at its first event."""
        found = self.state.legs.get(instrument)
        if found is None:
            found = self.state.legs[instrument] = Leg(prices=np.zeros(self.config.window))
        return found

    def finish(self, ctx: Context, leg: Leg, instrument: str) -> None:
        """The order is over, and its timer with it."""
        leg.order = ""
        ctx.cancel_timer(instrument)

    def pause(self, ctx: Context, leg: Leg) -> None:
        """What was refused once is refused again a millisecond later: wait."""
        leg.resume_ts = ctx.now() + self.config.patience_s * SECOND_NS
