"""Batches: the same answers at every batch size, and the stop at the first answer that is not empty."""

from __future__ import annotations

from decimal import Decimal

import msup
from hypothesis import given, settings
from hypothesis import strategies as st
from msup import Context, Event, Quote
from msup.dec import to_dec
from msup.testing import START_NS, Harness


class Erratic(msup.Strategy):
    """Does something of every sort, depending on state, chance and price."""

    class State(msup.State):
        n: int = 0
        sum: Decimal = Decimal(0)

    def on_event(self, ctx: Context, event: Event) -> None:
        if not isinstance(event, Quote) or event.bid is None:
            return
        self.state.n += 1
        self.state.sum += event.bid
        digit = int(event.bid) % 10
        if digit == 0:
            ctx.buy(event.instrument, 1, limit=event.bid, name=f"n{self.state.n}" if ctx.rng.random() < 0.5 else "")
        elif digit == 1:
            ctx.set_timer("t", after_ns=ctx.rng.randrange(10))
        elif digit == 2:
            ctx.telemetry("sum", self.state.sum)
        elif digit == 3:
            ctx.checkpoint()
        elif digit == 4:
            ctx.submit_compute("fit", str(self.state.n).encode(), ctx.now())
        elif digit == 5:
            ctx.sell(event.instrument, 1)
            raise ValueError(f"fault at {ctx.step}")


def _run(prices: list[int], batch_size: int) -> tuple[list[object], bytes, int]:
    events: list[tuple[int, Event]] = [
        (START_NS + i, Quote("B", "s", 0, START_NS + i, i, i, 0, to_dec(price), None, None, None))
        for i, price in enumerate(prices)
    ]
    h = Harness(Erratic, raise_faults=False)
    if batch_size:
        answers = h.send_batch(events, batch_size)
    else:
        answers: list[msup.Answer] = []
        for now, event in events:
            h.now_ns = now
            answer = h.send(event)
            if not answer.empty:
                answers.append(answer)
    parts: list[object] = [
        (
            a.step,
            a.intents,
            a.state_updates,
            a.timers,
            a.compute,
            a.telemetry,
            a.fault and (a.fault.kind, a.fault.message),
        )
        for a in answers
    ]
    return parts, h.checkpoint().data, h.step


# Proves: NN-7, RS-2, BC-N
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=120), st.sampled_from([1, 2, 3, 7, 64, 4096]))
def test_answers_are_the_same_at_every_batch_size(prices: list[int], batch_size: int) -> None:
    assert _run(prices, batch_size) == _run(prices, 0)


def test_a_batch_stops_at_the_first_answer() -> None:
    answers, _, step = _run([7, 7, 10, 7, 11, 7], 100)
    assert [answer[0] for answer in answers] == [4, 6]  # type: ignore[index]
    assert step == 7
