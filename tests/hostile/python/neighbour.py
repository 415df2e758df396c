"""A well-behaved strategy that runs beside the hostile ones."""

from __future__ import annotations

from msup import Context, Event, Strategy


class Neighbour(Strategy):
    """Does nothing, at once."""

    def on_event(self, ctx: Context, event: Event) -> None:
        """Nothing."""
