"""What Advisor makes of proposals; neither a supervisor nor a model is needed."""

from __future__ import annotations

import json
from decimal import Decimal

from msup import Answer, ComputeResult, Instrument, OrderIntent, Side
from msup.testing import Harness

from .strategy import SECOND_NS, SERVICE, Advisor

SYN = Instrument.of("SYN-A.SIM", tick="0.01", lot="1")


def quote(h: Harness, mid: str) -> Answer:
    return h.quote(SYN.id, Decimal(mid) - SYN.tick, Decimal(mid) + SYN.tick, after_ns=SECOND_NS)


def asked(h: Harness, mid: str = "100") -> Answer:
    for _ in range(5):
        answer = quote(h, mid)
        if answer.compute:
            return answer
    raise AssertionError("it never asked")


def propose(h: Harness, question: Answer, **changed: object) -> Answer:
    proposal = {"proposal": "p-1", "instrument": SYN.id, "side": "buy", "max_quantity": "4", "ttl_ms": 1000, **changed}
    return h.send(ComputeResult(SERVICE, question.step, 0, h.now_ns, json.dumps({"proposals": [proposal]}).encode()))


# Proves: EX-3
def test_an_order_names_its_proposal_and_stays_within_it() -> None:
    h = Harness(Advisor, config={"every": 2}, instruments=[SYN])
    question = asked(h)
    assert set(json.loads(question.compute[0].payload)) == {"instrument", "mid", "change_bp"}
    (order,) = propose(h, question).intents
    assert isinstance(order, OrderIntent)
    assert (order.body.side, order.body.quantity, order.meta.proposal) == (Side.BUY, 4, "p-1")
    h.execution(order.meta.key, instrument=SYN.id, side=Side.BUY, price=100, quantity=4)
    (sale,) = (intent for answer in h.advance(20 * SECOND_NS) for intent in answer.intents)
    assert isinstance(sale, OrderIntent)
    assert (sale.body.side, sale.body.quantity, sale.body.reduce_only, sale.meta.proposal) == (Side.SELL, 4, True, "")


def test_the_strategy_decides_not_the_model() -> None:
    h = Harness(Advisor, config={"every": 2}, instruments=[SYN])
    assert propose(h, asked(h), side="sell").intents == []
    question = asked(h)
    quote(h, "99")  # it fell by a hundred basis points since the question
    assert propose(h, question).intents == []
    assert propose(h, question, max_quantity="0.5").intents == []  # below one lot
