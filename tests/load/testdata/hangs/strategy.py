"""Orders at three quotes, and never answers the fourth."""

from __future__ import annotations

from decimal import Decimal

import msup
from msup import Context, Event, Quote, Strategy


class Config(msup.Config):
    """Nothing to choose."""


class State(msup.State):
    """How many quotes there were."""

    quotes: int = 0


class Hangs(Strategy[Config, State]):
    """Bids, then spins."""

    state_schema_version = 1

    def on_init(self, ctx: Context, config: Config, restored_state: State | None) -> None:
        """Begin anew."""
        self.state = restored_state or State()

    def on_event(self, ctx: Context, event: Event) -> None:
        """Order, and hang."""
        if type(event) is not Quote or event.bid is None:
            return
        self.state.quotes += 1
        while self.state.quotes == 4:
            pass
        ctx.buy(event.instrument, Decimal(1), limit=event.bid)
