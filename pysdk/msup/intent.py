"""Intents: the only thing that leaves M (NN-5, DM-4), in the shape in which they travel (PROTOCOL.md section 4).

Strategies make them through ``ctx`` (``ctx.buy`` and its kin), which fills the mandatory metadata; tests read them
back.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import ClassVar

from msup.dec import to_dec
from msup.wire import Dec, Id, Nanos, Tag, Wire


class IntentKind(enum.IntEnum):
    """The first element of every encoded intent. Values are fixed for ever."""

    ORDER = 1
    CANCEL = 2
    AMEND = 3
    POSITION = 4
    ALERT = 5
    NO_OP = 6
    RISK_HINT = 7


class Side(enum.IntEnum):
    """Who buys."""

    BUY = 1
    SELL = 2


class OrderType(enum.IntEnum):
    """How an order is priced; ``ctx`` derives it from ``limit`` and ``stop``."""

    MARKET = 1
    LIMIT = 2
    STOP = 3
    STOP_LIMIT = 4


class TimeInForce(enum.IntEnum):
    """How long an order stays: till canceled, immediate or cancel, fill or kill, the day."""

    GTC = 1
    IOC = 2
    FOK = 3
    DAY = 4


class Severity(enum.IntEnum):
    """Grades an alert."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class Status(enum.IntEnum):
    """The state of an intent in the ledger and at I (GT-7)."""

    NOT_SEEN = 0
    STAGED = 1
    APPROVED = 2
    OFFERED = 3
    COMMITTED = 4
    REJECTED = 5
    EXPIRED = 6
    WITHDRAWN = 7


class RiskContext(Wire):
    """What J needs to judge an intent (BC-J); mandatory on every intent (GT-4).

    ``max_slippage`` is a fraction of the price (0.001 = 10 bp), ``budget`` the largest notional at stake in the quote
    currency.
    """

    max_slippage: Dec
    max_delay_ns: Nanos
    holding_time_ns: Nanos
    budget: Dec

    @classmethod
    def of(
        cls,
        *,
        max_slippage: Decimal | int | str,
        max_delay_ns: int,
        holding_time_ns: int,
        budget: Decimal | int | str,
    ) -> RiskContext:
        """Make one from any exact number; floats are refused."""
        return cls(to_dec(max_slippage, "max_slippage"), max_delay_ns, holding_time_ns, to_dec(budget, "budget"))


class IntentMeta(Wire):
    """Mandatory on every intent, or it is discarded (GT-4).

    ``name`` and ``proposal`` are ``""`` where there is none.
    """

    bot: Id
    strategy: Id
    strategy_version: Id
    instance: Id
    run_id: Id
    trace_id: Id
    key: Id
    risk_context: RiskContext | None
    name: Id
    proposal: Id


class OrderBody(Wire):
    """Asks I for a new order."""

    instrument: Id
    side: Side
    type: OrderType
    quantity: Dec
    limit_price: Dec | None
    stop_price: Dec | None
    time_in_force: TimeInForce
    reduce_only: bool
    post_only: bool


class CancelBody(Wire):
    """Asks I to cancel the order of an earlier intent."""

    instrument: Id
    target_key: Id


class AmendBody(Wire):
    """Asks I to change the order of an earlier intent; None leaves a value as it is."""

    instrument: Id
    target_key: Id
    quantity: Dec | None
    limit_price: Dec | None


class PositionBody(Wire):
    """Asks I to bring the position to a signed target."""

    instrument: Id
    target_quantity: Dec
    limit_price: Dec | None


class AlertBody(Wire):
    """Tells people something; ``code`` is a short tag, ``instrument`` ``""`` where there is none."""

    severity: Severity
    code: Tag
    instrument: Id


class NoOpBody(Wire):
    """Records the decision to do nothing."""

    reason: Tag


class RiskHintBody(Wire):
    """Tells J and E something; they decide."""

    hint: Tag
    instrument: Id
    value: Dec | None


class OrderIntent(Wire, tag=1):
    """A new order."""

    kind: ClassVar[IntentKind] = IntentKind.ORDER
    meta: IntentMeta
    body: OrderBody


class CancelIntent(Wire, tag=2):
    """A cancel."""

    kind: ClassVar[IntentKind] = IntentKind.CANCEL
    meta: IntentMeta
    body: CancelBody


class AmendIntent(Wire, tag=3):
    """A change of an order."""

    kind: ClassVar[IntentKind] = IntentKind.AMEND
    meta: IntentMeta
    body: AmendBody


class PositionIntent(Wire, tag=4):
    """A target position."""

    kind: ClassVar[IntentKind] = IntentKind.POSITION
    meta: IntentMeta
    body: PositionBody


class AlertIntent(Wire, tag=5):
    """An alert."""

    kind: ClassVar[IntentKind] = IntentKind.ALERT
    meta: IntentMeta
    body: AlertBody


class NoOp(Wire, tag=6):
    """A decision to do nothing."""

    kind: ClassVar[IntentKind] = IntentKind.NO_OP
    meta: IntentMeta
    body: NoOpBody


class RiskHint(Wire, tag=7):
    """A hint to J and E."""

    kind: ClassVar[IntentKind] = IntentKind.RISK_HINT
    meta: IntentMeta
    body: RiskHintBody


Intent = OrderIntent | CancelIntent | AmendIntent | PositionIntent | AlertIntent | NoOp | RiskHint
"""Any intent."""
