"""One strategy instance inside its runner: messages in, answers out, no socket. Runner and test harness share it."""

# The context's underscored members are the session's side of it.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import CoroutineType, GeneratorType
from typing import Any, Final, cast

from msup.context import Context
from msup.error import ProtocolError, StateError
from msup.event import ConfigUpdate, Event, Recovered, Shutdown, Timer
from msup.fault import fault_of, make_fault, name_of
from msup.health import Health, HealthLevel
from msup.limit import MAX_ANSWER_BYTES, MAX_STATE_BYTES, MAX_TAG_BYTES
from msup.message import (
    ABI_VERSION,
    EVENT_CONTRACT_VERSION,
    INTENT_CONTRACT_VERSION,
    Answer,
    Batch,
    BatchAnswer,
    CheckpointRequest,
    Deliver,
    Fault,
    Healthcheck,
    HealthReport,
    Hello,
    Init,
)
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here
from msup.state import StateCodec
from msup.strategy import Strategy, check_class, has_hook, hooks_of
from msup.version import __version__

SDK_NAME: Final = "python"

AnyStrategy = Strategy[Any, Any]


class Session:
    """Dispatches to one strategy object and keeps its context.

    Not thread-safe; nothing in it is the strategy's business.
    """

    def __init__(
        self,
        strategy_class: type[AnyStrategy],
        context: Context | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """``prepare`` runs just before ``on_init``.

        Raises ``EntryError`` or ``StateError`` where the class is declared wrongly.
        """
        self._prepare = prepare
        self.strategy_class = check_class(strategy_class)
        self.context = context or Context()
        self.max_answer_bytes = MAX_ANSWER_BYTES
        self._max_state_bytes = MAX_STATE_BYTES
        self._own_bytes = has_hook(strategy_class, "save_state")
        self._state_codec = StateCodec(strategy_class.State)
        self._strategy: AnyStrategy | None = None
        self._ready = False
        self._on_event: Callable[[Context, Event], object] = _not_ready
        self._special: dict[type, Callable[[Any], object]] = {}

    @property
    def state_schema_version(self) -> int:
        """The version of the state that ``checkpoint`` gives."""
        return self.strategy_class.state_schema_version

    @property
    def strategy(self) -> AnyStrategy | None:
        """The strategy object, None before init."""
        return self._strategy

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
            hooks_of(self.strategy_class),
            self.strategy_class.state_schema_version,
        )

    def init(self, message: Init, state: bytes | None) -> Answer:
        """Make the strategy, give it its state back, call ``on_init``."""
        if self._strategy is not None:
            raise ProtocolError("a second init in one session")
        if message.step == 0:
            raise ProtocolError("an init of step 0; steps count from 1")
        self.max_answer_bytes = min(message.max_answer_bytes or MAX_ANSWER_BYTES, MAX_ANSWER_BYTES)
        self._max_state_bytes = min(message.max_state_bytes or MAX_STATE_BYTES, MAX_STATE_BYTES)
        ctx = self.context
        ctx._now, ctx._step, ctx._trace_id = message.processed_ts, message.step, message.trace_id
        ctx._open = True
        fault: Fault | None = None
        try:
            config = self.strategy_class.Config.from_values(message.config)
            ctx._fill(message, config, self.strategy_class.risk_context)
            if self._prepare is not None:
                self._prepare()
            self._strategy = strategy = self.strategy_class()
            strategy.config = config
            restored = self._restore(strategy, message.state_version, state)
            result: object = strategy.on_init(ctx, config, restored)
            if result is None:
                self._bind(strategy)
            else:
                fault = _bad_return("on_init", result)
        except BaseException as error:  # noqa: BLE001
            fault = fault_of(error)
        ctx._open = False
        return Answer(message.seq, message.step, *ctx._take(fault))

    def deliver(self, message: Deliver) -> Answer:
        """One event, one step, one answer."""
        fault = self._run(message.step, message.processed_ts, message.trace_id, message.event)
        return Answer(message.seq, message.step, *self.context._take(fault))

    def batch(self, message: Batch) -> BatchAnswer:
        """Events one by one, up to the first whose answer is not empty."""
        if not message.events:
            raise ProtocolError("a batch without events")
        ctx, run = self.context, self._run
        step = message.first_step - 1
        fault: Fault | None = None
        for item in message.events:
            step += 1
            fault = run(step, item.processed_ts, item.trace_id, item.event)
            if ctx._dirty or fault is not None:
                break
        consumed = step - message.first_step + 1
        return BatchAnswer(message.seq, consumed, step, *ctx._take(fault))

    def checkpoint(self, message: CheckpointRequest) -> bytes | Answer:
        """The state's bytes, or an answer with a fault of kind ``state``."""
        try:
            return self._save(self._usable(), min(message.max_bytes or self._max_state_bytes, self._max_state_bytes))
        except BaseException as error:  # noqa: BLE001
            fault = fault_of(error)
            if fault.kind not in ("state", "memory"):
                fault = Fault("state", fault.message, fault.traceback)
            return Answer(message.seq, message.step, [], None, [], [], [], fault)

    def health(self, message: Healthcheck) -> HealthReport:
        """What the strategy thinks of itself; an exception is ``failing``. No step: ctx takes no effects meanwhile."""
        if not self._ready or self._strategy is None:
            return HealthReport(message.seq, HealthLevel.DEGRADED, "not_initialised")
        try:
            health = _checked_health(self._strategy.on_healthcheck(self.context))
        except BaseException as error:  # noqa: BLE001
            fault_of(error)
            health = Health.failing("healthcheck_failed")
        return HealthReport(message.seq, health.level, health.tag)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _run(self, step: int, processed_ts: int, trace_id: str, event: Event) -> Fault | None:
        ctx = self.context
        ctx._step = step
        ctx._now = processed_ts
        ctx._trace_id = trace_id
        ctx._open = True
        try:
            special = self._special.get(type(event))
            result = self._on_event(ctx, event) if special is None else special(event)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt too: only the supervisor ends a runner
            ctx._open = False
            return fault_of(error)
        ctx._open = False
        return None if result is None else _bad_return(f"the callback for {type(event).__name__}", result)

    def _bind(self, strategy: AnyStrategy) -> None:
        """Look the callbacks up once, not at every event. Only a strategy whose ``on_init`` succeeded gets any."""
        self._ready = True
        ctx = self.context
        self._on_event = strategy.on_event
        on_timer, on_shutdown = strategy.on_timer, strategy.on_shutdown
        self._special = {
            Timer: lambda event: on_timer(ctx, event.timer_id, event.due_ts),
            Shutdown: lambda event: on_shutdown(ctx, event.reason),
            ConfigUpdate: lambda event: self._update_config(strategy, event),
        }
        if has_hook(type(strategy), "on_recovered"):
            on_recovered = strategy.on_recovered
            self._special[Recovered] = lambda event: on_recovered(
                ctx, event.positions, event.open, event.intents_since_checkpoint
            )  # fmt: skip

    def _update_config(self, strategy: AnyStrategy, event: ConfigUpdate) -> object:
        config = self.strategy_class.Config.from_values(event.config)
        strategy.config = config
        self.context._config = config
        return strategy.on_config(self.context, config)

    def _usable(self) -> AnyStrategy:
        if self._strategy is None or not self._ready:
            raise StateError("on_init has not succeeded, so there is no state")
        return self._strategy

    def _restore(self, strategy: AnyStrategy, version: int, data: bytes | None) -> Any:
        """Set ``self.state``; what it returns is ``restored_state``."""
        current = self.strategy_class.state_schema_version
        strategy.state = self.strategy_class.State()
        if data is None:
            return None
        if version > current:
            raise StateError(
                f"the stored state has schema version {version}, this strategy knows {current}; run the newer one"
            )
        state: Any = data
        if version < current:
            if not has_hook(self.strategy_class, "migrate"):
                raise StateError(
                    f"the stored state has schema version {version}, this strategy {current}, and there is no migrate()"
                )
            state = strategy.migrate(version, data)
        if self._own_bytes:
            if not isinstance(state, bytes):
                raise StateError(f"migrate returned a {type(state).__name__}; with load_state it must return bytes")
            strategy.load_state(state)
            return strategy.state
        if isinstance(state, bytes):
            state = self._state_codec.decode(state)
        if type(state) is not self.strategy_class.State:
            raise StateError(
                f"migrate returned a {type(state).__name__}; it must return {self.strategy_class.State.__qualname__}"
            )
        strategy.state = state
        return state

    def _save(self, strategy: AnyStrategy, most: int) -> bytes:
        if self._own_bytes:
            data: Any = strategy.save_state()
            if not isinstance(data, bytes):
                raise StateError(f"save_state returned a {type(data).__name__}; it must return bytes")
        else:
            data = self._state_codec.encode(strategy.state)
        if len(data) > most:
            raise StateError(
                f"the state has {len(data)} bytes; at most {most} are allowed: keep less or raise the limit"
            )
        return data


def _not_ready(ctx: Context, event: Event) -> object:
    raise ProtocolError(f"a {type(event).__name__} before on_init has succeeded")


def _bad_return(where: str, result: object) -> Fault:
    name = name_of(result)
    # By type, not by isinstance: that asks the object itself for its class, which may raise, or lie.
    if type(result) is CoroutineType or type(result) is GeneratorType:
        with contextlib.suppress(BaseException):  # what it does when it is closed is its own
            cast("GeneratorType[Any, Any, Any]", result).close()
    return make_fault("bad_return", f"{where} returned a {name}; return None and decide through ctx")


def _checked_health(found: Any) -> Health:
    if found is None:
        return Health.healthy()
    if not isinstance(found, Health):
        raise TypeError(f"on_healthcheck returned a {type(found).__name__}; return msup.Health or None")
    size = len(found.tag.encode())
    if size > MAX_TAG_BYTES:
        raise ValueError(f"the health tag has {size} bytes; at most {MAX_TAG_BYTES} are allowed")
    return Health(HealthLevel(found.level), found.tag)
