"""Callbacks, state and faults, through the harness."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import msup
import pytest
from msup import Context, Event, Health, HealthLevel
from msup.error import EntryError, ProtocolError
from msup.event import ComputeResult, EventSkipped, IntentsDiscarded, OpenIntent, Position, Recovered
from msup.limit import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES
from msup.message import Batch, CheckpointRequest, Deliver, Healthcheck
from msup.session import Session
from msup.strategy import check_class, hooks_of
from msup.testing import START_NS, Checkpoint, Harness, StrategyFaultError

BTC = msup.Instrument.of("BTCUSDT", tick="0.01", lot="0.001")


class Counter(msup.Strategy):
    """Counts events; every third one buys, a timer sells."""

    class Config(msup.Config):
        every: Annotated[int, msup.param(min=1, max=10)] = 3

    class State(msup.State):
        seen: int = 0
        drawn: float = 0.0
        last: Decimal | None = None

    def on_init(self, ctx: Context, config: Config, restored_state: State | None) -> None:
        self.was_restored = restored_state is not None
        if restored_state is None:
            ctx.set_timer("sell", after_ns=10_000_000_000)

    def on_event(self, ctx: Context, event: Event) -> None:
        if not isinstance(event, msup.Quote):
            return
        self.state.seen += 1
        self.state.drawn += ctx.rng.random()
        self.state.last = event.bid
        if event.bid is not None and self.state.seen % self.config.every == 0:
            ctx.buy(event.instrument, "0.001", limit=event.bid)

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        ctx.sell("BTCUSDT", "0.001", name=f"{timer_id}-{ts}")
        ctx.set_timer(timer_id, after_ns=10_000_000_000)

    def on_shutdown(self, ctx: Context, reason: str) -> None:
        ctx.no_op(reason)


def counter(**options: Any) -> Harness:
    return Harness(Counter, instruments=[BTC], **options)


# Proves: DM-3, RS-2
def test_events_timers_shutdown() -> None:
    h = counter()
    assert h.timers == {"sell": START_NS + 10_000_000_000}
    answers = [h.quote("BTCUSDT", "64000.10", "64000.12", after_ns=1_000_000) for _ in range(3)]
    assert [len(answer.intents) for answer in answers] == [0, 0, 1]
    fired = h.advance(25_000_000_000)
    assert [answer.intents[0].meta.name for answer in fired] == [
        f"sell-{START_NS + 10_000_000_000}",
        f"sell-{START_NS + 20_000_000_000}",
    ]
    assert h.now_ns == START_NS + 3_000_000 + 25_000_000_000
    shutdown: Any = h.shutdown("DRAIN").intents[0]
    assert shutdown.body.reason == "DRAIN"


# Proves: NN-3, ST-1, NN-7
def test_restore_goes_on_where_the_checkpoint_was() -> None:
    h = counter()
    for _ in range(4):
        h.quote("BTCUSDT", "64000.10", "64000.12")
    again = h.restore(h.checkpoint())
    assert again.strategy.was_restored
    assert again.strategy.state == h.strategy.state
    one = [h.quote("BTCUSDT", "64000.20", "64000.30") for _ in range(5)] + h.advance(10_000_000_000)
    two = [again.quote("BTCUSDT", "64000.20", "64000.30") for _ in range(5)] + again.advance(10_000_000_000)
    assert [(a.step, a.intents) for a in one] == [(a.step, a.intents) for a in two]
    assert h.checkpoint().data == again.checkpoint().data


# Proves: HR-1, HR-2, DOD-8
def test_config_update_without_a_hook() -> None:
    h = counter()
    h.update_config({"every": 1})
    assert h.strategy.config.every == 1
    assert len(h.quote("BTCUSDT", "1", "2").intents) == 1
    with pytest.raises(StrategyFaultError) as caught:
        h.update_config({"every": 11})
    assert caught.value.fault.kind == "config"
    assert h.strategy.config.every == 1


def test_config_update_with_a_hook() -> None:
    class Hooked(Counter):
        def on_config(self, ctx: Context, config: Any) -> None:
            ctx.no_op(f"EVERY_{config.every}_{self.config.every}_{ctx.config.every}")

    body: Any = Harness(Hooked).update_config({"every": 5}).intents[0].body
    assert body.reason == "EVERY_5_5_5"


# Proves: HR-1, AD-1
def test_a_wrong_config_at_the_start_is_a_fault() -> None:
    with pytest.raises(StrategyFaultError) as caught:
        counter(config={"every": 0})
    assert caught.value.fault.kind == "config"
    assert "every: 0 is too small" in caught.value.fault.message


# Proves: EV-1
def test_everything_else_arrives_at_on_event() -> None:
    seen: list[Event] = []

    class Seeing(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            seen.append(event)

    h = Harness(Seeing, instruments=[BTC])
    h.execution("k" * 32, price="1.5", quantity=2)
    h.manual("pause", {"why": "test", "n": 1, "x": 0.5, "d": Decimal("0.1"), "none": None})
    h.bar("BTCUSDT", "10", high="11")
    h.trade("BTCUSDT", "10", "1", msup.TradeSide.SELL)
    h.send(ComputeResult("fit", 3, 0, 5, b"x"))
    h.send(EventSkipped(3, 1, "KILLED"))
    h.send(IntentsDiscarded(3, ["k"], "LATE"))
    h.send(Recovered([Position("BTCUSDT", Decimal(1))], [], []))
    names = [type(event).__name__ for event in seen]
    assert names == [
        "Execution", "ManualSignal", "Bar", "Trade", "ComputeResult", "EventSkipped", "IntentsDiscarded", "Recovered",
    ]  # fmt: skip
    execution, manual, bar = seen[0], seen[1], seen[2]
    assert isinstance(execution, msup.Execution)
    assert (execution.price, execution.report, execution.side) == (
        Decimal("1.5"),
        msup.ExecutionReport.FILLED,
        msup.TradeSide.BUY,
    )
    assert isinstance(manual, msup.ManualSignal)
    assert manual.values == {"why": "test", "n": 1, "x": 0.5, "d": Decimal("0.1"), "none": None}
    assert isinstance(bar, msup.Bar)
    assert (bar.event_ts, bar.recv_ts, bar.high, bar.open) == (START_NS, START_NS + 60_000_000_000, 11, 10)


def test_on_recovered() -> None:
    class Informed(msup.Strategy):
        def on_recovered(
            self,
            ctx: Context,
            positions: Sequence[Position],
            open_intents: Sequence[OpenIntent],
            intents_since_checkpoint: Sequence[OpenIntent],
        ) -> None:
            ctx.no_op(f"{positions[0].quantity} {len(open_intents)} {len(intents_since_checkpoint)}")

    intent = counter(config={"every": 1}).quote("BTCUSDT", 1, 2).intents[0]
    row = OpenIntent(intent.meta.key, msup.Status.OFFERED, intent)
    body: Any = Harness(Informed).send(Recovered([Position("B", Decimal("-2.5"))], [row], [row, row])).intents[0].body
    assert body.reason == "-2.5 1 2"


# Proves: SB-6, DM-3
@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ValueError("no"), "exception"),
        (SystemExit(3), "exception"),
        (KeyboardInterrupt(), "exception"),
        (RecursionError("deep"), "exception"),
        (MemoryError(), "memory"),
        (msup.StateError("gone"), "state"),
        (GeneratorExit(), "exception"),
    ],
)
def test_exceptions_become_faults(raised: BaseException, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    class Raising(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            ctx.buy("BTCUSDT", 1)
            ctx.checkpoint()
            if isinstance(event, msup.Quote):
                raise raised

    h = Harness(Raising, instruments=[BTC], raise_faults=False)
    answer = h.quote("BTCUSDT", 1, 2)
    assert answer.fault is not None
    assert answer.fault.kind == kind
    assert type(raised).__name__ in answer.fault.message
    assert (answer.intents, answer.state_updates) == ([], None)
    assert type(raised).__name__ in capfd.readouterr().err
    # The session goes on, and nothing of the faulted step is left over.
    assert len(h.trade("BTCUSDT", 1, 1).intents) == 1


# Proves: SB-6
def test_faults_are_cut_to_their_limits() -> None:
    class Long(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            self.dig(200)

        def dig(self, depth: int) -> None:
            if depth % 2:
                self.dig(depth - 1)
            elif depth:
                [self.dig(depth - 1) for _ in range(1)]
            else:
                raise ValueError("ä\ud800" * 5000)

    fault = Harness(Long, raise_faults=False).quote("BTCUSDT", 1, 2).fault
    assert fault is not None
    assert len(fault.message.encode()) <= MAX_MESSAGE_BYTES
    assert len(fault.traceback.encode()) <= MAX_TRACEBACK_BYTES
    assert fault.message.startswith("ValueError: ä?ä?")


def test_an_exception_whose_text_raises_is_a_fault() -> None:
    class EvilError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Raising(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            raise EvilError

    fault = Harness(Raising, raise_faults=False).quote("B", 1, 2).fault
    assert fault is not None
    assert fault.kind == "exception"
    assert "Evil" in fault.message


# Proves: DM-3
def test_returning_something_is_a_fault() -> None:
    class Returning(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            ctx.no_op("X")
            return [1]  # type: ignore[return-value]

    answer = Harness(Returning, raise_faults=False).quote("B", 1, 2)
    assert answer.fault is not None
    assert answer.fault.kind == "bad_return"
    assert "returned a list" in answer.fault.message
    assert answer.intents == []


def test_a_fault_in_on_init_bars_events_and_checkpoints() -> None:
    class Failing(msup.Strategy):
        def on_init(self, ctx: Context, config: Any, restored_state: Any) -> None:
            raise ValueError("no")

        def on_event(self, ctx: Context, event: Event) -> None:
            ctx.no_op("X")

    h = Harness(Failing, raise_faults=False)
    assert h.init_answer.fault is not None
    answer = h.quote("B", 1, 2)
    assert answer.fault is not None
    assert "before on_init has succeeded" in answer.fault.message
    with pytest.raises(StrategyFaultError, match="on_init has not succeeded"):
        h.checkpoint()
    assert h.health().tag == "not_initialised"


# Proves: DM-3
@pytest.mark.parametrize(
    ("returned", "level", "tag"),
    [
        (None, HealthLevel.HEALTHY, ""),
        (Health.healthy("ok"), HealthLevel.HEALTHY, "ok"),
        (Health.degraded("slow"), HealthLevel.DEGRADED, "slow"),
        (Health.failing("x" * 64), HealthLevel.FAILING, "x" * 64),
        (Health.failing("x" * 65), HealthLevel.FAILING, "healthcheck_failed"),
        (Health(7), HealthLevel.FAILING, "healthcheck_failed"),  # type: ignore[arg-type]
        (True, HealthLevel.FAILING, "healthcheck_failed"),
        (ValueError("no"), HealthLevel.FAILING, "healthcheck_failed"),
    ],
)
def test_healthcheck(returned: Any, level: HealthLevel, tag: str) -> None:
    class Checked(msup.Strategy):
        def on_healthcheck(self, ctx: Context) -> Health | None:
            with pytest.raises(msup.StepError):
                ctx.no_op("NOT_NOW")
            if isinstance(returned, Exception):
                raise returned
            return returned

    h = Harness(Checked)
    report = h.health()
    assert (report.health, report.tag) == (level, tag)
    assert h.quote("B", 1, 2).empty


# --- migration -------------------------------------------------------------------------------------------------------


class OldState(msup.State):
    total: int = 3


class Old(msup.Strategy[msup.Config, OldState]):
    pass


class New(msup.Strategy):
    class State(msup.State):
        totals: list[int] = []  # noqa: RUF012

    state_schema_version = 2

    def migrate(self, from_version: int, data: bytes) -> State:
        old = msgspec.msgpack.decode(data, type=dict[str, int])
        return self.State(totals=[old["total"], from_version])


# Proves: ST-5
def test_migration() -> None:
    checkpoint = Harness(Old).checkpoint()
    h = Harness(Old).restore(checkpoint, New)
    assert h.strategy.state.totals == [3, 1]
    assert h.checkpoint().state_version == 2


# Proves: ST-5, AD-2
def test_states_that_cannot_be_read_are_faults() -> None:
    class NoHook(Old):
        state_schema_version = 2

    class WrongType(New):
        def migrate(self, from_version: int, data: bytes) -> Any:
            return 5

    checkpoint = Harness(Old).checkpoint()
    newer = Checkpoint(1, 0, 9, b"\x80", {})
    broken = Checkpoint(1, 0, 1, b"\xc1", {})
    for strategy, stored, cause in (
        (NoHook, checkpoint, "there is no migrate"),
        (WrongType, checkpoint, "migrate returned a int"),
        (Old, newer, "schema version 9, this strategy knows 1"),
        (Old, broken, "are no OldState"),
    ):
        with pytest.raises(StrategyFaultError, match=cause) as caught:
            Harness(Old).restore(stored, strategy)
        assert caught.value.fault.kind == "state"


class OwnBytes(msup.Strategy):
    def __init__(self) -> None:
        self.n = 0

    def on_event(self, ctx: Context, event: Event) -> None:
        self.n += 1

    def save_state(self) -> bytes:
        return str(self.n).encode()

    def load_state(self, data: bytes) -> None:
        self.n = int(data)


def test_a_form_of_ones_own() -> None:
    h = Harness(OwnBytes)
    h.quote("B", 1, 2)
    assert h.checkpoint().data == b"1"
    assert h.restore(h.checkpoint()).strategy.n == 1

    class Newer(OwnBytes):
        state_schema_version = 2

        def migrate(self, from_version: int, data: bytes) -> bytes:
            return data + b"0"

    assert h.restore(h.checkpoint(), Newer).strategy.n == 10

    class Broken(OwnBytes):
        def save_state(self) -> Any:
            return "text"

    with pytest.raises(StrategyFaultError, match="save_state returned a str"):
        Harness(Broken).checkpoint()


def test_a_replaced_state_object_is_a_fault() -> None:
    class Replacing(msup.Strategy):
        def on_event(self, ctx: Context, event: Event) -> None:
            self.state = {}

    h = Harness(Replacing)
    h.quote("B", 1, 2)
    with pytest.raises(StrategyFaultError, match="it must stay a State"):
        h.checkpoint()


def test_a_state_above_the_limit_is_a_fault() -> None:
    class Big(msup.Strategy):
        class State(msup.State):
            blob: bytes = bytes(1000)

    h = Harness(Big)
    session = Session(Big)
    assert isinstance(session.checkpoint(CheckpointRequest(1, 1, 10)), msup.Answer)
    answer = h._session.checkpoint(CheckpointRequest(1, 1, 999))  # pyright: ignore[reportPrivateUsage]
    assert isinstance(answer, msup.Answer)
    assert answer.fault is not None
    assert (answer.fault.kind, "at most 999 are allowed" in answer.fault.message) == ("state", True)


# --- the supervisor's mistakes ---------------------------------------------------------------------------------------


def test_protocol_errors() -> None:
    session = Session(Counter)
    assert session.health(Healthcheck(1)).tag == "not_initialised"
    with pytest.raises(ProtocolError, match="without events"):
        session.batch(Batch(1, 1, []))
    h = counter()
    with pytest.raises(msup.MsupError, match="is no Deliver"):
        h.deliver_bytes(b"\x92\x0b\x01")
    assert issubclass(Deliver, object)


# --- declarations ----------------------------------------------------------------------------------------------------


# Proves: AD-1
def test_nonsense_classes_are_refused() -> None:
    def make(**namespace: Any) -> type:
        return type("Bad", (msup.Strategy,), namespace)

    async def coroutine(self: Any, ctx: Any, event: Any) -> None: ...

    def generator(self: Any, ctx: Any, event: Any) -> Any:
        yield

    cases: list[tuple[dict[str, Any], str]] = [
        ({"Config": int}, "Bad.Config is not derived"),
        ({"State": dict}, "Bad.State is not derived"),
        ({"state_schema_version": 0}, "must be an int from 1"),
        ({"save_state": bytes}, "only one of save_state and load_state"),
        ({"on_event": coroutine}, "on_event is a generator or async"),
        ({"on_event": generator}, "on_event is a generator or async"),
    ]
    for namespace, cause in cases:
        with pytest.raises(EntryError, match=cause):
            check_class(make(**namespace))
    for other in (int, Counter(), None):
        with pytest.raises(EntryError, match="no class derived from"):
            check_class(other)


def test_type_arguments_name_config_and_state() -> None:
    class OwnConfig(msup.Config):
        n: int = 1

    class Typed(msup.Strategy[OwnConfig, OldState]):
        def on_event(self, ctx: Context, event: Event) -> None:
            self.state.total += self.config.n

    h = Harness(Typed, config={"n": 4})
    h.quote("B", 1, 2)
    assert h.strategy.state.total == 7
    assert hooks_of(Typed) == []
    assert hooks_of(New) == ["migrate"]
