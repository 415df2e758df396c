"""``ctx``: all that a strategy may know about the present, and all that it may ask for (DM-3, GT-4, NN-7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from msup.dec import WireDecimal, to_dec
from msup.error import LimitError, StepError
from msup.instrument import Instrument
from msup.intent import (
    AlertBody,
    AlertIntent,
    AmendBody,
    AmendIntent,
    CancelBody,
    CancelIntent,
    Intent,
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
    TimeInForce,
)
from msup.key import Keys
from msup.limit import (
    INT64_MAX,
    INT64_MIN,
    MAX_ANSWER_BYTES,
    MAX_COMPUTES,
    MAX_ID_BYTES,
    MAX_INTENTS,
    MAX_TAG_BYTES,
    MAX_TELEMETRY,
    MAX_TIMERS,
)
from msup.message import (
    Address,
    ComputeRequest,
    Fault,
    Init,
    Lane,
    RunMode,
    StateUpdates,
    Telemetry,
    TimerOp,
    TimerRequest,
)
from msup.rng import StepRng, step_seed
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

Number = Decimal | int | str
"""What is accepted as money: exact. A float is refused with a hint."""

_NOTHING: Final[list[Any]] = []  # stands for every empty part of an answer; never written to
_CHECKPOINT: Final = StateUpdates(True, None)
_NONE_YET: Final = object()
_IMMUTABLE: Final[frozenset[type]] = frozenset({Decimal, WireDecimal, int, str})
# Looking a member up in its enum costs as much as making the body of an order.
_BUY, _SELL, _GTC = Side.BUY, Side.SELL, TimeInForce.GTC
_MARKET, _LIMIT, _STOP, _STOP_LIMIT = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT


class Context:
    """One per instance. Effects are collected while a callback runs and leave as one answer when it has returned."""

    __slots__ = (
        "_address",
        "_checkpoint",
        "_compute",
        "_config",
        "_dirty",
        "_instruments",
        "_intents",
        "_keys",
        "_lane",
        "_max_intents",
        "_mode",
        "_now",
        "_open",
        "_quantity",
        "_quantity_given",
        "_restored",
        "_risk_context",
        "_rng",
        "_run_id",
        "_run_seed",
        "_step",
        "_strategy_version",
        "_telemetry",
        "_timers",
        "_trace_id",
    )  # fmt: skip

    def __init__(self) -> None:
        """An empty context at time 0; the session fills it."""
        self._address = Address("", "", "")
        self._strategy_version = ""
        self._run_id = ""
        self._run_seed = 0
        self._lane = Lane.LL
        self._mode = RunMode.LIVE
        self._keys = Keys(self._address, bytes(16))
        self._instruments: Mapping[str, Instrument] = MappingProxyType({})
        self._risk_context: RiskContext | None = None
        self._max_intents = MAX_INTENTS
        self._config: Any = None
        self._restored = False
        self._now = 0
        self._step = 0
        self._trace_id = ""
        self._quantity_given: object = _NONE_YET
        self._quantity: Decimal = to_dec(0)
        self._open = False
        self._dirty = False
        self._checkpoint = False
        self._intents: list[Intent] = []
        self._timers: list[TimerRequest] = []
        self._compute: list[ComputeRequest] = []
        self._telemetry: list[Telemetry] = []
        self._rng = StepRng(lambda: self._step, lambda: step_seed(self._run_seed, self._address.instance, self._step))

    # --- the present -------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """The processed time of this step, ns since the Unix epoch, UTC.

        It never decreases, and is the same in a replay.
        """
        return self._now

    @property
    def rng(self) -> StepRng:
        """Chance that a replay repeats: seeded from run seed, instance and step. A ``random.Random``."""
        return self._rng

    @property
    def step(self) -> int:
        """The number of this delivery, from 1, for ever."""
        return self._step

    @property
    def run_id(self) -> str:
        """The run of the supervisor process; differs in a replay, so decide nothing by it."""
        return self._run_id

    @property
    def trace_id(self) -> str:
        """Follows this event through every domain."""
        return self._trace_id or f"{self._run_id}-{self._step}"

    @property
    def mode(self) -> RunMode:
        """Live, replay, research, shadow or smoke; differs in a replay, so decide nothing by it."""
        return self._mode

    @property
    def lane(self) -> Lane:
        """The lane of this instance."""
        return self._lane

    @property
    def bot(self) -> str:
        """The bot's id."""
        return self._address.bot

    @property
    def strategy(self) -> str:
        """The strategy's id."""
        return self._address.strategy

    @property
    def instance(self) -> str:
        """The instance's id."""
        return self._address.instance

    @property
    def config(self) -> Any:
        """The configuration in force: the same object as ``self.config``."""
        return self._config

    @property
    def restored(self) -> bool:
        """Whether this process began from a checkpoint."""
        return self._restored

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The instruments of this instance by id."""
        return self._instruments

    @property
    def risk_context(self) -> RiskContext | None:
        """What an intent carries unless the call says otherwise."""
        return self._risk_context

    # --- intents -----------------------------------------------------------------------------------------------------

    def buy(
        self,
        instrument: str | Instrument,
        quantity: Number,
        *,
        limit: Number | None = None,
        stop: Number | None = None,
        tif: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
        post_only: bool = False,
        risk: RiskContext | None = None,
        name: str = "",
        proposal: str = "",
    ) -> str:
        """Ask for a buy order; the idempotency key comes back and names it in ``cancel``, ``amend`` and executions.

        Without ``limit`` and ``stop`` a market order, with one a limit or stop order, with both a stop-limit order.
        With ``name`` the key is the name's: the same name never orders twice.
        """
        return self._order(
            _BUY, instrument, quantity, limit, stop, tif, reduce_only, post_only, risk, name, proposal
        )  # fmt: skip

    def sell(
        self,
        instrument: str | Instrument,
        quantity: Number,
        *,
        limit: Number | None = None,
        stop: Number | None = None,
        tif: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
        post_only: bool = False,
        risk: RiskContext | None = None,
        name: str = "",
        proposal: str = "",
    ) -> str:
        """Ask for a sell order; see ``buy``."""
        return self._order(
            _SELL, instrument, quantity, limit, stop, tif, reduce_only, post_only, risk, name, proposal
        )  # fmt: skip

    def cancel(
        self, key: str, *, instrument: str | Instrument = "", risk: RiskContext | None = None, name: str = ""
    ) -> str:
        """Ask to cancel the order of an earlier intent.

        ``instrument`` may be left out where the instance has just one.
        """
        body = CancelBody(self._instrument_of(instrument), _text(key, "key", MAX_ID_BYTES))
        return self._emit(CancelIntent, body, risk, name, "")

    def amend(
        self,
        key: str,
        *,
        quantity: Number | None = None,
        limit: Number | None = None,
        instrument: str | Instrument = "",
        risk: RiskContext | None = None,
        name: str = "",
        proposal: str = "",
    ) -> str:
        """Ask to change quantity, limit price or both of an earlier order; None leaves a value as it is."""
        if quantity is None and limit is None:
            raise ValueError("amend: give a quantity, a limit or both")
        body = AmendBody(
            self._instrument_of(instrument),
            _text(key, "key", MAX_ID_BYTES),
            None if quantity is None else _positive(quantity, "quantity"),
            None if limit is None else to_dec(limit, "limit"),
        )
        return self._emit(AmendIntent, body, risk, name, proposal)

    def target(
        self,
        instrument: str | Instrument,
        quantity: Number,
        *,
        limit: Number | None = None,
        risk: RiskContext | None = None,
        name: str = "",
        proposal: str = "",
    ) -> str:
        """Ask I to bring the position to a signed target: above zero long, 0 flat."""
        body = PositionBody(
            self._instrument_of(instrument),
            to_dec(quantity, "quantity"),
            None if limit is None else to_dec(limit, "limit"),
        )
        return self._emit(PositionIntent, body, risk, name, proposal)

    def alert(
        self,
        code: str,
        severity: Severity = Severity.WARNING,
        *,
        instrument: str | Instrument = "",
        risk: RiskContext | None = None,
        name: str = "",
    ) -> str:
        """Tell people something: a short code of at most 64 bytes, never free text."""
        body = AlertBody(Severity(severity), _text(code, "code"), _id_of(instrument))
        return self._emit(AlertIntent, body, risk, name, "")

    def no_op(self, reason: str, *, risk: RiskContext | None = None, name: str = "") -> str:
        """Record the decision to do nothing."""
        return self._emit(NoOp, NoOpBody(_text(reason, "reason")), risk, name, "")

    def risk_hint(
        self,
        hint: str,
        *,
        instrument: str | Instrument = "",
        value: Number | None = None,
        risk: RiskContext | None = None,
        name: str = "",
    ) -> str:
        """Tell J and E something; they decide."""
        body = RiskHintBody(_text(hint, "hint"), _id_of(instrument), None if value is None else to_dec(value, "value"))
        return self._emit(RiskHint, body, risk, name, "")

    # --- other effects -----------------------------------------------------------------------------------------------

    def set_timer(self, timer_id: str, at_ns: int | None = None, *, after_ns: int | None = None) -> int:
        """Call ``on_timer`` at a processed time, or so long from now; replaces a timer of the same id.

        Returns the time.
        """
        if (at_ns is None) == (after_ns is None):
            raise ValueError("set_timer: give either at_ns or after_ns")
        due = _nanos(self._now + after_ns if after_ns is not None else at_ns, "at_ns")
        self._add(self._timers, TimerRequest(TimerOp.SET, _text(timer_id, "timer_id"), due), MAX_TIMERS, "timers")
        return due

    def cancel_timer(self, timer_id: str) -> None:
        """Forget a timer; one that is not set is no error."""
        self._add(self._timers, TimerRequest(TimerOp.CANCEL, _text(timer_id, "timer_id"), 0), MAX_TIMERS, "timers")

    def submit_compute(self, task: str, payload: bytes, ttl_ns: int) -> int:
        """Ask the compute part (LN-2).

        The result comes as ``ComputeResult`` with this step and the returned ordinal.
        """
        if len(payload) > MAX_ANSWER_BYTES:
            raise ValueError(f"payload: {len(payload)} bytes; an answer holds at most {MAX_ANSWER_BYTES}")
        request = ComputeRequest(_text(task, "task"), bytes(payload), _nanos(ttl_ns, "ttl_ns"))
        self._add(self._compute, request, MAX_COMPUTES, "compute requests")
        return len(self._compute) - 1

    def telemetry(self, name: str, value: float | Decimal | str) -> None:
        """Report a number or a short tag under a name that the descriptor declares (DM-3)."""
        if isinstance(value, str):
            shown: float | str = _text(value, "telemetry tag", empty=True)
        else:
            shown = float(value)
            if not math.isfinite(shown):
                raise ValueError(f"telemetry {name}: {value} is not a finite number")
        self._add(self._telemetry, Telemetry(_text(name, "telemetry name"), shown), MAX_TELEMETRY, "telemetry values")

    def checkpoint(self) -> None:
        """Ask for a checkpoint after this step (ST-2)."""
        if not self._open:
            raise _closed()
        self._checkpoint = self._dirty = True

    # --- exact numbers -----------------------------------------------------------------------------------------------

    def price(self, instrument: str | Instrument, value: Decimal | float | str, side: Side | None = None) -> Decimal:
        """Round to the instrument's tick: down for a buy, up for a sell, to the nearest without a side.

        Takes a float.
        """
        return self._known(instrument).price(value, side)

    def quantity(self, instrument: str | Instrument, value: Decimal | float | str) -> Decimal:
        """Round towards zero to the instrument's lot. Takes a float."""
        return self._known(instrument).quantity(value)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _order(
        self,
        side: Side,
        instrument: str | Instrument,
        quantity: Number,
        limit: Number | None,
        stop: Number | None,
        tif: TimeInForce,
        reduce_only: bool,
        post_only: bool,
        risk: RiskContext | None,
        name: str,
        proposal: str,
    ) -> str:
        if limit is None:
            kind = _MARKET if stop is None else _STOP
        else:
            kind = _LIMIT if stop is None else _STOP_LIMIT
            limit = to_dec(limit, "limit")
        if quantity is not self._quantity_given:  # most strategies order one size, which is the same object for ever
            self._quantity = _positive(quantity, "quantity")
            self._quantity_given = quantity if type(quantity) in _IMMUTABLE else _NONE_YET
        body = OrderBody(
            self._instrument_of(instrument),
            side,
            kind,
            self._quantity,
            limit,
            None if stop is None else to_dec(stop, "stop"),
            tif if tif is _GTC or tif.__class__ is TimeInForce else TimeInForce(tif),
            bool(reduce_only),
            bool(post_only),
        )
        return self._emit(OrderIntent, body, risk, name, proposal)

    def _emit(self, intent: Any, body: Any, risk: RiskContext | None, name: str, proposal: str) -> str:
        intents = self._intents
        ordinal = len(intents)
        if not self._open:
            raise _closed()
        if ordinal >= self._max_intents:
            raise LimitError(
                f"more than {self._max_intents} intents in one step; spread them over several (a timer does)"
            )
        key = self._keys.named(_text(name, "name", MAX_ID_BYTES)) if name else self._keys.step(self._step, ordinal)
        address = self._address
        meta = IntentMeta(
            address.bot,
            address.strategy,
            self._strategy_version,
            address.instance,
            self._run_id,
            self._trace_id or f"{self._run_id}-{self._step}",
            key,
            self._risk_context if risk is None else _risk(risk),
            name,
            proposal and _text(proposal, "proposal", MAX_ID_BYTES),
        )
        intents.append(intent(meta, body))
        self._dirty = True
        return key

    def _add(self, part: list[Any], item: Any, most: int, what: str) -> None:
        if not self._open:
            raise _closed()
        if len(part) >= most:
            raise LimitError(f"more than {most} {what} in one step")
        part.append(item)
        self._dirty = True

    def _instrument_of(self, instrument: str | Instrument) -> str:
        if (
            isinstance(instrument, str) and 0 < len(instrument) <= MAX_ID_BYTES // 4
        ):  # whatever the characters, it is short
            return instrument
        if instrument == "":
            if len(self._instruments) == 1:
                return next(iter(self._instruments))
            raise ValueError(f"name the instrument: this instance has {len(self._instruments)}")
        return _id_of(instrument)

    def _known(self, instrument: str | Instrument) -> Instrument:
        if isinstance(instrument, Instrument):
            return instrument
        found = self._instruments.get(instrument)
        if found is None:
            known = ", ".join(self._instruments) or "it has none"
            raise ValueError(f"instrument {instrument!r} is not one of this instance: {known}")
        return found

    # What follows is the session's side; strategies have no use for it.

    def _fill(self, init: Init, config: Any, risk_context: RiskContext | None) -> None:
        self._address = init.address
        self._strategy_version = init.strategy_version
        self._run_id = init.run_id
        self._run_seed = init.run_seed
        self._lane = init.lane
        self._mode = init.mode
        self._keys = Keys(init.address, init.lineage)
        self._instruments = MappingProxyType({instrument.id: instrument for instrument in init.instruments})
        self._risk_context = init.risk_context if risk_context is None else _risk(risk_context)
        self._max_intents = min(init.max_intents or MAX_INTENTS, MAX_INTENTS)
        self._restored = init.restored
        self._config = config

    def _take(
        self, fault: Fault | None
    ) -> tuple[list[Intent], StateUpdates | None, list[Any], list[Any], list[Any], Fault | None]:
        """The parts of the answer, and a clean slate. With a fault there are no effects: half a step is none."""
        if not self._dirty:
            return (_NOTHING, None, _NOTHING, _NOTHING, _NOTHING, fault)
        parts = (
            self._intents,
            _CHECKPOINT if self._checkpoint else None,
            self._timers,
            self._compute,
            self._telemetry,
            None,
        )
        self._intents = []
        self._timers = []
        self._compute = []
        self._telemetry = []
        self._checkpoint = self._dirty = False
        return parts if fault is None else (_NOTHING, None, _NOTHING, _NOTHING, _NOTHING, fault)


def _closed() -> StepError:
    return StepError(
        "ctx takes effects only while a callback of this step runs: not from threads, on_healthcheck or later"
    )


def _positive(value: Number, what: str) -> Decimal:
    exact = to_dec(value, what)
    if exact <= 0:
        raise ValueError(f"{what}: {value} is not above zero; the side says whether to buy or to sell")
    return exact


def _risk(risk: RiskContext) -> RiskContext:
    if risk.__class__ is not RiskContext:
        raise TypeError(f"risk: {risk!r} is a {type(risk).__name__}; make one with RiskContext.of(…)")
    slippage, budget = to_dec(risk.max_slippage, "max_slippage"), to_dec(risk.budget, "budget")
    if slippage is risk.max_slippage and budget is risk.budget:
        return risk
    return RiskContext(slippage, risk.max_delay_ns, risk.holding_time_ns, budget)


def _text(value: str, what: str, most: int = MAX_TAG_BYTES, *, empty: bool = False) -> str:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{what}: {value!r} is a {type(value).__name__}; pass a str")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what}: {value!r} is not valid Unicode") from None
    if size > most or (not size and not empty):
        raise ValueError(f"{what}: {size} bytes; allowed are 1 to {most}")
    return str(value)


def _id_of(instrument: str | Instrument) -> str:
    found = instrument.id if isinstance(instrument, Instrument) else instrument
    return _text(found, "instrument", MAX_ID_BYTES, empty=True)


def _nanos(value: int | None, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what}: {value!r} is a {type(value).__name__}; pass an int of nanoseconds")
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(f"{what}: {value} does not fit 64 bits")
    return int(value)
