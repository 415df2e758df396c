"""Test a compute part without a supervisor: ``PartHarness`` drives it through the runner's own session and bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msup.codec import Decoder, SupervisorDecoder, encode
from msup.compute import ComputePart
from msup.computesession import ComputeSession
from msup.error import MsupError
from msup.event import ComputeResult
from msup.instrument import Instrument
from msup.limit import MAX_ANSWER_BYTES
from msup.message import Address, Answer, Deliver, Fault, Init, Lane, RunMode, RunnerMessage

__all__ = ["PartFaultError", "PartHarness"]


class PartFaultError(AssertionError):
    """The compute part answered with a fault; ``fault`` holds it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.kind}: {fault.message}\n{fault.traceback}")
        self.fault = fault


class PartHarness:
    """One compute part in this process. A fault raises ``PartFaultError``.

    part = PartHarness(Volatility, config={"window": 50})
    assert part.task("volatility", payload) == expected
    """

    def __init__(
        self,
        part_class: type[ComputePart[Any]],
        *,
        config: Mapping[str, object] | None = None,
        instruments: Sequence[Instrument] = (),
        run_seed: int = 1,
        instance: str = "test",
    ) -> None:
        """Start the part and call its ``on_init``."""
        self._session = ComputeSession(part_class)
        self._from_supervisor = SupervisorDecoder()
        self._from_runner: Decoder[RunnerMessage] = Decoder(RunnerMessage)
        self._step = 1
        self.now_ns = 0
        message = Init(
            1,
            1,
            0,
            "",
            Address("test-bot", part_class.__name__.lower(), instance),
            "0.0.0",
            hashlib.sha256(b"msup.testing").digest()[:16],
            "test-run",
            1,
            Lane.COMPUTE,
            RunMode.RESEARCH,
            run_seed,
            dict(config or {}),
            list(instruments),
            None,
            False,
            0,
            None,
            MAX_ANSWER_BYTES,
            0,
            0,
        )
        self._settle(self._session.init(cast(Init, self._from_supervisor.decode(encode(message))), None))

    def task(self, task: str, payload: bytes = b"", *, step: int | None = None, now_ns: int | None = None) -> bytes:
        """Carry out one task of a request made at ``step`` and ``now_ns``; the result comes back."""
        self._step = self._step + 1 if step is None else step
        self.now_ns = self.now_ns if now_ns is None else now_ns
        event = ComputeResult(task, self._step, 0, self.now_ns, payload)
        message = self._from_supervisor.decode(encode(Deliver(2, self._step, self.now_ns, "", event)))
        answer = self._settle(self._session.deliver(cast(Deliver, message)))
        return answer.compute[0].payload

    def _settle(self, answer: Answer) -> Answer:
        found = self._from_runner.decode(encode(answer))
        if not isinstance(found, Answer):
            raise MsupError(f"a {type(found).__name__} is no Answer")
        if found.fault is not None:
            raise PartFaultError(found.fault)
        return found
