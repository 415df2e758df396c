"""A compute part inside its runner: tasks in, results out, no socket. Runner and test harness share it."""

# The context's underscored members are the session's side of it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from msup.compute import ComputePart, check_part
from msup.context import Context
from msup.error import ProtocolError
from msup.event import ComputeResult
from msup.fault import fault_of, make_fault
from msup.health import HealthLevel
from msup.limit import MAX_ANSWER_BYTES
from msup.message import (
    ABI_VERSION,
    EVENT_CONTRACT_VERSION,
    INTENT_CONTRACT_VERSION,
    Answer,
    Batch,
    BatchAnswer,
    CheckpointRequest,
    ComputeRequest,
    Deliver,
    Fault,
    Healthcheck,
    HealthReport,
    Hello,
    Init,
)
from msup.rng import StepRng, step_seed
from msup.session import SDK_NAME
from msup.version import __version__

MAX_RESULT_BYTES: Final = MAX_ANSWER_BYTES - 1024


class ComputeSession:
    """Dispatches to one compute part. A task is a ``compute_result`` that holds the request; see PROTOCOL.md."""

    state_schema_version: Final = 1

    def __init__(
        self,
        part_class: type[ComputePart[Any]],
        context: Context | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """``prepare`` runs just before ``on_init``. Raises ``EntryError`` where the class is declared wrongly."""
        self._prepare = prepare
        self.part_class = check_part(part_class)
        self.context = context or Context()
        self.max_answer_bytes = MAX_ANSWER_BYTES
        self._part: ComputePart[Any] | None = None
        self._ready = False

    def hello(self, package_hash: str) -> Hello:
        """The first frame."""
        return Hello(
            0,
            ABI_VERSION,
            SDK_NAME,
            __version__,
            EVENT_CONTRACT_VERSION,
            INTENT_CONTRACT_VERSION,
            package_hash,
            ["on_task"],
            self.state_schema_version,
        )

    def init(self, message: Init, state: bytes | None) -> Answer:
        """Make the part and call its ``on_init``."""
        if self._part is not None:
            raise ProtocolError("a second init in one session")
        if state is not None:
            raise ProtocolError("a compute part has no state to restore")
        self.max_answer_bytes = min(message.max_answer_bytes or MAX_ANSWER_BYTES, MAX_ANSWER_BYTES)
        ctx = self.context
        ctx._now, ctx._step, ctx._trace_id = message.processed_ts, message.step, message.trace_id
        fault: Fault | None = None
        try:
            # A part that declares no Config of its own reads none: the values are the strategy's.
            fields = self.part_class.Config.fields()
            config = self.part_class.Config.from_values(message.config if fields else {})
            ctx._fill(message, config, None)
            if self._prepare is not None:
                self._prepare()
            self._part = part = self.part_class()
            part.config = config
            result: object = part.on_init(ctx, config)
            if result is not None:
                fault = make_fault("bad_return", f"on_init returned a {type(result).__name__}; return None")
            self._ready = fault is None
        except BaseException as error:  # noqa: BLE001
            fault = fault_of(error)
        return Answer(message.seq, message.step, [], None, [], [], [], fault)

    def deliver(self, message: Deliver) -> Answer:
        """One task, one result."""
        found = self._run(message)
        if isinstance(found, Fault):
            return Answer(message.seq, message.step, [], None, [], [], [], found)
        return Answer(message.seq, message.step, [], None, [], [found], [], None)

    def batch(self, message: Batch) -> BatchAnswer:
        """There are none: a task is asked about alone."""
        raise ProtocolError("a batch for a compute part")

    def checkpoint(self, message: CheckpointRequest) -> bytes | Answer:
        """A compute part has no state."""
        fault = make_fault("state", "a compute part has no state")
        return Answer(message.seq, message.step, [], None, [], [], [], fault)

    def health(self, message: Healthcheck) -> HealthReport:
        """Healthy once ``on_init`` has succeeded."""
        if self._ready:
            return HealthReport(message.seq, HealthLevel.HEALTHY, "")
        return HealthReport(message.seq, HealthLevel.DEGRADED, "not_initialised")

    def _run(self, message: Deliver) -> ComputeRequest | Fault:
        request = message.event
        if not isinstance(request, ComputeResult):
            return make_fault(
                "config", f"a {type(request).__name__} for a compute part; [strategy] entry must name a strategy"
            )
        if self._part is None or not self._ready:
            return make_fault("config", "a task before on_init has succeeded")
        ctx = self.context
        ctx._step, ctx._now, ctx._trace_id = message.step, message.processed_ts, message.trace_id
        # A stream of its own for every request: which runner carries it out, and after what, must not matter.
        place = f"{ctx.instance}#{request.ordinal}"
        ctx._rng = StepRng(lambda: message.step, lambda: step_seed(ctx._run_seed, place, message.step))
        try:
            result = self._part.on_task(ctx, request.task, request.payload)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: only the supervisor ends a runner
            return fault_of(error)
        if not isinstance(cast(object, result), bytes):
            return make_fault("bad_return", f"on_task returned a {type(result).__name__}; return bytes")
        if len(result) > MAX_RESULT_BYTES:
            return make_fault(
                "bad_return", f"the result has {len(result)} bytes; at most {MAX_RESULT_BYTES} are allowed"
            )
        return ComputeRequest(request.task, result, 0)
