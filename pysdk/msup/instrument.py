"""How an instrument is quantised (GT-1)."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

from msup.dec import to_dec
from msup.intent import Side
from msup.wire import Dec, Id, Wire

# The strategy may change the thread's decimal context; quantisation must not depend on it.
_EXACT = Context(prec=60)


class Instrument(Wire):
    """Price step, quantity step and the venue's limits; a zero decimal means: no such limit."""

    id: Id
    tick: Dec
    lot: Dec
    min_quantity: Dec
    max_quantity: Dec
    min_notional: Dec
    base: str
    quote: str
    venue: str

    @classmethod
    def of(
        cls,
        id: str,
        *,
        tick: Decimal | int | str,
        lot: Decimal | int | str,
        min_quantity: Decimal | int | str = 0,
        max_quantity: Decimal | int | str = 0,
        min_notional: Decimal | int | str = 0,
        base: str = "",
        quote: str = "",
        venue: str = "",
    ) -> Instrument:
        """Make one for a test."""
        return cls(
            id,
            to_dec(tick, "tick"),
            to_dec(lot, "lot"),
            to_dec(min_quantity, "min_quantity"),
            to_dec(max_quantity, "max_quantity"),
            to_dec(min_notional, "min_notional"),
            base,
            quote,
            venue,
        )

    def price(self, value: Decimal | float | str, side: Side | None = None) -> Decimal:
        """Round to the tick: down for a buy, up for a sell (never a worse price), to the nearest without a side."""
        rounding = {Side.BUY: ROUND_FLOOR, Side.SELL: ROUND_CEILING, None: ROUND_HALF_EVEN}[side]
        return _to_step(value, self.tick, rounding, "price")

    def quantity(self, value: Decimal | float | str) -> Decimal:
        """Round towards zero to the lot: rounding never increases risk."""
        exact = _exact(value, "quantity")
        size = _to_step(abs(exact), self.lot, ROUND_FLOOR, "quantity")
        return to_dec(-size if exact < 0 else size)


def _exact(value: Decimal | float | str, what: str) -> Decimal:
    # repr gives the shortest decimal that means this float: 0.1 is 0.1, not 0.1000000000000000055.
    exact = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise ValueError(f"{what}: {value} is not a finite number")
    return exact


def _to_step(value: Decimal | float | str, step: Decimal, rounding: str, what: str) -> Decimal:
    exact = _exact(value, what)
    if step == 0:
        return to_dec(exact, what)
    steps = _EXACT.divide(exact, step).to_integral_value(rounding=rounding, context=_EXACT)
    return to_dec(_EXACT.multiply(steps, step), what)
