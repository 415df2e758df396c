"""How VolBreakout decides with and without its compute part, and what the part answers; no supervisor is needed."""

from __future__ import annotations

import struct
from decimal import Decimal

import numpy as np
import pytest
from msup import Answer, ComputeResult, ComputeUnavailable, Instrument, PositionIntent
from msup.testing import Harness, PartFaultError, PartHarness

from .strategy import SECOND_NS, TASK, VolBreakout
from .volatility import Volatility

SYN = Instrument.of("SYN-B.SIM", tick="0.05", lot="1")
TICK = SYN.tick


def make(**config: object) -> Harness:
    return Harness(VolBreakout, config={"window": 10, "every": 20, "fallback": 0.01, **config}, instruments=[SYN])


def quote(h: Harness, mid: int | Decimal) -> Answer:
    return h.quote(SYN.id, mid - TICK, mid + TICK, after_ns=SECOND_NS // 10)


def until_asked(h: Harness) -> Answer:
    """Quotes that go nowhere, up to the first request."""
    for number in range(100):
        answer = quote(h, 2500 + number % 2)
        if answer.compute:
            return answer
    raise AssertionError("it never asked")


def estimate(h: Harness, asked: Answer, width: float) -> Answer:
    return h.send(ComputeResult(TASK, asked.step, 0, h.now_ns, struct.pack("<d", width)))


def wants(answer: Answer) -> Decimal:
    (intent,) = answer.intents
    assert isinstance(intent, PositionIntent)
    return intent.body.target_quantity


# Proves: LN-2
def test_it_asks_with_its_window_and_does_not_wait() -> None:
    h = make()
    asked = until_asked(h)
    (request,) = asked.compute
    assert (request.task, request.ttl_ns, len(request.payload)) == (TASK, 500_000_000, 8 * 10)
    assert asked.intents == []
    assert wants(quote(h, 2600)) > 0  # a breakout by the fallback width, with no answer yet


# Proves: LN-2, LN-5
def test_a_fresh_estimate_counts_and_an_old_one_does_not() -> None:
    h = make(fresh_s=5)
    asked = until_asked(h)
    assert estimate(h, asked, 0.10).empty
    assert quote(h, 2600).empty  # 4 % is within the estimated band, and far outside of the fallback's
    h.advance(5 * SECOND_NS)
    assert wants(quote(h, 2600)) > 0


# Proves: LN-5
def test_no_answer_means_the_simple_width() -> None:
    h = make()
    estimate(h, until_asked(h), 0.10)
    asked = until_asked(h)
    assert h.send(ComputeUnavailable(TASK, asked.step, 0, "COMPUTE_CONGESTED")).empty
    assert wants(quote(h, 2400)) < 0


# Proves: LN-2, ST-1
def test_an_estimate_survives_a_restart_and_a_strange_one_is_no_matter() -> None:
    h = make()
    estimate(h, until_asked(h), 0.10)
    again = h.restore(h.checkpoint())
    assert again.send(ComputeResult(TASK, 99_999, 0, 0, b"")).empty  # of a request that nobody remembers
    assert quote(again, 2600).empty


# Proves: LN-2, NN-7
def test_the_part_repeats_itself_and_grows_with_the_moves() -> None:
    def ask(part: PartHarness, move: float, step: int) -> float:
        prices = 2500 * np.exp(np.cumsum(move * np.sin(1.7 * np.arange(60))))
        (width,) = struct.unpack("<d", part.task(TASK, prices.astype("<f8").tobytes(), step=step))
        return float(width)

    first, second = PartHarness(Volatility), PartHarness(Volatility)
    calm = ask(first, 0.0001, 7)
    assert ask(second, 0.0001, 7) == calm
    assert ask(second, 0.0001, 8) != calm
    assert 0 < calm < ask(first, 0.01, 7) < 1


# Proves: SB-6
def test_the_part_refuses_prices_that_are_none() -> None:
    part = PartHarness(Volatility)
    for payload in (b"", struct.pack("<2d", 1.0, 2.0), struct.pack("<3d", 1.0, -2.0, 3.0)):
        with pytest.raises(PartFaultError, match="prices, all of which must be positive"):
            part.task(TASK, payload)
