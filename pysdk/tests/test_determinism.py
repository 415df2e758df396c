"""Clocks and chance in a real runner: two runs with the same seed say the same."""

from __future__ import annotations

from collections.abc import Callable

import msup
import pytest
from fakesupervisor import START, FakeSupervisor, quote
from msup.context import Context
from msup.determinism import install

Start = Callable[..., FakeSupervisor]

SOURCE = """
import os, random, secrets, time, uuid
from random import random as rnd
from time import time as now_s
import numpy as np
import msup

at_import = time.time()

class S(msup.Strategy):
    class State(msup.State):
        lines: list[str] = []

    def say(self, *things):
        self.state.lines.append(" ".join(map(str, things)))

    def on_init(self, ctx, config, restored_state):
        if restored_state is None:
            self.say("init", at_import, np.random.random(), ctx.rng.random(), rnd())

    def on_event(self, ctx, event):
        which = event.seq
        if which == 1:
            assert time.time_ns() == time.monotonic_ns() == time.perf_counter_ns() == ctx.now()
            assert now_s() == time.time() == time.monotonic() == time.clock_gettime(0) == ctx.now() / 1e9
            assert time.clock_gettime_ns(0) == ctx.now()
            self.say(time.strftime("%Y-%m-%dT%H:%M", time.gmtime()), time.gmtime(0).tm_year, time.strftime("%Y"))
        elif which == 2:
            before = ctx.rng.getstate()
            self.say(rnd(), random.randint(1, 9), random.gauss(0, 1), random.choice("abc"))
            self.say(uuid.uuid4(), uuid.uuid1().version)
            self.say(random.Random().random(), random.Random(5).random(), random.sample(range(9), 3))
            assert ctx.rng.getstate() == before
            self.say(ctx.rng.random(), ctx.rng.gauss(0, 1))
        elif which == 3:
            self.say(len(os.urandom(4)), len(secrets.token_bytes(4)), len(os.urandom(5)))
        elif which == 4:
            np.random.default_rng(ctx.rng.getrandbits(64)).random()
            np.random.default_rng().random()
"""


def _run(start: Start, events: list[int], **env: str) -> tuple[FakeSupervisor, list[str]]:
    s = start(SOURCE, env=env)
    s.begin()
    for seq in events:
        answer = s.deliver(quote(seq=seq))
        assert answer.fault is None, answer.fault
    return s, _lines(s)


def _lines(s: FakeSupervisor) -> list[str]:
    import msgspec

    found = s.checkpoint()
    assert isinstance(found, tuple)
    return msgspec.msgpack.decode(found[1], type=dict[str, list[str]])["lines"]


# Proves: NN-7
def test_two_runs_say_the_same(start: Start) -> None:
    first, one = _run(start, [1, 2, 2, 1])
    _, two = _run(start, [1, 2, 2, 1])
    assert one == two
    assert one[0].startswith("init 0.0 ")
    assert one[1].startswith("2026-01-01T")
    assert one[1].split()[1:] == ["1970", "2026"]
    assert one[2] != one[6]
    assert first.stderr() == ""


# Proves: NN-7, NN-3
def test_a_run_from_a_checkpoint_says_the_same(start: Start) -> None:
    whole, lines = _run(start, [2, 2, 2])
    part, _ = _run(start, [2])
    found = part.checkpoint()
    assert isinstance(found, tuple)
    again = start(SOURCE)
    again.accept()
    again.now = part.now
    assert again.init(state=found[1], state_version=found[0], step=part.step).fault is None
    for _ in range(2):
        again.deliver(quote(seq=2))
    assert _lines(again) == lines
    assert whole.now == again.now


# Proves: NN-7
def test_real_chance_is_reported_once(start: Start) -> None:
    s, lines = _run(start, [3, 3, 4])
    assert lines[1:] == ["4 4 5", "4 4 5"]
    reports = s.stderr().splitlines()
    assert len(reports) == 2
    assert "os.urandom was used" in reports[0]
    assert "random.SystemRandom or secrets was used" in reports[1]


# Proves: NN-7
def test_strict_makes_it_a_fault(start: Start) -> None:
    s = start(SOURCE, env={"MSUP_DETERMINISM": "strict"})
    s.begin()
    fault = s.fault(quote(seq=3))
    assert fault.kind == "determinism"
    assert "os.urandom" in fault.message
    assert s.fault(quote(seq=4)).kind == "determinism"
    assert s.deliver(quote(seq=2)).fault is None


def test_off_leaves_the_clocks_alone(start: Start) -> None:
    s = start(
        "import time, msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event): ctx.telemetry('ahead', time.time() - ctx.now() / 1e9)\n",
        env={"MSUP_DETERMINISM": "off"},
    )
    s.begin()
    value = s.deliver(quote()).telemetry[0].value
    assert isinstance(value, float)
    assert abs(value) > 1e6


def test_timeouts_of_the_standard_library_still_work(start: Start) -> None:
    s = start(
        "import queue, threading, msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event):\n"
        "        assert threading.Event().wait(0.01) is False\n"
        "        try: queue.Queue().get(timeout=0.01)\n"
        "        except queue.Empty: ctx.no_op('TIMED_OUT')\n"
    )
    s.begin()
    assert len(s.deliver(quote()).intents) == 1


def test_it_can_be_taken_back() -> None:
    import random
    import time
    import uuid

    before = (time.time, random.random, random.Random.seed, uuid.uuid4)
    context = Context()
    installed = install(context)
    assert installed is not None
    try:
        assert time.time() == 0.0
        assert random.random() == msup.Rng(installed._seed()).random()  # pyright: ignore[reportPrivateUsage]
        random.seed(3)
        first = random.random()
        random.seed(3)
        assert random.random() == first
    finally:
        installed.uninstall()
    assert (time.time, random.random, random.Random.seed, uuid.uuid4) == before
    assert time.time() > START / 1e9
    with pytest.raises(ValueError, match="none of on, strict, off"):
        install(context, "perhaps")
    assert install(context, "off") is None
