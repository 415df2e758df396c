"""The compute part: through its session, and as a real process behind a real socket."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msup
import pytest
from fakesupervisor import FakeSupervisor, quote
from msup import ComputePart, ComputeResult, Context
from msup.compute import check_part
from msup.entry import load, load_part
from msup.error import EntryError
from msup.limit import MAX_ANSWER_BYTES
from msup.testing import PartFaultError, PartHarness

Start = Callable[..., FakeSupervisor]

PART = """
import msup

class S(msup.ComputePart):
    def on_init(self, ctx, config):
        print("ready", ctx.instance, len(config.fields()))
        self.n = 0

    def on_task(self, ctx, task, payload):
        if task == "raise":
            raise ValueError("no")
        if task == "order":
            ctx.no_op("never")
        if task == "exit":
            raise SystemExit(3)
        self.n += 1
        return f"{task} {ctx.now()} {ctx.step} {self.n} ".encode() + payload
"""


class Config(msup.Config):
    """Of the strategy and its part."""

    window: Annotated[int, msup.param(min=1)] = 5


class Echo(ComputePart[Config]):
    """Says what it sees."""

    def on_task(self, ctx: Context, task: str, payload: bytes) -> bytes:
        """Task, configuration, step, chance."""
        if task == "large":
            return bytes(int(payload))
        if task == "none":
            return None  # type: ignore[return-value] # pyright: ignore[reportReturnType]
        return f"{task} {self.config.window} {ctx.step} {ctx.rng.random():.6f}".encode()


# Proves: LN-2
def test_a_part_in_a_runner(start: Start) -> None:
    s = start(PART)
    hello = s.accept()
    assert (hello.sdk, hello.hooks) == ("python", ["on_task"])
    assert s.init({"window": 9}).empty  # the strategy's configuration is no concern of it
    answer = s.deliver(ComputeResult("fit", 7, 2, 11, b"\x00\x01"))
    assert answer.fault is None
    (result,) = answer.compute
    assert (result.task, result.payload) == ("fit", f"fit {s.now} {answer.step} 1 ".encode() + b"\x00\x01")
    assert answer.intents == answer.timers == answer.telemetry == []
    for task, kind, text in (
        ("raise", "exception", "ValueError: no"),
        ("order", "exception", "StepError"),
        ("exit", "exception", "SystemExit"),
    ):
        fault = s.deliver(ComputeResult(task, 8, 0, 11, b"")).fault
        assert fault is not None
        assert fault.kind == kind
        assert text in fault.message
    strange = s.deliver(quote()).fault
    assert strange is not None
    assert strange.kind == "config"
    assert s.deliver(ComputeResult("fit", 9, 0, 11, b"")).compute[0].payload.split()[3] == b"2"  # it lives on
    assert s.stop() == 0
    assert s.stdout() == "ready instance 0\n"


# Proves: LN-2, NN-7
def test_what_a_part_sees() -> None:
    one, two = PartHarness(Echo, config={"window": 8}), PartHarness(Echo)
    first = one.task("fit", step=7)
    assert first.startswith(b"fit 8 7 0.")
    assert one.task("fit", step=7) == first
    assert two.task("fit", step=7).split()[3] == first.split()[3]
    assert two.task("fit", step=8).split()[3] != first.split()[3]


# Proves: LN-2, SB-6
def test_results_that_are_none() -> None:
    part = PartHarness(Echo)
    most = MAX_ANSWER_BYTES - 1024
    assert len(part.task("large", str(most).encode())) == most
    with pytest.raises(PartFaultError, match="at most 64512 are allowed"):
        part.task("large", str(most + 1).encode())
    with pytest.raises(PartFaultError, match="bad_return: on_task returned a NoneType"):
        part.task("none")
    with pytest.raises(PartFaultError, match="window: 0 is too small"):
        PartHarness(Echo, config={"window": 0})


class NoTask(ComputePart):
    """Forgot the one thing that it is for."""


class Asynchronous(ComputePart):
    """Returns a coroutine."""

    async def on_task(self, ctx: Context, task: str, payload: bytes) -> bytes:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Never awaited."""
        return b""


class NotAConfig(ComputePart):
    """Its configuration is something else."""

    Config = int  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]

    def on_task(self, ctx: Context, task: str, payload: bytes) -> bytes:
        """Nothing."""
        return b""


# Proves: AD-1
@pytest.mark.parametrize(
    ("found", "text"),
    [
        (NoTask, "NoTask has no on_task"),
        (Asynchronous, "Asynchronous.on_task is a generator or async function"),
        (NotAConfig, "NotAConfig.Config is not derived from msup.Config"),
        (msup.Strategy, "is no class derived from msup.ComputePart"),
        (7, "is no class derived from msup.ComputePart"),
    ],
)
def test_parts_that_are_refused(found: Any, text: str) -> None:
    with pytest.raises(EntryError, match=text):
        check_part(found)


# Proves: AD-1
def test_a_part_is_no_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apart.py").write_text(PART)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert load_part("apart:S").__name__ == "S"
    with pytest.raises(EntryError, match=r"no class derived from msup\.Strategy"):
        load("apart:S")
    with pytest.raises(EntryError, match="has no 'T'"):
        load_part("apart:T")
