"""msup for Python: strategies that run under the msup supervisor.

    import msup

    class Breakout(msup.Strategy):
        class Config(msup.Config):
            window: Annotated[int, msup.param(min=2, max=500, unit="bars", apply="bar")] = 20

        class State(msup.State):
            highs: list[Decimal] = []

        def on_event(self, ctx, event):
            if isinstance(event, msup.Bar):
                ...
                ctx.buy(event.instrument, "0.01", limit=ctx.price(event.instrument, event.close, msup.Side.BUY))

Guaranteed: events arrive one at a time, in one thread, in the order of their steps; ``ctx.now()`` and ``ctx.rng`` are
the same in a replay; an exception is a fault and never the end of the process; ``self.state`` comes back after a
restart.

Not to be assumed: that an intent is an order (the gate and I decide), that the clock of the machine is readable, that
anything outside ``self.state`` survives, that every quote is seen (quotes are conflated under load; executions never
are).

Test with ``msup.testing.Harness``. Neighbouring systems speak ``msup.boundary``.
"""

from msup.compute import ComputePart
from msup.config import Config, Param, param
from msup.context import Context
from msup.error import (
    ConfigError,
    DeterminismError,
    EntryError,
    LimitError,
    MsupError,
    ProtocolError,
    StateError,
    StepError,
)
from msup.event import (
    Bar,
    BookDelta,
    BookSnapshot,
    ComputeResult,
    ComputeUnavailable,
    ConfigUpdate,
    Cursor,
    Event,
    EventKind,
    EventSkipped,
    Execution,
    ExecutionReport,
    ExecutionSnapshot,
    IntentsDiscarded,
    Level,
    ManualSignal,
    MarketEvent,
    OpenIntent,
    OpenOrder,
    Position,
    Quality,
    Quote,
    QuoteBar,
    Recovered,
    Restriction,
    RiskEvent,
    SafetyCommand,
    SafetyEvent,
    Shutdown,
    Timer,
    Trade,
    TradeAggregate,
    TradeSide,
    TradingState,
    TradingStatus,
)
from msup.health import Health, HealthLevel
from msup.instrument import Instrument
from msup.intent import (
    AlertBody,
    AlertIntent,
    AmendBody,
    AmendIntent,
    CancelBody,
    CancelIntent,
    Intent,
    IntentKind,
    IntentMeta,
    NoOp,
    NoOpBody,
    OrderBody,
    OrderIntent,
    OrderType,
    PositionBody,
    PositionIntent,
    RiskContext,
    RiskHint,
    RiskHintBody,
    Severity,
    Side,
    Status,
    TimeInForce,
)
from msup.message import Answer, Fault, Lane, RunMode
from msup.rng import Rng
from msup.state import State
from msup.strategy import Strategy
from msup.version import __version__

__all__ = [
    "AlertBody",
    "AlertIntent",
    "AmendBody",
    "AmendIntent",
    "Answer",
    "Bar",
    "BookDelta",
    "BookSnapshot",
    "CancelBody",
    "CancelIntent",
    "ComputePart",
    "ComputeResult",
    "ComputeUnavailable",
    "Config",
    "ConfigError",
    "ConfigUpdate",
    "Context",
    "Cursor",
    "DeterminismError",
    "EntryError",
    "Event",
    "EventKind",
    "EventSkipped",
    "Execution",
    "ExecutionReport",
    "ExecutionSnapshot",
    "Fault",
    "Health",
    "HealthLevel",
    "Instrument",
    "Intent",
    "IntentKind",
    "IntentMeta",
    "IntentsDiscarded",
    "Lane",
    "Level",
    "LimitError",
    "ManualSignal",
    "MarketEvent",
    "MsupError",
    "NoOp",
    "NoOpBody",
    "OpenIntent",
    "OpenOrder",
    "OrderBody",
    "OrderIntent",
    "OrderType",
    "Param",
    "Position",
    "PositionBody",
    "PositionIntent",
    "ProtocolError",
    "Quality",
    "Quote",
    "QuoteBar",
    "Recovered",
    "Restriction",
    "RiskContext",
    "RiskEvent",
    "RiskHint",
    "RiskHintBody",
    "Rng",
    "RunMode",
    "SafetyCommand",
    "SafetyEvent",
    "Severity",
    "Shutdown",
    "Side",
    "State",
    "StateError",
    "Status",
    "StepError",
    "Strategy",
    "TimeInForce",
    "Timer",
    "Trade",
    "TradeAggregate",
    "TradeSide",
    "TradingState",
    "TradingStatus",
    "__version__",
    "param",
]
