"""The runner as a real process behind a real socket; the test plays the supervisor."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from fakesupervisor import ADDRESS, HASH, LINEAGE, START, FakeSupervisor, quote
from msup import ConfigUpdate, Fault, RunMode, Shutdown, Timer
from msup.codec import encode, frame
from msup.key import step_key
from msup.limit import MAX_STATE_BYTES
from msup.message import Answer, Chunk, Healthcheck, HealthReport, Init, Stop

Start = Callable[..., FakeSupervisor]

STRATEGY = """
from decimal import Decimal
from pathlib import Path
from typing import Annotated
import msup

class S(msup.Strategy):
    class Config(msup.Config):
        size: Annotated[Decimal, msup.param(min="0")] = Decimal("0.01")

    class State(msup.State):
        n: int = 0
        blob: bytes = b""

    state_schema_version = 3

    def on_init(self, ctx, config, restored_state):
        print("hello from on_init", restored_state is not None)

    def on_event(self, ctx, event):
        self.state.n += 1
        if isinstance(event, msup.Quote):
            ctx.buy(event.instrument, self.config.size, limit=event.bid)

    def on_timer(self, ctx, timer_id, ts):
        ctx.no_op(f"{timer_id}_{ts - ctx.now()}")

    def on_shutdown(self, ctx, reason):
        ctx.no_op(reason)

    def on_healthcheck(self, ctx):
        return msup.Health.degraded(f"n{self.state.n}")
"""


# Proves: NN-1, RS-2, DM-3, DM-4, GT-4, GT-5, BC-A
def test_a_whole_session(start: Start) -> None:
    s = start(STRATEGY)
    hello = s.accept()
    assert (hello.seq, hello.abi, hello.sdk, hello.event_contract, hello.intent_contract) == (0, 1, "python", 1, 1)
    assert (hello.package_hash, hello.hooks, hello.state_schema_version) == (HASH, ["on_healthcheck"], 3)
    assert s.init({"size": Decimal("0.02")}).empty
    answer = s.deliver(quote("64000.10"), trace_id="trace-x")
    (intent,) = answer.intents
    body = intent.body
    assert (intent.meta.trace_id, intent.meta.run_id, intent.meta.strategy_version) == ("trace-x", "run-1", "1.0.0")
    assert intent.meta.key == step_key(ADDRESS, LINEAGE, 2, 0)
    assert (body.quantity, body.limit_price) == (Decimal("0.02"), Decimal("64000.1"))  # type: ignore[union-attr]
    assert s.deliver(quote()).intents[0].meta.trace_id == "run-1-3"
    fired = s.deliver(Timer("t", s.now)).intents[0]
    assert fired.body.reason == "t_-1000000"  # type: ignore[union-attr]
    s.deliver(ConfigUpdate({"size": Decimal(1)}, bytes(32), "a", "b", 0))
    assert s.deliver(quote()).intents[0].body.quantity == 1  # type: ignore[union-attr]
    s.ask(Healthcheck(s.next_seq()))
    assert s.read(HealthReport) == HealthReport(s.seq, 1, "n3")  # type: ignore[arg-type]
    assert s.deliver(Shutdown("DRAIN")).intents[0].body.reason == "DRAIN"  # type: ignore[union-attr]
    assert s.stop() == 0
    assert s.stdout() == "hello from on_init False\n"
    assert s.stderr() == ""


# Proves: ST-1, NN-3
def test_a_checkpoint_of_10_mb_and_its_restore(start: Start) -> None:
    s = start(STRATEGY)
    blob = bytes(range(256)) * 40_960
    state = msgspec.msgpack.encode({"n": 5, "blob": blob})
    assert len(state) > 10 << 20
    s.accept()
    assert s.init(state=state, state_version=3, step=100).fault is None
    s.deliver(quote())
    found = s.checkpoint()
    assert found == (3, msgspec.msgpack.encode({"n": 6, "blob": blob}))
    refused = s.checkpoint(1 << 20)
    assert isinstance(refused, Fault)
    assert refused.kind == "state"
    assert s.deliver(quote()).step == 102
    assert s.stop() == 0
    assert s.stdout() == "hello from on_init True\n"


# Proves: ST-1
def test_an_empty_state_is_one_chunk(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n"
        "    def save_state(self): return b''\n"
        "    def load_state(self, data): print('loaded', data)\n"
    )
    s.accept()
    assert s.init(state=b"", state_version=1).fault is None
    assert s.checkpoint() == (1, b"")
    assert s.stop() == 0
    assert s.stdout() == "loaded b''\n"


# Proves: SB-6
def test_faults_never_end_the_runner(start: Start) -> None:
    s = start(
        """
import sys, msup
class S(msup.Strategy):
    def on_event(self, ctx, event):
        which = event.seq
        if which != 4: ctx.buy("BTCUSDT", 1)
        if which == 1: raise ValueError("one\\ntwo")
        if which == 2: sys.exit(9)
        if which == 3: return 3
        if which == 4: return self.on_event(ctx, event)
        if which == 5: raise KeyboardInterrupt
        if which == 6: bytearray(1 << 62)
        if which == 7: ctx.set_timer("x" * 65, 1)
"""
    )
    s.begin()
    faults = [s.fault(quote(seq=seq)) for seq in range(1, 8)]
    assert [fault.kind for fault in faults] == [
        "exception", "exception", "bad_return", "exception", "exception", "memory", "exception",
    ]  # fmt: skip
    assert faults[0].message == "ValueError: one\ntwo"
    assert 'raise ValueError("one\\ntwo")' in faults[0].traceback
    assert "RecursionError" in faults[3].message
    assert len(s.deliver(quote(seq=8)).intents) == 1
    assert "Traceback" in s.stderr()
    assert s.stop() == 0


# Proves: GT-2
def test_an_answer_that_is_too_long_is_a_fault(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event):\n"
        "        for i in range(event.seq): ctx.no_op('X' * 64, name='n' * 120 + str(i))\n"
    )
    s.begin(max_answer_bytes=4096)
    assert len(s.deliver(quote(seq=2)).intents) == 2
    fault = s.fault(quote(seq=100))
    assert fault.kind == "bad_return"
    assert "at most 4096 are allowed" in fault.message
    assert len(s.deliver(quote(seq=1)).intents) == 1


def test_the_wires_own_limit_holds_too(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event):\n"
        "        for i in range(256): ctx.no_op('X' * 64, name='n' * 120 + str(i))\n"
        "        ctx.submit_compute('t', bytes(30000), 1)\n"
    )
    s.begin()
    assert s.fault(quote()).kind == "bad_return"


# Proves: SB-6
def test_garbage_from_the_supervisor_ends_the_runner_with_70(start: Start) -> None:
    for raw in (
        b"\0\0\0\3\xc1\xc1\xc1",
        frame(encode(Chunk(1, 0, 1, 1, b"x"))),
        frame(encode(Answer(1, 1, [], None, [], [], [], None))),
        struct.pack(">I", 17 << 20),
        frame(encode(Stop(1)) + b"\0"),
    ):
        s = start(STRATEGY)
        s.begin()
        s.send_bytes(raw)
        assert s.exit_code() == 70
        assert "msup: PROTOCOL:" in s.stderr()


def test_a_wrong_state_transfer_ends_the_runner_with_70(start: Start) -> None:
    for wrong in (Chunk(1, 5, 9, 1, b"x"), Stop(1), Chunk(1, 0, 9, 1, b"x" * 10)):
        s = start(STRATEGY)
        s.accept()
        s.ask(_init(s, 9))
        s.ask(wrong)
        assert s.exit_code() == 70
    s = start(STRATEGY)
    s.accept()
    s.ask(_init(s, MAX_STATE_BYTES + 1))
    assert s.exit_code() == 70


def _init(s: FakeSupervisor, state_bytes: int) -> Init:
    from msup import Lane

    return Init(
        1, 1, START, "t", ADDRESS, "1", LINEAGE, "r", 1, Lane.LL, RunMode.LIVE, 1, {}, [], None, True, 1, state_bytes,
        0, 0, 0,
    )  # fmt: skip


def test_a_second_init_ends_the_runner(start: Start) -> None:
    s = start(STRATEGY)
    s.begin()
    s.ask(_init(s, 0))
    s.ask(Chunk(1, 0, 0, 1, b""))
    assert s.exit_code() == 70
    assert "a second init" in s.stderr()


# Proves: SB-6
def test_end_of_stream_is_the_end_of_the_runner(start: Start) -> None:
    threads = (
        "import threading, time, msup\nclass S(msup.Strategy):\n"
        "    def on_init(self, ctx, config, restored_state):\n"
        "        threading.Thread(target=lambda: [time.sleep(1) for _ in range(60)]).start()\n"
    )
    for source in (STRATEGY, threads):
        s = start(source)
        s.begin()
        began = time.monotonic()
        s.hang_up()
        assert s.exit_code() == 0
        assert time.monotonic() - began < 10
    s = start(threads)
    s.begin()
    assert s.stop() == 0


def test_a_stream_that_ends_inside_a_frame_is_a_protocol_error(start: Start) -> None:
    s = start(STRATEGY)
    s.begin()
    s.send_bytes(b"\0\0\1\0\x96")
    s.hang_up()
    assert s.exit_code() == 70


def test_a_supervisor_that_does_not_wait_for_the_answer(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n    def on_event(self, ctx, event):\n        ctx.no_op('X' * 64)\n"
    )
    s.begin()
    s.hang_up()
    assert s.exit_code() == 0


def test_sigint_is_the_supervisors_business(start: Start) -> None:
    s = start(STRATEGY)
    s.begin()
    s.signal(signal.SIGINT)
    assert len(s.deliver(quote()).intents) == 1
    s.signal(signal.SIGINT)
    assert s.stop() == 0


# Proves: NN-7, BC-N
def test_batches(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event):\n"
        "        if event.seq == 3: ctx.no_op(str(ctx.step))\n"
        "        if event.seq == 5: raise ValueError\n"
    )
    s.begin(mode=RunMode.RESEARCH)
    answer = s.batch([quote(seq=i) for i in (1, 2, 3, 4)])
    assert (answer.consumed, answer.step, len(answer.intents)) == (3, 4, 1)
    answer = s.batch([quote(seq=1)] * 4096)
    assert (answer.consumed, answer.intents, answer.fault) == (4096, [], None)
    answer = s.batch([quote(seq=i) for i in (1, 5, 1)])
    assert answer.fault is not None
    assert (answer.consumed, answer.fault.kind) == (2, "exception")


# Proves: AD-1
@pytest.mark.parametrize(
    ("source", "options", "cause"),
    [
        ("import msup\nclass S(msup.Strategy)\n  pass", {}, "module 'strategy' does not import: SyntaxError"),
        ("import nothing_like_it", {}, "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("raise SystemExit(0)", {}, "does not import: SystemExit: 0"),
        ("raise ValueError('two\\nlines')", {}, "does not import: ValueError: two lines"),
        ("x = 1", {}, "has no 'S'"),
        ("S = 5", {}, "5 is no class derived from msup.Strategy"),
        ("import msup\nclass S(msup.Strategy):\n  state_schema_version = -1", {}, "must be an int from 1"),
        (
            "import msup\nclass S(msup.Strategy):\n  class Config(msup.Config):\n    n: list = 1",
            {},
            "S.Config.n: the type is not one of",
        ),
        (
            "import msup\nclass S(msup.Strategy):\n  class State(msup.State):\n    n: int",
            {},
            "every field needs a default",
        ),
        (STRATEGY, {"entry": "strategy"}, "is not of the form module:Class"),
        (STRATEGY, {"entry": "nowhere:S"}, "No module named 'nowhere'"),
        (STRATEGY, {"env": {"MSUP_PACKAGE_HASH": ""}}, "MSUP_PACKAGE_HASH is not set"),
        (STRATEGY, {"env": {"MSUP_DETERMINISM": "maybe"}}, "MSUP_DETERMINISM='maybe' is none of on, strict, off"),
    ],
)
def test_what_cannot_be_loaded_exits_with_78(start: Start, source: str, options: dict[str, object], cause: str) -> None:
    s = start(source, **options)
    assert s.exit_code() == 78
    last = s.stderr().splitlines()[-1]
    assert last.startswith("msup: IMPORT_FAILED: ")
    assert cause in last


def test_no_socket_exits_with_70(start: Start) -> None:
    s = start(STRATEGY, env={"MSUP_SOCKET": "/nowhere/socket"})
    assert s.exit_code() == 70
    assert "cannot connect to MSUP_SOCKET=/nowhere/socket" in s.stderr()


def test_the_layer_comes_after_the_strategy(start: Start, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "both.py").write_text("where = 'layer'")
    (layer / "strategy.py").write_text("raise ValueError('the wrong one')")
    s = start(
        "import both, msup\nclass S(msup.Strategy):\n"
        "    def on_init(self, ctx, config, restored_state): print(both.where)\n",
        env={"MSUP_LAYER": str(layer)},
    )
    s.begin()
    assert s.stop() == 0
    assert s.stdout() == "layer\n"


def test_output_comes_line_by_line_and_bad_characters_do_no_harm(start: Start) -> None:
    s = start(
        "import msup\nclass S(msup.Strategy):\n    def on_event(self, ctx, event):\n        print('line', '\\ud800')\n",
        env={"PYTHONIOENCODING": "ascii"},
    )
    s.begin()
    assert s.deliver(quote()).empty
    assert s.stdout() == "line \\ud800\n"


def test_what_on_init_built_is_frozen_for_the_collector(start: Start) -> None:
    s = start(
        "import gc, msup\nclass S(msup.Strategy):\n"
        "    def on_event(self, ctx, event): ctx.telemetry('frozen', gc.get_freeze_count())\n"
    )
    s.begin()
    value = s.deliver(quote()).telemetry[0].value
    assert isinstance(value, float)
    assert value > 1000
