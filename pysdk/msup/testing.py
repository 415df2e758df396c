"""Test a strategy without a supervisor.

``Harness`` drives the class through the same session and the same bytes as the runner: every event is encoded and
decoded, and so is every answer. What it leaves out is the sandbox, the gate and the ledger: intents come back as the
strategy made them.

    h = Harness(EmaCross, config={"fast": 3}, instruments=[Instrument.of("BTCUSDT", tick="0.01", lot="0.001")])
    answer = h.quote("BTCUSDT", bid="64000.10", ask="64000.12")
    assert answer.intents == []
    h.advance(60_000_000_000)                      # fires timers that are due
    again = h.restore(h.checkpoint())              # a new process with the same state
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from msup.codec import Decoder, SupervisorDecoder, encode
from msup.dec import to_dec
from msup.error import MsupError
from msup.event import (
    Bar,
    ConfigUpdate,
    Event,
    Execution,
    ExecutionReport,
    ManualSignal,
    Quote,
    Shutdown,
    Timer,
    Trade,
    TradeSide,
)
from msup.instrument import Instrument
from msup.intent import RiskContext, Side
from msup.limit import MAX_ANSWER_BYTES, MAX_INTENTS, MAX_STATE_BYTES
from msup.message import (
    Address,
    Answer,
    Batch,
    BatchAnswer,
    BatchEvent,
    CheckpointRequest,
    Deliver,
    Fault,
    Healthcheck,
    HealthReport,
    Init,
    Lane,
    RunMode,
    RunnerMessage,
    TimerOp,
)
from msup.parttesting import PartFaultError, PartHarness
from msup.session import Session
from msup.strategy import Strategy

__all__ = [
    "DEFAULT_RISK",
    "START_NS",
    "Checkpoint",
    "Harness",
    "PartFaultError",
    "PartHarness",
    "StrategyFaultError",
]

Number = Decimal | int | str

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, when a harness begins unless told otherwise."""

DEFAULT_RISK = RiskContext.of(
    max_slippage="0.001", max_delay_ns=1_000_000_000, holding_time_ns=60_000_000_000, budget=1000
)


class StrategyFaultError(AssertionError):
    """The strategy answered with a fault; ``fault`` holds it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.kind}: {fault.message}\n{fault.traceback}")
        self.fault = fault


@dataclass(frozen=True)
class Checkpoint:
    """The state's bytes and what the supervisor's core would keep beside them."""

    step: int
    now_ns: int
    state_version: int
    data: bytes
    timers: Mapping[str, int]


class Harness:
    """One instance of a strategy in this process.

    A fault raises ``StrategyFaultError`` unless ``raise_faults`` is false.
    """

    def __init__(
        self,
        strategy_class: type[Strategy[Any, Any]],
        *,
        config: Mapping[str, object] | None = None,
        instruments: Sequence[Instrument] = (),
        start_ns: int = START_NS,
        run_seed: int = 1,
        instance: str = "test",
        mode: RunMode = RunMode.RESEARCH,
        risk_context: RiskContext | None = DEFAULT_RISK,
        max_intents: int = MAX_INTENTS,
        raise_faults: bool = True,
        restore: Checkpoint | None = None,
    ) -> None:
        """Start the strategy: ``init_answer`` is what ``on_init`` answered."""
        self.strategy_class = strategy_class
        self.config: dict[str, object] = dict(config or {})
        self.instruments = {instrument.id: instrument for instrument in instruments}
        self.now_ns = start_ns
        self.step = 1
        self.timers: dict[str, int] = {}
        self.raise_faults = raise_faults
        self._options: dict[str, Any] = {
            "run_seed": run_seed,
            "instance": instance,
            "mode": mode,
            "risk_context": risk_context,
            "max_intents": max_intents,
            "raise_faults": raise_faults,
        }
        if restore is not None:
            self.now_ns, self.step, self.timers = restore.now_ns, restore.step, dict(restore.timers)
        self._seq = 0
        self._source_seq = 0
        self._session = Session(strategy_class)
        self._from_supervisor = SupervisorDecoder()
        self._from_runner: Decoder[RunnerMessage] = Decoder(RunnerMessage)
        self.init_answer = self._init(restore)

    # --- events ------------------------------------------------------------------------------------------------------

    def quote(
        self,
        instrument: str,
        bid: Number | None = None,
        ask: Number | None = None,
        *,
        bid_size: Number | None = 1,
        ask_size: Number | None = 1,
        quality: int = 0,
        after_ns: int = 0,
    ) -> Answer:
        """Deliver a quote, ``after_ns`` later than now."""
        self.now_ns += after_ns
        return self.send(
            Quote(*self._market(instrument, quality), _opt(bid), _opt(bid_size), _opt(ask), _opt(ask_size))
        )  # fmt: skip

    def trade(
        self,
        instrument: str,
        price: Number,
        quantity: Number,
        side: TradeSide = TradeSide.UNKNOWN,
        *,
        quality: int = 0,
        after_ns: int = 0,
    ) -> Answer:
        """Deliver a public trade."""
        self.now_ns += after_ns
        return self.send(Trade(*self._market(instrument, quality), to_dec(price), to_dec(quantity), side, ""))

    def bar(
        self,
        instrument: str,
        close: Number,
        *,
        open: Number | None = None,
        high: Number | None = None,
        low: Number | None = None,
        volume: Number = 1,
        period_ns: int = 60_000_000_000,
        quality: int = 0,
    ) -> Answer:
        """Deliver a finished bar, ``period_ns`` later than now; what is left out equals ``close``."""
        start = self.now_ns
        self.now_ns += period_ns
        header = self._market(instrument, quality)
        prices = (_or(open, close), _or(high, close), _or(low, close), to_dec(close))
        return self.send(
            Bar(
                instrument,
                "test",
                start,
                self.now_ns,
                header[4],
                header[5],
                quality,
                period_ns,
                *prices,
                to_dec(volume),
            )
        )

    def execution(
        self,
        key: str,
        report: ExecutionReport = ExecutionReport.FILLED,
        *,
        instrument: str = "",
        side: Side = Side.BUY,
        price: Number | None = None,
        quantity: Number | None = None,
        remaining: Number | None = 0,
        final: bool = True,
        reason: str = "",
        throttled: bool = False,
        after_ns: int = 0,
    ) -> Answer:
        """Deliver an execution report on the order of an intent."""
        self.now_ns += after_ns
        name = instrument or next(iter(self.instruments), "TEST")
        return self.send(
            Execution(
                key,
                report,
                name,
                self.now_ns,
                self.now_ns,
                "",
                TradeSide(side),
                _opt(price),
                _opt(quantity),
                _opt(remaining),
                final,
                reason,
                throttled,
                None,
                "",
            )
        )

    def manual(self, name: str, values: Mapping[str, object] | None = None, *, operator: str = "test") -> Answer:
        """Deliver an operator's signal."""
        return self.send(ManualSignal(self.now_ns, self.now_ns, operator, name, dict(values or {})))

    def update_config(self, values: Mapping[str, object], *, why: str = "test") -> Answer:
        """Deliver a new configuration: the present one with ``values`` in it."""
        self.config = {**self.config, **values}
        digest = hashlib.sha256(repr(sorted(self.config.items())).encode()).digest()
        return self.send(ConfigUpdate(dict(self.config), digest, "test", why, self.now_ns))

    def shutdown(self, reason: str = "STOP") -> Answer:
        """Deliver the last event."""
        return self.send(Shutdown(reason))

    def advance(self, ns: int) -> list[Answer]:
        """Let time pass and fire the timers that fall due meanwhile, in order; their answers."""
        until = self.now_ns + ns
        answers: list[Answer] = []
        while self.timers:
            due, timer_id = min((due, timer_id) for timer_id, due in self.timers.items())
            if due > until:
                break
            del self.timers[timer_id]
            self.now_ns = max(self.now_ns, due)
            answers.append(self.send(Timer(timer_id, due)))
        self.now_ns = until
        return answers

    def send(self, event: Event) -> Answer:
        """Deliver any event at the present time; one step."""
        self.step += 1
        self._seq += 1
        return self._settle(
            self.deliver_bytes(encode(Deliver(self._seq, self.step, self.now_ns, f"trace-{self.step}", event)))
        )

    def send_batch(self, events: Sequence[tuple[int, Event]], batch_size: int) -> list[Answer]:
        """Deliver (processed_ts, event) pairs in batches, as research and replay do; the answers that are not empty.

        Timers that the strategy sets are kept, not fired.
        """
        answers: list[Answer] = []
        done = 0
        while done < len(events):
            part = events[done : done + batch_size]
            self._seq += 1
            rows = [BatchEvent(ts, f"trace-{self.step + 1 + i}", event) for i, (ts, event) in enumerate(part)]
            message = self._from_supervisor.decode(encode(Batch(self._seq, self.step + 1, rows)))
            found = self._from_runner.decode(encode(self._session.batch(cast(Batch, message))))
            assert isinstance(found, BatchAnswer)
            done += found.consumed
            self.step += found.consumed
            self.now_ns = part[found.consumed - 1][0]
            answer = Answer(
                found.seq,
                found.step,
                found.intents,
                found.state_updates,
                found.timers,
                found.compute,
                found.telemetry,
                found.fault,
            )
            if not self._settle(answer).empty:
                answers.append(answer)
        return answers

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def strategy(self) -> Any:
        """The strategy object, to look at its state."""
        return self._session.strategy

    def checkpoint(self) -> Checkpoint:
        """The state as the supervisor would store it."""
        self._seq += 1
        data = self._session.checkpoint(CheckpointRequest(self._seq, self.step, MAX_STATE_BYTES))
        if isinstance(data, Answer):
            raise StrategyFaultError(cast(Fault, data.fault))
        return Checkpoint(self.step, self.now_ns, self.strategy_class.state_schema_version, data, dict(self.timers))

    def restore(self, checkpoint: Checkpoint, strategy_class: type[Strategy[Any, Any]] | None = None) -> Harness:
        """A new harness from a checkpoint, as after a restart; with another class, as after an update."""
        return Harness(
            strategy_class or self.strategy_class,
            config=self.config,
            instruments=list(self.instruments.values()),
            restore=checkpoint,
            **self._options,
        )

    def health(self) -> HealthReport:
        """Ask ``on_healthcheck``."""
        self._seq += 1
        found = self._from_runner.decode(encode(self._session.health(Healthcheck(self._seq))))
        assert isinstance(found, HealthReport)
        return found

    # --- inside ------------------------------------------------------------------------------------------------------

    def deliver_bytes(self, payload: bytes) -> Answer:
        """Deliver an encoded Deliver; the answer has been through the wire's form, its timers are not kept."""
        message = self._from_supervisor.decode(payload)
        if not isinstance(message, Deliver):
            raise MsupError(f"a {type(message).__name__} is no Deliver")
        return self._through_the_wire(self._session.deliver(message))

    def _through_the_wire(self, answer: Answer) -> Answer:
        found = self._from_runner.decode(encode(answer))
        assert isinstance(found, Answer)
        return found

    def _settle(self, answer: Answer) -> Answer:
        if answer.fault is not None and self.raise_faults:
            raise StrategyFaultError(answer.fault)
        for timer in answer.timers:
            if timer.op is TimerOp.SET:
                self.timers[timer.timer_id] = timer.due_ts
            else:
                self.timers.pop(timer.timer_id, None)
        return answer

    def _init(self, restore: Checkpoint | None) -> Answer:
        options = self._options
        message = Init(
            self._seq,
            self.step,
            self.now_ns,
            f"trace-{self.step}",
            Address("test-bot", self.strategy_class.__name__.lower(), options["instance"]),
            "0.0.0",
            hashlib.sha256(b"msup.testing").digest()[:16],
            "test-run",
            1,
            Lane.LL,
            options["mode"],
            options["run_seed"],
            self.config,
            list(self.instruments.values()),
            options["risk_context"],
            restore is not None,
            restore.state_version if restore is not None else 0,
            len(restore.data) if restore is not None else None,
            MAX_ANSWER_BYTES,
            MAX_STATE_BYTES,
            options["max_intents"],
        )
        decoded = self._from_supervisor.decode(encode(message))
        answer = self._session.init(cast(Init, decoded), None if restore is None else restore.data)
        found = self._through_the_wire(answer)
        if restore is not None and found.fault is None:
            return found  # its timers are those of the checkpoint already
        return self._settle(found)

    def _market(self, instrument: str, quality: int) -> tuple[str, str, int, int, int, int, int]:
        self._source_seq += 1
        return (instrument, "test", self.now_ns, self.now_ns, self._source_seq, self._source_seq, quality)


def _opt(value: Number | None) -> Decimal | None:
    return None if value is None else to_dec(value)


def _or(value: Number | None, otherwise: Number) -> Decimal:
    return to_dec(otherwise if value is None else value)
