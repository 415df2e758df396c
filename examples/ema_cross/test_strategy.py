"""How EmaCross decides, without a supervisor: the harness drives it through the runner's own code and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain, repeat

import pytest
from msup import (
    AlertIntent,
    Answer,
    ExecutionReport,
    ExecutionSnapshot,
    Instrument,
    Intent,
    IntentsDiscarded,
    OrderIntent,
    OrderType,
    Position,
    Side,
)
from msup.event import Cursor
from msup.testing import Harness, StrategyFaultError

from .strategy import SECOND_NS, EmaCross

SYN = Instrument.of("SYN-A.SIM", tick="0.01", lot="1")
FX = Instrument.of("EURUSD.FXCM", tick="0.00001", lot="1000")
FAST = {"fast": 2, "slow": 6}


def make(*instruments: Instrument, **config: object) -> Harness:
    return Harness(EmaCross, config={**FAST, **config}, instruments=instruments or (SYN,))


def quote(h: Harness, mid: int | Decimal, instrument: Instrument = SYN) -> Answer:
    return h.quote(instrument.id, mid - instrument.tick, mid + instrument.tick, after_ns=SECOND_NS)


def until_intent(h: Harness, mids: Iterator[int], within: int = 50) -> Intent:
    """Quotes until the strategy wants something; a strategy that stays silent fails the test."""
    for mid, _ in zip(mids, range(within), strict=False):
        answer = quote(h, mid)
        if answer.intents:
            (intent,) = answer.intents
            return intent
    raise AssertionError(f"no intent within {within} quotes")


def rise() -> Iterator[int]:
    """Flat until both averages have seen enough, then up."""
    return chain(repeat(100, 7), range(101, 200))


def buy(h: Harness) -> OrderIntent:
    intent = until_intent(h, rise())
    assert isinstance(intent, OrderIntent)
    return intent


def fill(h: Harness, order: OrderIntent, price: int) -> Answer:
    body = order.body
    return h.execution(
        order.meta.key, instrument=body.instrument, side=body.side, price=price, quantity=body.quantity
    )  # fmt: skip


# Proves: DM-3, NN-5
def test_a_rise_is_bought_for_the_notional_in_whole_lots() -> None:
    order = buy(make())
    assert order.body.side is Side.BUY
    assert order.body.type is OrderType.MARKET
    assert order.body.quantity == 49  # 5000 / 101.01, rounded down to the lot
    assert order.meta.risk_context is not None


@pytest.mark.parametrize(
    ("instrument", "mid", "quantity"),
    [
        (Instrument.of("BTCUSDT.BINANCE", tick="0.01", lot="0.00001"), "61000", "0.08196"),
        (FX, "1.39", "3000"),
    ],
)
def test_the_size_follows_from_the_instrument(instrument: Instrument, mid: str, quantity: str) -> None:
    h = make(instrument)
    for _ in range(7):
        quote(h, Decimal(mid), instrument)
    (order,) = quote(h, Decimal(mid) + instrument.tick, instrument).intents
    assert isinstance(order, OrderIntent)
    assert order.body.quantity == Decimal(quantity)


def test_nothing_happens_before_the_slow_average_is_filled() -> None:
    h = make(slow=60)
    for mid in range(100, 160):
        assert quote(h, mid).empty
    assert quote(h, 160).intents


def test_a_fall_sells_what_was_filled_and_no_more() -> None:
    h = make()
    order = buy(h)
    h.execution(order.meta.key, side=Side.BUY, price=101, quantity=20, remaining=29, final=False)
    h.execution(order.meta.key, ExecutionReport.CANCELED, side=Side.BUY, remaining=29)
    sale = until_intent(h, iter(range(60, 0, -1)))
    assert isinstance(sale, OrderIntent)
    assert (sale.body.side, sale.body.quantity, sale.body.reduce_only) == (Side.SELL, 20, True)
    fill(h, sale, 60)
    assert h.strategy.state.legs[SYN.id].position == 0


def test_one_order_at_a_time() -> None:
    h = make()
    buy(h)
    for mid in [200, 10, 200, 10]:
        assert quote(h, mid).empty


# Proves: DM-3
def test_a_discarded_order_is_asked_for_again_after_the_pause() -> None:
    h = make(pause_s=30)
    order = buy(h)
    h.send(IntentsDiscarded(h.step, [order.meta.key], "ANSWER_LATE"))
    for _ in range(28):
        assert quote(h, 150).empty
    again = until_intent(h, repeat(200), within=3)
    assert again.meta.key != order.meta.key


def test_a_rejected_order_is_asked_for_again_after_the_pause() -> None:
    h = make(pause_s=5)
    order = buy(h)
    h.execution(order.meta.key, ExecutionReport.REJECTED, remaining=49, reason="NO_QUOTE")
    assert quote(h, 150).empty
    assert until_intent(h, repeat(200), within=10).meta.key != order.meta.key


def test_crossed_and_one_sided_quotes_are_not_averaged() -> None:
    h = make()
    quote(h, 100)
    before = h.checkpoint().data
    h.quote(SYN.id, bid="500", ask="499")
    h.quote(SYN.id, bid="500")
    assert h.checkpoint().data == before


def test_a_notional_below_one_lot_is_told_and_not_traded() -> None:
    h = make(notional=50)
    assert isinstance(until_intent(h, rise()), AlertIntent)
    assert quote(h, 200).empty


def test_a_snapshot_replaces_position_and_order() -> None:
    h = make()
    buy(h)
    h.send(ExecutionSnapshot(h.now_ns, h.now_ns, [Position(SYN.id, Decimal(7))], [], Cursor("I", 1, 9)))
    sale = until_intent(h, iter(range(60, 0, -1)))
    assert isinstance(sale, OrderIntent)
    assert sale.body.quantity == 7


def test_lengths_that_cannot_cross_are_refused() -> None:
    with pytest.raises(StrategyFaultError, match="must be below slow"):
        make(fast=6)


# Proves: NN-3, ST-1
def test_a_restored_strategy_goes_on_as_if_nothing_had_happened() -> None:
    mids = [100 + (step * step) % 37 for step in range(120)]
    straight, broken = make(), make()
    for number, mid in enumerate(mids):
        if number % 10 == 0:
            broken = broken.restore(broken.checkpoint())
        expected, got = quote(straight, mid), quote(broken, mid)
        assert got.intents == expected.intents
        for intent in expected.intents:
            assert isinstance(intent, OrderIntent)
            fill(straight, intent, mid)
            fill(broken, intent, mid)
    assert broken.checkpoint().data == straight.checkpoint().data
    assert straight.strategy.state.legs[SYN.id].quotes == len(mids)


# Proves: NN-7
def test_the_same_events_give_the_same_intents() -> None:
    first, second = make(FX), make(FX)
    wanted = 0
    for step in range(300):
        mid = Decimal(139_000 + (step * 7919) % 97) / 100_000
        expected = quote(first, mid, FX)
        assert quote(second, mid, FX) == expected
        for intent in expected.intents:
            wanted += 1
            assert isinstance(intent, OrderIntent)
            assert fill(first, intent, 1) == fill(second, intent, 1)
    assert wanted > 10
