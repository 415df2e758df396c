"""How FairValue asks and what it makes of answers; neither a supervisor nor the model is needed."""

from __future__ import annotations

import json
from decimal import Decimal

from msup import Answer, ComputeResult, ComputeUnavailable, Instrument, PositionIntent
from msup.testing import Harness

from .strategy import SERVICE, WINDOW, FairValue

SYN = Instrument.of("SYN-A.SIM", tick="0.01", lot="1")


def until_asked(h: Harness) -> Answer:
    """Quotes up to the next question."""
    for number in range(WINDOW + 100):
        mid = Decimal(100) + SYN.tick * (number % 7)
        answer = h.quote(SYN.id, mid - SYN.tick, mid + SYN.tick, after_ns=100_000_000)
        if answer.compute:
            return answer
    raise AssertionError("it never asked")


def reply(h: Harness, asked: Answer, expected_bp: float) -> Answer:
    payload = json.dumps({"expected_bp": expected_bp, "model": "ridge-01234567"}).encode()
    return h.send(ComputeResult(SERVICE, asked.step, 0, h.now_ns, payload))


def target(answer: Answer) -> Decimal:
    (intent,) = answer.intents
    assert isinstance(intent, PositionIntent)
    return intent.body.target_quantity


# Proves: EX-2
def test_it_asks_with_numbers_alone_and_goes_on() -> None:
    h = Harness(FairValue, instruments=[SYN])
    asked = until_asked(h)
    (request,) = asked.compute
    question = json.loads(request.payload)
    assert request.task == SERVICE
    assert h.strategy.state.legs[SYN.id].quotes >= WINDOW
    assert set(question) == {"over_4", "over_16", "over_64", "above_mean"}
    assert all(isinstance(value, float) for value in question.values())
    assert asked.intents == []
    for _ in range(300):  # one question at a time
        assert h.quote(SYN.id, "99.99", "100.01", after_ns=1_000_000).empty


def test_it_is_long_while_a_rise_is_expected() -> None:
    h = Harness(FairValue, instruments=[SYN])
    assert target(reply(h, until_asked(h), 3.0)) == 49
    assert reply(h, until_asked(h), 2.0).intents == []
    assert target(reply(h, until_asked(h), -1.0)) == 0


# Proves: LN-5
def test_without_an_answer_it_goes_flat() -> None:
    h = Harness(FairValue, instruments=[SYN])
    assert target(reply(h, until_asked(h), 3.0)) == 49
    asked = until_asked(h)
    assert target(h.send(ComputeUnavailable(SERVICE, asked.step, 0, "SERVICE_TIMEOUT"))) == 0
