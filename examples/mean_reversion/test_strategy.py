"""How MeanReversion decides, without a supervisor: the harness drives it through the runner's own code and bytes."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from msup import (
    AlertIntent,
    Answer,
    CancelIntent,
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
from msup.testing import Harness

from .strategy import SECOND_NS, MeanReversion

SYN = Instrument.of("SYN-B.SIM", tick="0.05", lot="1")
TICK = SYN.tick


def make(instrument: Instrument = SYN, **config: object) -> Harness:
    return Harness(MeanReversion, config={"window": 10, "patience_s": 20, **config}, instruments=[instrument])


def quote(h: Harness, mid: int | Decimal, instrument: Instrument = SYN) -> Answer:
    return h.quote(instrument.id, mid - instrument.tick, mid + instrument.tick, after_ns=SECOND_NS // 10)


def one(answer: Answer) -> Intent:
    (intent,) = answer.intents
    return intent


def order_in(answer: Answer) -> OrderIntent:
    intent = one(answer)
    assert isinstance(intent, OrderIntent)
    return intent


def calm(h: Harness, mid: int = 2500, quotes: int = 20) -> None:
    """Small moves around a level, which fill the window and want nothing."""
    for number in range(quotes):
        assert quote(h, mid + (number % 2)).empty


def fill(h: Harness, order: OrderIntent) -> Answer:
    body = order.body
    return h.execution(
        order.meta.key, instrument=body.instrument, side=body.side, price=body.limit_price, quantity=body.quantity
    )


# Proves: DM-3, NN-5
def test_a_dip_is_bought_at_the_bid_for_the_notional() -> None:
    h = make()
    calm(h)
    order = order_in(quote(h, 2400))
    assert (order.body.side, order.body.type) == (Side.BUY, OrderType.LIMIT)
    assert order.body.limit_price == 2400 - TICK
    assert order.body.quantity == 2  # 5000 / 2400.05, rounded down to the lot
    assert h.timers == {SYN.id: h.now_ns + 20 * SECOND_NS}


def test_a_spike_is_sold_at_the_ask_and_bought_back_at_the_mean() -> None:
    h = make()
    calm(h)
    sale = order_in(quote(h, 2600))
    assert (sale.body.side, sale.body.limit_price) == (Side.SELL, 2600 + TICK)
    fill(h, sale)
    assert h.timers == {}
    assert quote(h, 2590).empty
    back = order_in(quote(h, 2450))
    assert (back.body.side, back.body.quantity, back.body.reduce_only) == (Side.BUY, sale.body.quantity, True)


def test_bitcoin_is_sized_in_its_own_lots() -> None:
    bitcoin = Instrument.of("BTCUSDT.BINANCE", tick="0.01", lot="0.00001")
    h = make(bitcoin)
    for number in range(20):
        quote(h, 61_000 + (number % 2), bitcoin)
    assert order_in(quote(h, 60_000, bitcoin)).body.quantity == Decimal("0.08333")


# Proves: DM-3
def test_the_timer_cancels_an_order_that_nobody_took() -> None:
    h = make()
    calm(h)
    order = order_in(quote(h, 2400))
    assert h.advance(19 * SECOND_NS) == []
    (answer,) = h.advance(SECOND_NS)
    cancel = one(answer)
    assert isinstance(cancel, CancelIntent)
    assert cancel.body.target_key == order.meta.key
    assert SYN.id in h.timers  # should the cancel be lost, it asks again
    h.execution(order.meta.key, ExecutionReport.CANCELED, side=Side.BUY, remaining=2)
    assert h.timers == {}
    assert order_in(quote(h, 2300)).meta.key != order.meta.key


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    h = make()
    calm(h)
    order = order_in(quote(h, 2400))
    (answer,) = h.advance(20 * SECOND_NS)
    fill(h, order)
    h.execution(one(answer).meta.key, ExecutionReport.REJECTED, remaining=None, reason="UNKNOWN_ORDER")
    leg = h.strategy.state.legs[SYN.id]
    assert (leg.position, leg.order) == (2, "")


def test_partial_fills_are_followed() -> None:
    h = make()
    calm(h)
    order = order_in(quote(h, 2400))
    h.execution(order.meta.key, side=Side.BUY, price=2400, quantity=1, remaining=1, final=False)
    assert quote(h, 2600).empty  # the rest still waits
    h.execution(order.meta.key, ExecutionReport.CANCELED, side=Side.BUY, remaining=1)
    exit_order = order_in(quote(h, 2600))
    assert (exit_order.body.side, exit_order.body.quantity) == (Side.SELL, 1)


@pytest.mark.parametrize("how", ["discarded", "rejected"])
def test_an_order_that_failed_is_asked_for_again_after_a_pause(how: str) -> None:
    h = make()
    calm(h)
    order = order_in(quote(h, 2400))
    if how == "discarded":
        h.send(IntentsDiscarded(h.step, [order.meta.key], "MODE_NO_TRADE"))
    else:
        h.execution(order.meta.key, ExecutionReport.REJECTED, remaining=2, reason="NO_QUOTE")
    assert h.timers == {}
    assert quote(h, 2200).empty
    h.advance(20 * SECOND_NS)
    assert order_in(quote(h, 1500)).meta.key != order.meta.key


def test_a_snapshot_replaces_position_and_order() -> None:
    h = make()
    calm(h)
    order_in(quote(h, 2400))
    h.send(ExecutionSnapshot(h.now_ns, h.now_ns, [Position(SYN.id, Decimal(-3))], [], Cursor("I", 1, 9)))
    assert h.timers == {}
    assert order_in(quote(h, 2300)).body.quantity == 3


def test_a_market_that_does_not_move_or_is_crossed_is_left_alone() -> None:
    h = make()
    for _ in range(30):
        assert quote(h, 2500).empty
    before = h.checkpoint().data
    h.quote(SYN.id, bid=2600, ask=2400)
    h.quote(SYN.id, ask=2400)
    assert h.checkpoint().data == before


def test_a_notional_below_one_lot_is_told_and_not_traded() -> None:
    h = make(notional=100)
    calm(h)
    assert isinstance(one(quote(h, 2400)), AlertIntent)
    assert quote(h, 2200).empty


def test_a_window_of_another_length_begins_anew() -> None:
    h = make()
    calm(h)
    h.update_config({"window": 15})
    calm(h, quotes=14)
    assert len(h.strategy.state.legs[SYN.id].prices) == 15
    assert order_in(quote(h, 2400)).body.side is Side.BUY


# Proves: NN-3, ST-1
def test_a_restored_window_is_the_same_numpy_array() -> None:
    straight, broken = make(), make()
    orders = 0
    for number in range(200):
        mid = 2500 + (number * number) % 61 - (number % 50 == 49) * 200
        if number % 10 == 0:
            broken = broken.restore(broken.checkpoint())
        expected = quote(straight, mid)
        assert quote(broken, mid).intents == expected.intents
        for intent in expected.intents:
            assert isinstance(intent, OrderIntent)
            orders += 1
            fill(straight, intent)
            fill(broken, intent)
    assert orders > 2
    prices = broken.strategy.state.legs[SYN.id].prices
    assert prices.dtype == np.float64
    np.testing.assert_array_equal(prices, straight.strategy.state.legs[SYN.id].prices)
    prices[0] = 1.0  # a restored array can be written to
    assert straight.timers == broken.timers


# Proves: NN-7
def test_the_same_events_give_the_same_answers() -> None:
    first, second = make(), make()
    orders = 0
    for number in range(400):
        mid = 2500 + (number * 7919) % 97 - (number % 40 == 39) * 200
        answer = quote(first, mid)
        assert quote(second, mid) == answer
        for intent in answer.intents:
            assert isinstance(intent, OrderIntent)
            orders += 1
            assert fill(first, intent) == fill(second, intent)
    assert orders > 2
    assert first.checkpoint().data == second.checkpoint().data
