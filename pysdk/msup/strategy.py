"""What a strategy is to Python: a class with five callbacks (DM-3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast, get_args, get_origin

from msup.config import Config as ConfigBase
from msup.error import EntryError
from msup.event import Event, OpenIntent, Position
from msup.health import Health
from msup.hook import suspends
from msup.intent import RiskContext
from msup.state import State as StateBase

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from msup.context import Context

    ConfigT = TypeVar("ConfigT", default=Any)
    StateT = TypeVar("StateT", default=Any)
else:
    from typing import TypeVar

    ConfigT = TypeVar("ConfigT")
    StateT = TypeVar("StateT")

OPTIONAL_HOOKS = ("on_recovered", "on_config", "on_healthcheck", "migrate")
"""Callbacks that the handshake announces when a strategy has them."""


class Strategy(Generic[ConfigT, StateT]):
    """Base of every strategy. One object lives per instance, in one thread, in a process of its own.

    Declare ``class Config(msup.Config)`` and ``class State(msup.State)`` inside the class, or name them as type
    arguments, ``class EmaCross(Strategy[EmaConfig, EmaState])``, which also types ``self.config`` and ``self.state``.

    - A callback returns None. What it decides goes through ``ctx``; any other return value is a fault, ``bad_return``.
    - ``self.state`` is all that survives a restart: it is written at a checkpoint and read back before ``on_init``.
      Every other attribute must follow from config, state and the events since then, or replay diverges (NN-7).
    - An exception ends the step as a typed fault: its intents are dropped, the state counts as suspect (SB-6).
    """

    Config: ClassVar[type[ConfigBase]] = ConfigBase
    State: ClassVar[type[StateBase]] = StateBase
    state_schema_version: ClassVar[int] = 1
    """Rises whenever ``State`` changes its meaning (ST-1)."""

    risk_context: RiskContext | None = None
    """Default of this strategy's intents; None takes the descriptor's (GT-4)."""

    config: ConfigT
    state: StateT

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cast("tuple[Any, ...]", getattr(cls, "__orig_bases__", ())):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Strategy):
                for argument in get_args(base):
                    if isinstance(argument, type) and issubclass(argument, ConfigBase):
                        cls.Config = argument
                    elif isinstance(argument, type) and issubclass(argument, StateBase):
                        cls.State = argument

    def on_init(self, ctx: Context, config: ConfigT, restored_state: StateT | None) -> None:
        """Prepare.

        ``restored_state`` is ``self.state`` when it comes from a checkpoint, None at the first start. Must make no
        intents.
        """

    def on_event(self, ctx: Context, event: Event) -> None:
        """One event, of whatever kind is subscribed; executions, signals and notices of M arrive here too."""

    def on_timer(self, ctx: Context, timer_id: str, ts: int) -> None:
        """A timer set with ``ctx.set_timer`` is due; ``ts`` is the time for which it was set."""

    def on_shutdown(self, ctx: Context, reason: str) -> None:
        """The last step before an orderly stop; a checkpoint follows it."""

    def on_healthcheck(self, ctx: Context) -> Health | None:
        """Judge yourself; None means healthy. It is no step: change nothing."""
        return None

    def on_recovered(
        self,
        ctx: Context,
        positions: Sequence[Position],
        open_intents: Sequence[OpenIntent],
        intents_since_checkpoint: Sequence[OpenIntent],
    ) -> None:
        """With ``recovery = "inform"``: the state is the checkpoint's; this is what happened since."""

    def on_config(self, ctx: Context, config: ConfigT) -> None:
        """The configuration changed; ``self.config`` is the new one already."""

    def migrate(self, from_version: int, data: bytes) -> StateT | bytes:
        """Make the state of an older ``state_schema_version`` a current one (ST-5).

        With ``load_state``, current bytes.
        """
        raise NotImplementedError

    def save_state(self) -> bytes:
        """Override together with ``load_state`` to write the state in a form of your own; it must be deterministic."""
        raise NotImplementedError

    def load_state(self, data: bytes) -> None:
        """Read back what ``save_state`` wrote; called before ``on_init``."""
        raise NotImplementedError


def has_hook(strategy_class: type[Strategy[Any, Any]], name: str) -> bool:
    """Whether the class has a callback of its own."""
    return getattr(strategy_class, name) is not getattr(Strategy, name)


def hooks_of(strategy_class: type[Strategy[Any, Any]]) -> list[str]:
    """The optional callbacks of the class, in a fixed order."""
    return [name for name in OPTIONAL_HOOKS if has_hook(strategy_class, name)]


def check_class(strategy_class: object) -> type[Strategy[Any, Any]]:
    """Refuse a class whose declarations are wrong, before any event (AD-1); returns it typed."""
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, Strategy)):
        raise EntryError(f"{strategy_class!r} is no class derived from msup.Strategy")
    checked = cast("type[Strategy[Any, Any]]", strategy_class)
    name = checked.__qualname__
    if not issubclass(cast(type, checked.Config), ConfigBase):
        raise EntryError(f"{name}.Config is not derived from msup.Config")
    if not issubclass(cast(type, checked.State), StateBase):
        raise EntryError(f"{name}.State is not derived from msup.State")
    checked.Config.fields()
    version = cast(object, checked.state_schema_version)
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 2**32:
        raise EntryError(f"{name}.state_schema_version is {version!r}; it must be an int from 1")
    if has_hook(checked, "save_state") != has_hook(checked, "load_state"):
        raise EntryError(f"{name} overrides only one of save_state and load_state; they belong together")
    for hook in ("on_init", "on_event", "on_timer", "on_shutdown", *OPTIONAL_HOOKS):
        if suspends(getattr(checked, hook)):
            raise EntryError(
                f"{name}.{hook} is a generator or async function; callbacks are plain functions that return None"
            )
    return checked
