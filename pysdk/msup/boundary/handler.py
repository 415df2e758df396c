"""What the writer of an I provides, and what it is given."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from msup.dec import to_dec
from msup.event import Execution, ExecutionReport, TradeSide
from msup.intent import Intent, OrderIntent, PositionIntent, Side, Status
from msup.message import Address

if TYPE_CHECKING:
    from msup.boundary.receiver import Receiver

__all__ = ["NEVER_ARRIVED", "Handler", "NeverArrived", "Offered", "Outcome", "committed", "rejected"]

REASON_UNKNOWN: Final = "UNKNOWN"


class NeverArrived(enum.Enum):
    """The type of ``NEVER_ARRIVED``."""

    NEVER_ARRIVED = 0


NEVER_ARRIVED: Final = NeverArrived.NEVER_ARRIVED
"""An answer of ``on_unknown``: the venue does not have it and never will. Only then is the handler called once more."""


class Outcome(Struct, frozen=True):
    """I's final word on an intent, and what there is to report at once. Made by ``committed`` and ``rejected``."""

    status: Status
    reason: str
    reports: tuple[Execution, ...]


def committed(*reports: Execution) -> Outcome:
    """I has taken the intent. What the venue makes of its order is told by reports, now or later."""
    return Outcome(Status.COMMITTED, "", reports)


def rejected(reason: str, *reports: Execution) -> Outcome:
    """I has not taken the intent and never will; ``reason`` is a short tag."""
    return Outcome(Status.REJECTED, reason, reports)


class Offered(Struct, frozen=True):
    """One intent for the handler. ``key`` names it for ever: give it to the venue as the client order id."""

    address: Address
    key: str
    step: int
    ordinal: int
    digest: bytes
    valid_until: int
    """ns since the Unix epoch: after it the intent must not be acted on."""
    intent: Intent
    now: int
    """ns since the Unix epoch, by the receiver's clock."""

    @property
    def side(self) -> TradeSide:
        """Of an order; of a position intent that of its target; else unknown."""
        if isinstance(self.intent, OrderIntent):
            return TradeSide.BUY if self.intent.body.side is Side.BUY else TradeSide.SELL
        if isinstance(self.intent, PositionIntent):
            return TradeSide.SELL if self.intent.body.target_quantity < 0 else TradeSide.BUY
        return TradeSide.UNKNOWN

    @property
    def instrument(self) -> str:
        """That it is about, ``""`` where there is none."""
        return getattr(self.intent.body, "instrument", "")

    def accepted(self, *, remaining: Decimal | int | str | None = None, venue_order_id: str = "") -> Execution:
        """The venue has the order; ``remaining`` is open."""
        return self.report(ExecutionReport.ACCEPTED, remaining=remaining, venue_order_id=venue_order_id)

    def filled(
        self,
        price: Decimal | int | str,
        quantity: Decimal | int | str,
        *,
        remaining: Decimal | int | str = 0,
        fee: str = "",
    ) -> Execution:
        """A fill at ``price`` of ``quantity``, after which ``remaining`` is open."""
        rest = to_dec(remaining, "remaining")
        return self.report(
            ExecutionReport.FILLED, price=price, quantity=quantity, remaining=rest, final=not rest, fee=fee or None
        )

    def canceled(self, reason: str = "") -> Execution:
        """Nothing more will happen to the order."""
        return self.report(ExecutionReport.CANCELED, final=True, reason=reason)

    def refused(self, reason: str, *, throttled: bool = False) -> Execution:
        """The venue has refused the order; ``throttled`` for a 429 or its like."""
        return self.report(ExecutionReport.REJECTED, final=True, reason=reason, throttled=throttled)

    def report(
        self,
        kind: ExecutionReport,
        *,
        price: Decimal | int | str | None = None,
        quantity: Decimal | int | str | None = None,
        remaining: Decimal | int | str | None = None,
        final: bool = False,
        reason: str = "",
        side: TradeSide | None = None,
        instrument: str | None = None,
        venue_order_id: str = "",
        throttled: bool = False,
        fee: Decimal | int | str | None = None,
        fee_asset: str = "",
    ) -> Execution:
        """Any report on this intent."""
        return Execution(
            key=self.key,
            report=kind,
            instrument=self.instrument if instrument is None else instrument,
            event_ts=self.now,
            recv_ts=self.now,
            venue_order_id=venue_order_id,
            side=self.side if side is None else side,
            price=None if price is None else to_dec(price, "price"),
            quantity=None if quantity is None else to_dec(quantity, "quantity"),
            remaining=None if remaining is None else to_dec(remaining, "remaining"),
            final=final,
            reason=reason,
            throttled=throttled,
            fee=None if fee is None else to_dec(fee, "fee"),
            fee_asset=fee_asset,
        )


class Handler:
    """An I's own part: subclass it and write ``on_offer``.

    The calls for one instance come one after another, in the order of the offers; those of several instances run on
    threads of their own.
    """

    receiver: Receiver
    """That calls this handler: for later reports, positions, and keys that were unknown."""

    def on_offer(self, offered: Offered) -> Outcome:
        """Act on an intent. Called once for a key, after the key is durable, and before ``valid_until``.

        An exception leaves open what has happened: ``on_unknown`` is asked.
        """
        raise NotImplementedError(f"{type(self).__name__} has no on_offer")

    def on_unknown(self, offered: Offered) -> Outcome | NeverArrived | None:
        """``on_offer`` was begun for this key and its outcome was not recorded: ask the venue what became of it.

        Return the outcome; or ``NEVER_ARRIVED``, and ``on_offer`` is called once more; or None when nobody can say yet:
        nothing is done (at most once), M is told *unknown*, and this is asked again: every few seconds, when M asks for
        the key, when I starts.
        """
        return None
