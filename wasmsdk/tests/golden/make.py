"""Writes the golden files that hold the Rust SDK to the Python one: ``python wasmsdk/tests/golden/make.py``.

- ``number.txt``: arithmetic of ``decimal`` in its default context, and quantisation by an instrument.
- ``everything.bin``, ``ema_cross.bin``: conversations of a supervisor with the Python SDK, a byte S or R (who sends)
  before each frame. Texts of faults are left out: only their kind is the same in both languages.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, cast

import msgspec
import msup
from msup import Context, Event, Instrument, RiskContext, Side, TradeSide
from msup.codec import SupervisorDecoder, encode, frame
from msup.dec import to_dec
from msup.event import (
    Bar,
    ConfigUpdate,
    Cursor,
    Execution,
    ExecutionReport,
    ExecutionSnapshot,
    IntentsDiscarded,
    ManualSignal,
    OpenIntent,
    Position,
    Quote,
    Recovered,
    Shutdown,
    Timer,
)
from msup.message import Address, Answer, Batch, BatchAnswer, BatchEvent, Deliver, Healthcheck, Init, Lane, RunMode
from msup.session import Session

HERE = Path(__file__).parent
START = 1_767_225_600_000_000_000
RISK = RiskContext.of(max_slippage="0.001", max_delay_ns=250_000_000, holding_time_ns=60_000_000_000, budget=1000)
OWN_RISK = RiskContext.of(max_slippage="0.01", max_delay_ns=5, holding_time_ns=6, budget="7.5")


class Everything(msup.Strategy[Any, Any]):
    """Asks for everything that there is. Its twin is in tests/everything.rs."""

    class Config(msup.Config):
        every: Annotated[int, msup.param(min=1, max=10)] = 3
        size: Annotated[Decimal, msup.param(min="0.1")] = Decimal("0.5")
        ratio: float = 0.25
        venue: Literal["BINANCE", "KRAKEN"] = "BINANCE"
        loud: bool = False

    class State(msup.State):
        quotes: int = 0
        drawn: float = 0.0
        last: str = ""

    def on_init(self, ctx: Context, config: Any, restored_state: Any) -> None:
        if restored_state is None:
            ctx.set_timer("first", after_ns=10_000_000_000)

    def on_event(self, ctx: Context, event: Event) -> None:
        if isinstance(event, Quote):
            self.on_quote(ctx, event)
        elif isinstance(event, ManualSignal):
            self.on_manual(ctx, event)
        elif isinstance(event, Execution):
            ctx.no_op(f"EXECUTION_{int(event.report)}", name=f"x-{event.key}")
        else:
            ctx.no_op(type(event).__name__)

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        self.state.quotes += 1
        self.state.drawn += ctx.rng.random()
        if self.state.quotes % self.config.every or quote.bid is None or quote.ask is None:
            return
        name = quote.instrument
        middle = (quote.bid + quote.ask) / 2
        spread = quote.ask - quote.bid
        match (self.state.quotes // self.config.every) % 9:
            case 0:
                self.state.last = ctx.buy(name, self.config.size)
                ctx.sell(name, "0.25", limit=quote.ask, post_only=True, name=f"ask-{ctx.step}")
            case 1:
                ctx.buy(name, 2, stop=quote.ask, tif=msup.TimeInForce.DAY, risk=OWN_RISK)
                ctx.sell(name, 1, limit=quote.bid, stop=quote.ask, tif=msup.TimeInForce.IOC, proposal="p-1")
            case 2:
                ctx.cancel(self.state.last or "none", instrument=name)
                ctx.amend(self.state.last or "none", quantity=3, limit=middle, instrument=name)
            case 3:
                ctx.target(name, "-0.75", limit=quote.bid, proposal="flat")
                ctx.target(name, 0)
            case 4:
                ctx.alert("WIDE", msup.Severity.CRITICAL, instrument=name)
                ctx.alert("PLAIN")
                ctx.risk_hint("VOLATILE", instrument=name, value=spread)
                ctx.risk_hint("CALM")
            case 5:
                ctx.telemetry("mid", float(middle))
                ctx.telemetry("regime", self.config.venue)
                ctx.telemetry("spread", spread)
                ctx.set_timer("a", at_ns=ctx.now() + 5)
                ctx.cancel_timer("b")
                ctx.checkpoint()
            case 6:
                ctx.submit_compute("fit", bytes([ctx.step % 256, 0]), 9)
                ctx.submit_compute("fit", b"", 10)
            case 7:
                price = ctx.price(name, float(middle) * (1 + self.config.ratio * ctx.rng.random()), Side.SELL)
                ctx.sell(name, ctx.rng.randrange(1, 10), limit=price)
                ctx.buy(name, ctx.rng.choice([1, 2, 3]), limit=ctx.price(name, middle * Decimal("0.99"), Side.BUY))
                ctx.no_op(f"UNIFORM_{ctx.rng.uniform(5, 7):.3f}")
            case _:
                quantity = ctx.quantity(name, Decimal(10000) / quote.ask)
                ctx.no_op("BELOW_ONE_LOT") if quantity == 0 else ctx.buy(name, quantity)
                order = [1, 2, 3, 4, 5, 6, 7]
                ctx.rng.shuffle(order)
                ctx.no_op("".join(map(str, order)))

    def on_manual(self, ctx: Context, signal: ManualSignal) -> None:
        ctx.buy("BTCUSDT", 1)
        match signal.name:
            case "fail":
                raise ValueError("no")
            case "negative":
                ctx.buy("BTCUSDT", -1)
            case "unknown":
                ctx.price("NOPE", 1.0)
            case "many":
                for _ in range(300):
                    ctx.no_op("X")
            case "long":
                ctx.alert("x" * 65)
            case "state":
                raise msup.StateError("gone")
            case "nameless":
                ctx.cancel("k")
            case _:
                ctx.no_op("WITH", risk=OWN_RISK)

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        ctx.sell("BTCUSDT", "0.001", name=f"{timer_id}-{ts}")
        ctx.set_timer(timer_id, after_ns=10_000_000_000)

    def on_shutdown(self, ctx: Context, reason: str) -> None:
        ctx.no_op(reason)

    def on_config(self, ctx: Context, config: Any) -> None:
        ctx.no_op(f"EVERY_{config.every}_{self.config.every}_{config.size}_{config.venue}_{int(config.loud)}")

    def on_recovered(
        self,
        ctx: Context,
        positions: Sequence[Position],
        open_intents: Sequence[OpenIntent],
        intents_since_checkpoint: Sequence[OpenIntent],
    ) -> None:
        ctx.no_op(f"{positions[0].quantity} {len(open_intents)} {len(intents_since_checkpoint)}")

    def on_healthcheck(self, ctx: Context) -> msup.Health | None:
        return msup.Health.degraded("few") if self.state.quotes < 5 else None


class Conversation:
    """Speaks to a session as the supervisor does, and writes down what is said."""

    def __init__(self, strategy: type[Any], config: dict[str, Any], instruments: list[Instrument]) -> None:
        self.bytes = bytearray()
        self.session = Session(strategy)
        self.decode = SupervisorDecoder().decode
        self.seq: int = 0
        self.step: int = 1
        self.now: int = START
        self.source_seq: int = 0
        self.ask(
            Init(
                self.count(), 1, START, "run-1-1", Address("bot", "ema", "inst"), "1.0.0", bytes(range(16)), "run-1", 1,
                Lane.LL, RunMode.RESEARCH, 7, config, instruments, RISK, False, 0, None, 65536, 1 << 20, 20,
            )
        )  # fmt: skip

    def count(self) -> int:
        self.seq += 1
        return self.seq

    def ask(self, message: Any) -> Any:
        payload = encode(message)
        self.bytes += b"S" + frame(payload)
        decoded: Any = self.decode(payload)
        session = self.session
        if isinstance(decoded, Init):
            answer: Any = session.init(decoded, None)
        elif isinstance(decoded, Deliver):
            answer = session.deliver(decoded)
        elif isinstance(decoded, Batch):
            answer = session.batch(decoded)
        else:
            answer = session.health(cast(Healthcheck, decoded))
        if isinstance(answer, (Answer, BatchAnswer)) and answer.fault is not None:
            answer = msgspec.structs.replace(answer, fault=msup.Fault(answer.fault.kind, "", ""))
        self.bytes += b"R" + frame(encode(answer))
        return answer

    def deliver(self, event: Event, after_ns: int = 1_000_000) -> Answer:
        self.step += 1
        self.now += after_ns
        trace = "" if self.step % 3 == 0 else f"trace-{self.step}"
        return self.ask(Deliver(self.count(), self.step, self.now, trace, event))

    def batch(self, events: list[Event]) -> BatchAnswer:
        rows = [BatchEvent(self.now + (i + 1) * 1_000_000, "", event) for i, event in enumerate(events)]
        answer: BatchAnswer = self.ask(Batch(self.count(), self.step + 1, rows))
        self.step = answer.step
        self.now += answer.consumed * 1_000_000
        return answer

    def quote(self, instrument: str, bid: Any, ask: Any) -> Quote:
        self.source_seq += 1
        one = to_dec(1)
        sides = [None if price is None else to_dec(price) for price in (bid, ask)]
        return Quote(instrument, "test", self.now, self.now, self.source_seq, 0, 0, sides[0], one, sides[1], one)

    def health(self) -> None:
        self.ask(Healthcheck(self.count()))

    def execution(self, intent: Any, report: ExecutionReport, quantity: Any, final: bool) -> None:
        price = to_dec("100.5") if quantity is not None else None
        amount = None if quantity is None else to_dec(quantity)
        self.deliver(
            Execution(
                intent.meta.key, report, intent.body.instrument, self.now, self.now, "v-1", TradeSide(intent.body.side),
                price, amount, None, final, "", False, None, "",
            )
        )  # fmt: skip

    def snapshot(self, positions: list[Position]) -> None:
        self.deliver(ExecutionSnapshot(self.now, self.now, positions, [], Cursor("I", 1, 9)))

    def config(self, values: dict[str, Any]) -> None:
        self.deliver(ConfigUpdate(values, bytes(32), "op", "why", self.now))


BTC = Instrument.of("BTCUSDT", tick="0.01", lot="0.001")
ODD = Instrument.of("ODD", tick="0.05", lot="0.003")
FX = Instrument.of("EURUSD.FXCM", tick="0.00001", lot="1000")


def everything() -> bytes:
    """Every kind of effect, of event and of fault."""
    chance = random.Random(3)
    talk = Conversation(Everything, {"size": Decimal("0.75")}, [BTC, ODD])
    talk.health()

    def quotes(count: int) -> list[Event]:
        made: list[Event] = []
        for _ in range(count):
            bid = Decimal(chance.randrange(10_000, 9_000_000)) / 100
            name = chance.choice(["BTCUSDT", "ODD"])
            made.append(talk.quote(name, bid, bid + Decimal(chance.randrange(1, 99)) / 100))
        return made

    for event in quotes(90):
        talk.deliver(event)
    talk.health()
    for name in ("fail", "negative", "unknown", "many", "long", "state", "nameless", "else"):
        talk.deliver(ManualSignal(talk.now, talk.now, "op", name, {"x": 1}))
    pending = quotes(200)
    while pending:
        pending = pending[talk.batch(pending[:16]).consumed :]
    talk.deliver(Timer("first", START + 10_000_000_000))
    talk.batch([*quotes(1), Timer("a", 5), *quotes(2)])
    talk.config({"every": 1, "size": 2, "venue": "KRAKEN", "loud": True, "ratio": 1})
    for bad in ({"every": 0}, {"size": "x"}, {"nope": 1}, {"venue": "OTHER"}, {"ratio": True}, {"loud": 1}):
        talk.config(bad)
    for event in quotes(20):
        talk.deliver(event)
    order = next(intent for intent in talk.deliver(ManualSignal(1, 1, "op", "else", {})).intents)
    talk.execution(order, ExecutionReport.FILLED, "0.5", True)
    row = OpenIntent(order.meta.key, msup.Status.OFFERED, order)
    talk.deliver(Recovered([Position("BTCUSDT", Decimal("-2.5"))], [row], [row, row]))
    one = to_dec(1)
    talk.deliver(Bar("BTCUSDT", "test", 1, 2, 3, 0, 0, 60, one, one, one, one, one))
    talk.deliver(Shutdown("DRAIN"))
    return bytes(talk.bytes)


def _strategy_module() -> ModuleType:
    path = HERE.parents[2] / "examples" / "ema_cross" / "strategy.py"
    spec = importlib.util.spec_from_file_location("ema_cross_strategy", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def ema_cross() -> bytes:
    """Three instruments, fills of every kind, refusals, one at a time and in batches."""
    strategy: type[Any] = _strategy_module().EmaCross
    chance = random.Random(5)
    instruments = [BTC, ODD, FX]
    config = {"fast": 5, "slow": 20, "notional": Decimal("7000.5"), "pause_s": 1}
    talk = Conversation(strategy, config, instruments)
    prices = {"BTCUSDT": Decimal("61234.56"), "ODD": Decimal("17.35"), "EURUSD.FXCM": Decimal("1.23456")}

    def quote() -> Event:
        found = chance.choice(instruments)
        tick = found.tick
        moved = prices[found.id] + tick * chance.randrange(-40, 41)
        prices[found.id] = max(moved, tick * 100)
        bid, ask = prices[found.id], prices[found.id] + tick * chance.randrange(0, 4)
        kind = chance.random()
        if kind < 0.02:
            return talk.quote(found.id, ask, bid) if ask > bid else talk.quote(found.id, None, ask)
        if kind < 0.03:
            return talk.quote(found.id, "1234567.890123456789", "1234567.890123456790")  # more digits than a tick has
        return talk.quote(found.id, bid, ask)

    def settle(intents: list[Any]) -> None:
        for intent in intents:
            if not isinstance(intent, msup.OrderIntent):
                continue
            kind = chance.random()
            if kind < 0.1:
                talk.deliver(IntentsDiscarded(talk.step, [intent.meta.key], "ANSWER_LATE"))
            elif kind < 0.2:
                talk.execution(intent, ExecutionReport.REJECTED, None, True)
            elif kind < 0.3:
                talk.snapshot([Position("ODD", Decimal("0.3")), Position("BTCUSDT", Decimal("-0.001"))])
            else:
                part = intent.body.quantity / 2 if kind < 0.5 else intent.body.quantity
                talk.execution(intent, ExecutionReport.FILLED, part, kind >= 0.5)
                if kind < 0.5:
                    talk.execution(intent, ExecutionReport.CANCELED, None, True)

    for _ in range(1500):
        settle(talk.deliver(quote(), after_ns=20_000_000).intents)
    talk.config({**config, "notional": 30})
    talk.config({**config, "fast": 20})
    talk.config({**config, "notional": "0.5"})
    talk.config(config)
    pending = [quote() for _ in range(1500)]
    while pending:
        answer = talk.batch(pending[:25])
        pending = pending[answer.consumed :]
        settle(answer.intents)
    return bytes(talk.bytes)


def numbers() -> str:
    """Lines of an operation, its arguments and its result."""
    chance = random.Random(11)
    lines: list[str] = []

    def some() -> Decimal:
        digits = chance.choice([1, 2, 5, 9, 15, 18])
        mantissa = chance.randrange(-(10**digits), 10**digits)
        far = chance.random() < 0.2
        return Decimal(mantissa).scaleb(chance.randrange(-60, 60) if far else chance.randrange(-12, 6))

    for _ in range(400):
        a, b = some(), some()
        c = some()
        results: dict[str, Decimal] = {"+": a + b, "-": a - b, "*": a * b, "*+": a * b + c, "**": a * b * c}
        if b:
            results |= {"/": a / b, "/+": a / b + c, "/*": a / b * c}
        if b and c:
            results["//"] = a / b / c
        name = chance.choice(sorted(results))
        lines.append(f"{name} {a:e} {b:e} {c:e} {results[name]:e} {float(results[name]).hex()}")
    for _ in range(400):
        step = Decimal(chance.choice([1, 2, 5, 25, 3, 7])).scaleb(chance.randrange(-8, 4))
        found = Instrument.of("X", tick=step, lot=step)
        exact = Decimal(chance.randrange(-(10**9), 10**9)).scaleb(chance.randrange(-9, 1))
        thing = exact / chance.randrange(1, 99) if chance.random() < 0.5 else float(exact)
        for name, result in (
            ("buy", found.price(thing, Side.BUY)),
            ("sell", found.price(thing, Side.SELL)),
            ("nearest", found.price(thing)),
            ("lots", found.quantity(thing)),
        ):
            shown = f"{thing:e}" if isinstance(thing, Decimal) else f"f{float(thing).hex()}"
            lines.append(f"{name} {shown} {step:e} 0 {result:e} {float(result).hex()}")
    return "\n".join(lines) + "\n"


def files() -> dict[str, bytes]:
    """Every golden file by its name."""
    return {"number.txt": numbers().encode(), "everything.bin": everything(), "ema_cross.bin": ema_cross()}


def main() -> None:
    """Write them."""
    for name, data in files().items():
        (HERE / name).write_bytes(data)


if __name__ == "__main__":
    main()
