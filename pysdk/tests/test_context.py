"""What ctx offers, seen through the harness, which speaks the wire's forms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msup
import pytest
from msup import Context, OrderType, RiskContext, Severity, Side, TimeInForce
from msup.key import named_key, step_key
from msup.message import Address, TimerOp
from msup.testing import DEFAULT_RISK, START_NS, Harness, StrategyFaultError

BTC = msup.Instrument.of("BTCUSDT", tick="0.01", lot="0.001")
ETH = msup.Instrument.of("ETHUSDT", tick="0.01", lot="0.01")


class Doing(msup.Strategy):
    """Runs what the test gives it, at the first event."""

    todo: Callable[[Context], object]

    def on_event(self, ctx: Context, event: msup.Event) -> None:
        type(self).todo(ctx)


def doing(
    todo: Callable[[Context], object], instruments: tuple[msup.Instrument, ...] = (BTC,), **options: Any
) -> msup.Answer:
    """The answer to one quote."""
    strategy = type("Doing", (Doing,), {"todo": staticmethod(todo)})
    return Harness(strategy, instruments=instruments, **options).quote("BTCUSDT", "1", "2")


def only(answer: msup.Answer) -> Any:
    """The answer's one intent."""
    (intent,) = answer.intents
    return intent


# Proves: GT-4, DM-4, BC-A
def test_metadata_is_filled_in() -> None:
    keys: list[str] = []
    answer = doing(
        lambda ctx: keys.extend([ctx.buy("BTCUSDT", 1), ctx.sell("BTCUSDT", 1), ctx.alert("X", name="once")])
    )
    address = Address("test-bot", "doing", "test")
    for ordinal, intent in enumerate(answer.intents[:2]):
        meta = intent.meta
        assert (meta.bot, meta.strategy, meta.strategy_version, meta.instance) == ("test-bot", "doing", "0.0.0", "test")
        assert (meta.run_id, meta.trace_id, meta.name) == ("test-run", "trace-2", "")
        assert meta.risk_context == DEFAULT_RISK
        assert meta.key == keys[ordinal]
        assert meta.key == step_key(address, _lineage(), 2, ordinal)
    assert answer.intents[2].meta.key == keys[2] == named_key(address, _lineage(), "once")
    assert answer.intents[2].meta.name == "once"


def _lineage() -> bytes:
    import hashlib

    return hashlib.sha256(b"msup.testing").digest()[:16]


# Proves: DM-4
def test_order_types_follow_from_the_prices() -> None:
    answer = doing(
        lambda ctx: (
            ctx.buy("BTCUSDT", "0.5"),
            ctx.sell(BTC, 1, limit="2.5", tif=TimeInForce.IOC, post_only=True),
            ctx.buy("BTCUSDT", Decimal(1), stop=3, reduce_only=True),
            ctx.sell("BTCUSDT", 1, limit=2, stop=3, proposal="p-1"),
        )
    )
    bodies: list[Any] = [intent.body for intent in answer.intents]
    assert [body.type for body in bodies] == [OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT]
    assert [body.side for body in bodies] == [Side.BUY, Side.SELL, Side.BUY, Side.SELL]
    assert bodies[0].quantity == Decimal("0.5")
    assert (bodies[1].limit_price, bodies[1].time_in_force, bodies[1].post_only) == (
        Decimal("2.5"),
        TimeInForce.IOC,
        True,
    )
    assert (bodies[2].stop_price, bodies[2].reduce_only, bodies[2].time_in_force) == (3, True, TimeInForce.GTC)
    assert answer.intents[3].meta.proposal == "p-1"


class Growing:
    """An integer that is another one each time it is asked, as a mutable number of somebody's library may be."""

    def __init__(self) -> None:
        self.value = 0

    def __index__(self) -> int:
        self.value += 1
        return self.value

    def __int__(self) -> int:
        return self.__index__()


# Proves: DM-4
def test_each_order_has_its_own_quantity() -> None:
    size, growing = Decimal("0.5"), Growing()
    quantities: list[Any] = [size, size, 2, size, growing, growing, Decimal("0.50"), "3", size]
    answer = doing(lambda ctx: [ctx.buy("BTCUSDT", quantity) for quantity in quantities])
    bodies: list[Any] = [intent.body for intent in answer.intents]
    found = [str(body.quantity) for body in bodies]
    assert found == ["0.5", "0.5", "2", "0.5", "1", "2", "0.5", "3", "0.5"]


# Proves: DM-4
def test_the_other_intents() -> None:
    key = "0" * 32
    answer = doing(
        lambda ctx: (
            ctx.cancel(key),
            ctx.amend(key, quantity=2, instrument="BTCUSDT"),
            ctx.amend(key, limit="1.5"),
            ctx.target("BTCUSDT", "-0.25", limit=7),
            ctx.alert("FEED_SLOW", Severity.CRITICAL, instrument=BTC),
            ctx.no_op("SPREAD"),
            ctx.risk_hint("VOLATILE", value="1.5"),
        )
    )
    kinds = [int(intent.kind) for intent in answer.intents]
    assert kinds == [2, 3, 3, 4, 5, 6, 7]
    bodies: list[Any] = [intent.body for intent in answer.intents]
    assert (bodies[0].instrument, bodies[0].target_key) == ("BTCUSDT", key)
    assert (bodies[1].quantity, bodies[1].limit_price, bodies[2].limit_price) == (2, None, Decimal("1.5"))
    assert (bodies[3].target_quantity, bodies[3].limit_price) == (Decimal("-0.25"), 7)
    assert (bodies[4].severity, bodies[4].code, bodies[4].instrument) == (Severity.CRITICAL, "FEED_SLOW", "BTCUSDT")
    assert bodies[5].reason == "SPREAD"
    assert (bodies[6].hint, bodies[6].instrument, bodies[6].value) == ("VOLATILE", "", Decimal("1.5"))


# Proves: GT-4, BC-J
def test_risk_context_of_call_strategy_and_descriptor() -> None:
    own = RiskContext.of(max_slippage="0.01", max_delay_ns=5, holding_time_ns=6, budget=7)
    plain = RiskContext(Decimal("0.01"), 5, 6, Decimal(7))
    assert only(doing(lambda ctx: ctx.buy("BTCUSDT", 1, risk=own))).meta.risk_context == own
    assert only(doing(lambda ctx: ctx.buy("BTCUSDT", 1, risk=plain))).meta.risk_context == own
    assert only(doing(lambda ctx: ctx.buy("BTCUSDT", 1), risk_context=None)).meta.risk_context is None

    class Careful(msup.Strategy):
        risk_context = plain

        def on_event(self, ctx: Context, event: msup.Event) -> None:
            ctx.no_op("X")

    assert only(Harness(Careful).quote("BTCUSDT", 1, 2)).meta.risk_context == own


# Proves: DM-3, LN-2
def test_other_effects() -> None:
    def todo(ctx: Context) -> None:
        assert ctx.set_timer("a", ctx.now() + 5) == START_NS + 5
        assert ctx.set_timer("b", after_ns=7) == START_NS + 7
        ctx.cancel_timer("c")
        assert ctx.submit_compute("fit", b"\x00\x01", 9) == 0
        assert ctx.submit_compute("fit", b"", 9) == 1
        ctx.telemetry("spread", 1)
        ctx.telemetry("regime", "calm")
        ctx.telemetry("size", Decimal("0.5"))
        ctx.checkpoint()

    answer = doing(todo)
    assert [(t.op, t.timer_id, t.due_ts) for t in answer.timers] == [
        (TimerOp.SET, "a", START_NS + 5), (TimerOp.SET, "b", START_NS + 7), (TimerOp.CANCEL, "c", 0),
    ]  # fmt: skip
    assert [(c.task, c.payload, c.ttl_ns) for c in answer.compute] == [("fit", b"\x00\x01", 9), ("fit", b"", 9)]
    assert [(t.name, t.value) for t in answer.telemetry] == [("spread", 1.0), ("regime", "calm"), ("size", 0.5)]
    assert isinstance(answer.telemetry[0].value, float)
    assert answer.state_updates is not None
    assert answer.state_updates.checkpoint is True
    assert not answer.empty


_WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda ctx: ctx.buy("BTCUSDT", 0.5), "TypeError: quantity: 0.5 is a float, and money is never a float"),
    (lambda ctx: ctx.buy("BTCUSDT", 1, limit=1.0), "TypeError: limit: 1.0 is a float"),
    (lambda ctx: ctx.buy("BTCUSDT", -1), "ValueError: quantity: -1 is not above zero"),
    (lambda ctx: ctx.sell("BTCUSDT", 0), "ValueError: quantity: 0 is not above zero"),
    (lambda ctx: ctx.buy(7, 1), "TypeError: instrument: 7 is a int"),
    (lambda ctx: ctx.buy("x" * 129, 1), "ValueError: instrument: 129 bytes"),
    (lambda ctx: ctx.buy("ä" * 65, 1), "ValueError: instrument: 130 bytes"),
    (lambda ctx: ctx.buy("BTCUSDT", 1, tif=9), "ValueError: 9 is not a valid TimeInForce"),
    (lambda ctx: ctx.buy("BTCUSDT", 1, risk=0.1), "TypeError: risk: 0.1 is a float; make one with RiskContext"),
    (lambda ctx: ctx.amend("k"), "ValueError: amend: give a quantity, a limit or both"),
    (lambda ctx: ctx.cancel(""), "ValueError: key: 0 bytes"),
    (lambda ctx: ctx.alert("x" * 65), "ValueError: code: 65 bytes; allowed are 1 to 64"),
    (lambda ctx: ctx.alert("\ud800"), "ValueError: code: '\\ud800' is not valid Unicode"),
    (lambda ctx: ctx.alert("X", 4), "ValueError: 4 is not a valid Severity"),
    (lambda ctx: ctx.no_op(None), "TypeError: reason: None is a NoneType"),
    (lambda ctx: ctx.set_timer("a"), "ValueError: set_timer: give either at_ns or after_ns"),
    (lambda ctx: ctx.set_timer("a", 1.5), "TypeError: at_ns: 1.5 is a float"),
    (lambda ctx: ctx.set_timer("a", 2**63), "ValueError: at_ns: 9223372036854775808 does not fit"),
    (lambda ctx: ctx.telemetry("a", float("nan")), "ValueError: telemetry a: nan is not a finite number"),
    (lambda ctx: ctx.telemetry("a", "x" * 65), "ValueError: telemetry tag: 65 bytes"),
    (lambda ctx: ctx.submit_compute("a", bytes(70_000), 1), "ValueError: payload: 70000 bytes"),
    (lambda ctx: [ctx.no_op("X") for _ in range(257)], "LimitError: more than 256 intents in one step"),
    (lambda ctx: [ctx.cancel_timer("X") for _ in range(257)], "LimitError: more than 256 timers"),
    (lambda ctx: [ctx.telemetry("X", 1) for _ in range(65)], "LimitError: more than 64 telemetry values"),
    (lambda ctx: [ctx.submit_compute("X", b"", 1) for _ in range(65)], "LimitError: more than 64 compute requests"),
    (lambda ctx: ctx.price("NOPE", 1.0), "ValueError: instrument 'NOPE' is not one of this instance: BTCUSDT"),
]


# Proves: DM-3, GT-2
@pytest.mark.parametrize(("todo", "cause"), _WRONG)
def test_wrong_calls_say_what_is_wrong(todo: Callable[[Any], object], cause: str) -> None:
    answer = doing(todo, raise_faults=False)
    assert answer.fault is not None
    assert answer.fault.kind == "exception"
    assert answer.fault.message.startswith(cause)
    assert answer.intents == answer.timers == answer.telemetry == answer.compute == []


def test_the_instrument_may_be_left_out_where_there_is_one() -> None:
    assert only(doing(lambda ctx: ctx.cancel("k"))).body.instrument == "BTCUSDT"
    with pytest.raises(StrategyFaultError, match="name the instrument: this instance has 2"):
        doing(lambda ctx: ctx.cancel("k"), (BTC, ETH))


# Proves: GT-2
def test_the_descriptors_ceiling_counts() -> None:
    with pytest.raises(StrategyFaultError, match="more than 2 intents"):
        doing(lambda ctx: [ctx.no_op("X") for _ in range(3)], max_intents=2)


def test_floats_become_prices_by_the_tick() -> None:
    body = only(
        doing(lambda ctx: ctx.buy("BTCUSDT", ctx.quantity("BTCUSDT", 0.12345), limit=ctx.price(BTC, 1.2399, Side.BUY)))
    ).body
    assert (body.quantity, body.limit_price) == (Decimal("0.123"), Decimal("1.23"))


# Proves: SB-6
def test_effects_outside_a_step_are_refused() -> None:
    caught: list[BaseException] = []
    kept: list[Context] = []

    def later() -> None:
        try:
            kept[0].no_op("LATE")
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    assert doing(kept.append).empty
    thread = threading.Thread(target=later)
    thread.start()
    thread.join()
    assert isinstance(caught[0], msup.StepError)
    for call in (lambda: kept[0].set_timer("a", 1), lambda: kept[0].checkpoint(), lambda: kept[0].telemetry("a", 1)):
        with pytest.raises(msup.StepError):
            call()


# Proves: NN-7, BC-A
def test_the_present() -> None:
    seen: dict[str, Any] = {}

    def todo(ctx: Context) -> None:
        seen.update(
            now=ctx.now(), step=ctx.step, run=ctx.run_id, trace=ctx.trace_id, mode=ctx.mode, lane=ctx.lane, bot=ctx.bot,
            strategy=ctx.strategy, instance=ctx.instance, restored=ctx.restored, instruments=dict(ctx.instruments),
            risk=ctx.risk_context, config=ctx.config,
        )  # fmt: skip

    doing(todo)
    assert seen["now"] == START_NS
    assert seen["step"] == 2
    assert (seen["run"], seen["trace"], seen["mode"], seen["lane"]) == (
        "test-run",
        "trace-2",
        msup.RunMode.RESEARCH,
        msup.Lane.LL,
    )
    assert (seen["bot"], seen["strategy"], seen["instance"], seen["restored"]) == ("test-bot", "doing", "test", False)
    assert seen["instruments"] == {"BTCUSDT": BTC}
    assert seen["risk"] == DEFAULT_RISK
    assert isinstance(seen["config"], msup.Config)
