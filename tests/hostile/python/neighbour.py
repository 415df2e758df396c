"""A well-behaved strategy that runs beside the hostile ones."""

from __future__ import annotations

from msup import Context, Event, Quote, Strategy


class Neighbour(Strategy):
    """Orders at every quote, by what it has seen so far and by its own random numbers."""

    seen = 0

    def on_event(self, ctx: Context, event: Event) -> None:
        """Decide."""
        if not isinstance(event, Quote):
            return
        self.seen += 1
        side = ctx.buy if ctx.rng.random() < 0.5 else ctx.sell
        side("BTCUSDT.BINANCE", 1 + self.seen % 7, limit=60_000 + ctx.rng.randrange(100))


class Idler(Neighbour):
    """One of many: like the neighbour, under an address of its own."""
