"""The events that reach a strategy (EV-1), in the shape in which they travel (PROTOCOL.md section 3).

Times are ns since the Unix epoch, UTC. Money is ``Decimal``. Every struct is frozen: an event is a fact.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from msgspec import Meta

from msup.intent import Intent, Status
from msup.limit import MAX_LEVELS, MAX_ROWS
from msup.wire import U8, U32, U64, Bin32, Dec, Id, Nanos, Tag, Text, Values, Wire


class EventKind(enum.IntEnum):
    """The first element of every encoded event. Values are fixed for ever."""

    QUOTE = 1
    TRADE = 2
    TRADE_AGGREGATE = 3
    BOOK_DELTA = 4
    BOOK_SNAPSHOT = 5
    BAR = 6
    QUOTE_BAR = 7
    TRADING_STATUS = 8
    EXECUTION = 16
    EXECUTION_SNAPSHOT = 17
    RISK = 24
    SAFETY = 25
    TIMER = 32
    MANUAL_SIGNAL = 33
    COMPUTE_RESULT = 34
    COMPUTE_UNAVAILABLE = 35
    CONFIG_UPDATE = 36
    RECOVERED = 37
    EVENT_SKIPPED = 38
    INTENTS_DISCARDED = 39
    SHUTDOWN = 40


class Quality(enum.IntFlag):
    """Flags of ``event.quality`` (DQ-1); those of conflated events are OR-ed together."""

    STALE = 1
    GAP = 2
    DUP = 4
    OUT_OF_ORDER = 8
    CLOCK_SKEW = 16
    CROSSED = 32
    WARMUP = 64


class TradeSide(enum.IntEnum):
    """The aggressor of a public trade."""

    UNKNOWN = 0
    BUY = 1
    SELL = 2


class TradingState(enum.IntEnum):
    """The venue's state for one instrument."""

    UNKNOWN = 0
    OPEN = 1
    HALTED = 2
    CLOSED = 3
    AUCTION = 4


class ExecutionReport(enum.IntEnum):
    """What I reports of an order. Unknown is a state, never a failure."""

    ACCEPTED = 1
    REJECTED = 2
    FILLED = 3
    CANCELED = 4
    AMENDED = 5
    UNKNOWN = 6


class SafetyCommand(enum.IntEnum):
    """An order of E."""

    FREEZE = 1
    UNFREEZE = 2
    CANCEL_ALL = 3
    HEDGE_TO_FLAT = 4
    HALT = 5


class MarketEvent(Wire):
    """The header of every market event. ``event_ts`` and ``venue_seq`` are 0 where the venue gives none."""

    instrument: Id
    source: Id
    event_ts: Nanos
    recv_ts: Nanos
    seq: U64
    venue_seq: U64
    quality: U8


class Quote(MarketEvent, tag=1):
    """The best bid and ask; a missing side or size is None."""

    kind: ClassVar[EventKind] = EventKind.QUOTE
    bid: Dec | None
    bid_size: Dec | None
    ask: Dec | None
    ask_size: Dec | None


class Trade(MarketEvent, tag=2):
    """One public trade; ``trade_id`` is the venue's, ``""`` where it gives none."""

    kind: ClassVar[EventKind] = EventKind.TRADE
    price: Dec
    quantity: Dec
    side: TradeSide
    trade_id: Id


class TradeAggregate(MarketEvent, tag=3):
    """What conflation makes of several trades (BP-1)."""

    kind: ClassVar[EventKind] = EventKind.TRADE_AGGREGATE
    count: U64
    buy_quantity: Dec
    sell_quantity: Dec
    first: Dec
    last: Dec
    high: Dec
    low: Dec
    vwap: Dec
    first_seq: U64
    last_seq: U64


class Level(Wire):
    """One price level of a book; quantity zero removes it."""

    price: Dec
    quantity: Dec


Levels = Annotated[list[Level], Meta(max_length=MAX_LEVELS)]


class BookDelta(MarketEvent, tag=4):
    """Changed levels; ``first_seq`` and ``last_seq`` span the venue's update numbers that it merges."""

    kind: ClassVar[EventKind] = EventKind.BOOK_DELTA
    first_seq: U64
    last_seq: U64
    bids: Levels
    asks: Levels


class BookSnapshot(MarketEvent, tag=5):
    """Replaces the book; levels best first."""

    kind: ClassVar[EventKind] = EventKind.BOOK_SNAPSHOT
    last_seq: U64
    bids: Levels
    asks: Levels


class Bar(MarketEvent, tag=6):
    """A finished trade bar; ``event_ts`` is its start."""

    kind: ClassVar[EventKind] = EventKind.BAR
    period_ns: Nanos
    open: Dec
    high: Dec
    low: Dec
    close: Dec
    volume: Dec


class QuoteBar(MarketEvent, tag=7):
    """A finished bar of bid and ask; ``event_ts`` is its start, a missing value None."""

    kind: ClassVar[EventKind] = EventKind.QUOTE_BAR
    period_ns: Nanos
    bid_open: Dec | None
    bid_high: Dec | None
    bid_low: Dec | None
    bid_close: Dec | None
    bid_size: Dec | None
    ask_open: Dec | None
    ask_high: Dec | None
    ask_low: Dec | None
    ask_close: Dec | None
    ask_size: Dec | None


class TradingStatus(MarketEvent, tag=8):
    """A halt, a close, a reopening."""

    kind: ClassVar[EventKind] = EventKind.TRADING_STATUS
    status: TradingState
    reason: Tag


class Execution(Wire, tag=16):
    """One report by I on the order of one intent (BP-2: never dropped, in order).

    ``price`` and ``quantity`` are those of this fill; ``remaining`` is open after it, None where not known; after
    ``final`` nothing more happens to the order; ``throttled`` marks a 429 or its like.
    """

    kind: ClassVar[EventKind] = EventKind.EXECUTION
    key: Id
    report: ExecutionReport
    instrument: Id
    event_ts: Nanos
    recv_ts: Nanos
    venue_order_id: Id
    side: TradeSide
    price: Dec | None
    quantity: Dec | None
    remaining: Dec | None
    final: bool
    reason: Tag
    throttled: bool
    fee: Dec | None
    fee_asset: Tag


class Position(Wire):
    """A signed position: above zero long."""

    instrument: Id
    quantity: Dec


Positions = Annotated[list[Position], Meta(max_length=MAX_ROWS)]


class OpenOrder(Wire):
    """An order that can still be filled."""

    key: Id
    remaining: Dec


class Cursor(Wire):
    """How far a source has been taken (ST-1, BC-H)."""

    source: Id
    source_epoch: U64
    seq: U64


class ExecutionSnapshot(Wire, tag=17):
    """The only way out of unknown positions (BC-I); reports at or below ``cursor`` are contained."""

    kind: ClassVar[EventKind] = EventKind.EXECUTION_SNAPSHOT
    event_ts: Nanos
    recv_ts: Nanos
    positions: Positions
    open: Annotated[list[OpenOrder], Meta(max_length=MAX_ROWS)]
    cursor: Cursor


class Restriction(Wire):
    """A reason to trade less; ``size_factor`` (0..1) scales only the part of an order that increases risk."""

    size_factor: Dec
    limit_only: bool
    reduce_only: bool
    no_trade: bool


class RiskEvent(Wire, tag=24):
    """J imposes or releases a restriction (BP-3)."""

    kind: ClassVar[EventKind] = EventKind.RISK
    event_ts: Nanos
    recv_ts: Nanos
    restrict_id: Id
    release: bool
    restriction: Restriction
    reason: Tag


class SafetyEvent(Wire, tag=25):
    """A command of E (BP-3)."""

    kind: ClassVar[EventKind] = EventKind.SAFETY
    event_ts: Nanos
    recv_ts: Nanos
    command: SafetyCommand
    reason: Tag


class Timer(Wire, tag=32):
    """A timer set by the strategy is due; it arrives as ``on_timer(ctx, timer_id, due_ts)``."""

    kind: ClassVar[EventKind] = EventKind.TIMER
    timer_id: Tag
    due_ts: Nanos


class ManualSignal(Wire, tag=33):
    """An operator's message to the strategy."""

    kind: ClassVar[EventKind] = EventKind.MANUAL_SIGNAL
    event_ts: Nanos
    recv_ts: Nanos
    operator: Id
    name: Tag
    values: Values


class ComputeResult(Wire, tag=34):
    """The answer of the compute part (LN-2)."""

    kind: ClassVar[EventKind] = EventKind.COMPUTE_RESULT
    task: Tag
    request_step: U64
    ordinal: U32
    requested_ts: Nanos
    payload: bytes


class ComputeUnavailable(Wire, tag=35):
    """A compute request will not be answered (LN-5)."""

    kind: ClassVar[EventKind] = EventKind.COMPUTE_UNAVAILABLE
    task: Tag
    request_step: U64
    ordinal: U32
    reason: Tag


class ConfigUpdate(Wire, tag=36):
    """The whole new configuration, who changed it, why and when (HR-1, HR-3)."""

    kind: ClassVar[EventKind] = EventKind.CONFIG_UPDATE
    config: Values
    config_hash: Bin32
    who: Id
    why: Text
    changed_ts: Nanos


class OpenIntent(Wire):
    """An intent that is not terminal."""

    key: Id
    status: Status
    intent: Intent


OpenIntents = Annotated[list[OpenIntent], Meta(max_length=MAX_ROWS)]


class Recovered(Wire, tag=37):
    """Delivered to strategies that cannot replay; it arrives as ``on_recovered``."""

    kind: ClassVar[EventKind] = EventKind.RECOVERED
    positions: Positions
    open: OpenIntents
    intents_since_checkpoint: OpenIntents


class EventSkipped(Wire, tag=38):
    """An earlier delivery killed the runner and was not delivered again."""

    kind: ClassVar[EventKind] = EventKind.EVENT_SKIPPED
    skipped_step: U64
    skipped_kind: U8
    reason: Tag


class IntentsDiscarded(Wire, tag=39):
    """The intents of an earlier answer were never sent; do not wait for them."""

    kind: ClassVar[EventKind] = EventKind.INTENTS_DISCARDED
    discarded_step: U64
    keys: Annotated[list[Id], Meta(max_length=MAX_ROWS)]
    reason: Tag


class Shutdown(Wire, tag=40):
    """The last delivery before an orderly stop; it arrives as ``on_shutdown(ctx, reason)``."""

    kind: ClassVar[EventKind] = EventKind.SHUTDOWN
    reason: Tag


Event = (
    Quote
    | Trade
    | TradeAggregate
    | BookDelta
    | BookSnapshot
    | Bar
    | QuoteBar
    | TradingStatus
    | Execution
    | ExecutionSnapshot
    | RiskEvent
    | SafetyEvent
    | Timer
    | ManualSignal
    | ComputeResult
    | ComputeUnavailable
    | ConfigUpdate
    | Recovered
    | EventSkipped
    | IntentsDiscarded
    | Shutdown
)
"""Any event."""
