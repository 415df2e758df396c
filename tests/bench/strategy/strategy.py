"""What ``make bench`` measures: one limit order for every so many quotes, and as little else as a strategy can do."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msup
from msup import Context, Event, Quote, Strategy

SIZE = Decimal(1000)


class Config(msup.Config):
    """How often it orders, and how much it carries."""

    every: Annotated[int, msup.param(min=0, max=1_000_000_000, unit="events", doc="quotes per order; 0 = none")] = 1
    ballast: Annotated[int, msup.param(min=0, max=16_700_000, doc="size of the state, in bytes")] = 0


class State(msup.State):
    """A count, so that there is something to restore, and what makes it large."""

    quotes: int = 0
    ballast: bytes = b""


class Bench(Strategy[Config, State]):
    """Bids at the bid."""

    state_schema_version = 1

    def on_init(self, ctx: Context, config: Config, restored_state: State | None) -> None:
        """Take up the ballast."""
        self.state = restored_state or State(ballast=b"\x5a" * config.ballast)

    def on_event(self, ctx: Context, event: Event) -> None:
        """Count quotes; order at every ``every``-th."""
        if type(event) is not Quote:
            return
        state, every = self.state, self.config.every
        state.quotes += 1
        if every and state.quotes % every == 0 and event.bid is not None:
            ctx.buy(event.instrument, SIZE, limit=event.bid)
