"""The messages of the runner session (PROTOCOL.md section 2)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from msgspec import Meta

from msup.event import Event
from msup.instrument import Instrument
from msup.intent import Intent, RiskContext
from msup.limit import (
    MAX_BATCH_EVENTS,
    MAX_CHUNK_BYTES,
    MAX_COMPUTES,
    MAX_DELTA_ENTRIES,
    MAX_HOOKS,
    MAX_INTENTS,
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    MAX_TELEMETRY,
    MAX_TIMERS,
    MAX_TRACEBACK_BYTES,
)
from msup.wire import U32, U64, Bin16, Float, Id, Nanos, Tag, Values, Wire

ABI_VERSION: Final = 1
EVENT_CONTRACT_VERSION: Final = 1
INTENT_CONTRACT_VERSION: Final = 1


class MessageType(enum.IntEnum):
    """The first element of every frame of a runner session. Values are fixed for ever."""

    HELLO = 1
    INIT = 2
    ANSWER = 3
    DELIVER = 4
    BATCH = 5
    BATCH_ANSWER = 6
    CHECKPOINT_REQUEST = 7
    CHUNK = 8
    HEALTHCHECK = 9
    HEALTH_REPORT = 10
    STOP = 11


class Lane(enum.IntEnum):
    """The two scheduling classes that never disturb each other (NN-4)."""

    LL = 1
    COMPUTE = 2


class RunMode(enum.IntEnum):
    """What the events are."""

    LIVE = 1
    REPLAY = 2
    RESEARCH = 3
    SHADOW = 4
    SMOKE = 5


class TimerOp(enum.IntEnum):
    """What to do with a timer."""

    SET = 1
    CANCEL = 2


class HealthLevel(enum.IntEnum):
    """How the strategy judges itself."""

    HEALTHY = 0
    DEGRADED = 1
    FAILING = 2


class Address(Wire):
    """Names one instance everywhere."""

    bot: Id
    strategy: Id
    instance: Id


class Hello(Wire, tag=1):
    """Opens the session, runner → supervisor; ``hooks`` are the optional callbacks that the strategy has."""

    type: ClassVar[MessageType] = MessageType.HELLO
    seq: U64
    abi: U32
    sdk: Id
    sdk_version: Id
    event_contract: U32
    intent_contract: U32
    package_hash: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]
    hooks: Annotated[list[Tag], Meta(max_length=MAX_HOOKS)]
    state_schema_version: U32


class Init(Wire, tag=2):
    """The first question: ``on_init``. Where ``state_bytes`` is not None, chunks with the state follow."""

    type: ClassVar[MessageType] = MessageType.INIT
    seq: U64
    step: U64
    processed_ts: Nanos
    trace_id: Id
    address: Address
    strategy_version: Id
    lineage: Bin16
    run_id: Id
    epoch: U64
    lane: Lane
    mode: RunMode
    run_seed: U64
    config: Values
    instruments: Annotated[list[Instrument], Meta(max_length=MAX_ROWS)]
    risk_context: RiskContext | None
    restored: bool
    state_version: U32
    state_bytes: U64 | None
    max_answer_bytes: U64
    max_state_bytes: U64
    max_intents: U32


class StateUpdates(Wire):
    """A request for a checkpoint, and a bounded delta of the supervisor's copy of the state (None deletes)."""

    checkpoint: bool
    delta: Annotated[dict[str, bytes | None], Meta(max_length=MAX_DELTA_ENTRIES)] | None


class TimerRequest(Wire):
    """Sets (replacing one of the same id) or cancels a timer; ``due_ts`` is a processed time."""

    op: TimerOp
    timer_id: Tag
    due_ts: Nanos


class ComputeRequest(Wire):
    """Asks the compute part for something (LN-2)."""

    task: Tag
    payload: bytes
    ttl_ns: Nanos


if TYPE_CHECKING:
    TelemetryValue = float | str
else:
    # msgspec reads an integer as a float where only floats are allowed; on the wire it is an error. ``codec`` refuses
    # it.
    TelemetryValue = int | Float | Tag


class Telemetry(Wire):
    """A declared name with a number or a short tag; free text is forbidden (DM-3)."""

    name: Tag
    value: TelemetryValue


class Fault(Wire):
    """A typed failure inside the strategy. ``kind``: exception, bad_return, config, state, memory, determinism."""

    kind: Tag
    message: Annotated[str, Meta(max_length=MAX_MESSAGE_BYTES)]
    traceback: Annotated[str, Meta(max_length=MAX_TRACEBACK_BYTES)]


Intents = Annotated[list[Intent], Meta(max_length=MAX_INTENTS)]
Timers = Annotated[list[TimerRequest], Meta(max_length=MAX_TIMERS)]
Computes = Annotated[list[ComputeRequest], Meta(max_length=MAX_COMPUTES)]
Telemetries = Annotated[list[Telemetry], Meta(max_length=MAX_TELEMETRY)]


class Answer(Wire, tag=3):
    """What the strategy returned for one step, its parts kept apart (DM-3)."""

    type: ClassVar[MessageType] = MessageType.ANSWER
    seq: U64
    step: U64
    intents: Intents
    state_updates: StateUpdates | None
    timers: Timers
    compute: Computes
    telemetry: Telemetries
    fault: Fault | None

    @property
    def empty(self) -> bool:
        """Nothing but the step is in it."""
        return not (self.intents or self.state_updates or self.timers or self.compute or self.telemetry or self.fault)


class Deliver(Wire, tag=4):
    """One event for the strategy. It is one step."""

    type: ClassVar[MessageType] = MessageType.DELIVER
    seq: U64
    step: U64
    processed_ts: Nanos
    trace_id: Id
    event: Event


class BatchEvent(Wire):
    """One event of a batch."""

    processed_ts: Nanos
    trace_id: Id
    event: Event


class Batch(Wire, tag=5):
    """Events of the steps ``first_step``, ``first_step`` + 1, …; research and replay only."""

    type: ClassVar[MessageType] = MessageType.BATCH
    seq: U64
    first_step: U64
    events: Annotated[list[BatchEvent], Meta(max_length=MAX_BATCH_EVENTS)]


class BatchAnswer(Wire, tag=6):
    """Ends a batch at the first event with a non-empty answer, or at its last; the parts are the last event's."""

    type: ClassVar[MessageType] = MessageType.BATCH_ANSWER
    seq: U64
    consumed: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    step: U64
    intents: Intents
    state_updates: StateUpdates | None
    timers: Timers
    compute: Computes
    telemetry: Telemetries
    fault: Fault | None


class CheckpointRequest(Wire, tag=7):
    """Asks for the state after ``step``."""

    type: ClassVar[MessageType] = MessageType.CHECKPOINT_REQUEST
    seq: U64
    step: U64
    max_bytes: U64


class Chunk(Wire, tag=8):
    """A part of a strategy's state; offsets rise without gaps, ``total`` is the same in all of them."""

    type: ClassVar[MessageType] = MessageType.CHUNK
    seq: U64
    offset: U64
    total: U64
    state_version: U32
    data: Annotated[bytes, Meta(max_length=MAX_CHUNK_BYTES)]


class Healthcheck(Wire, tag=9):
    """Asks for ``on_healthcheck``. It is no step and must not change state."""

    type: ClassVar[MessageType] = MessageType.HEALTHCHECK
    seq: U64


class HealthReport(Wire, tag=10):
    """Answers it: 0 healthy, 1 degraded, 2 failing."""

    type: ClassVar[MessageType] = MessageType.HEALTH_REPORT
    seq: U64
    health: HealthLevel
    tag: Tag


class Stop(Wire, tag=11):
    """Ends the session: the runner exits with code 0."""

    type: ClassVar[MessageType] = MessageType.STOP
    seq: U64


SupervisorMessage = Init | Deliver | Batch | CheckpointRequest | Chunk | Healthcheck | Stop
"""What the supervisor sends to a runner."""

RunnerMessage = Hello | Answer | BatchAnswer | Chunk | HealthReport
"""What a runner sends to the supervisor."""
