"""The compute part of a strategy: what is too slow for an event, in a process of its own (LN-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeGuard, cast, get_args, get_origin

from msup.config import Config as ConfigBase
from msup.error import EntryError
from msup.hook import suspends

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from msup.context import Context

    ConfigT = TypeVar("ConfigT", default=Any)
else:
    from typing import TypeVar

    ConfigT = TypeVar("ConfigT")


class ComputePart(Generic[ConfigT]):
    """Base of every compute part; ``[compute] entry`` of strategy.toml names the class.

    The strategy asks with ``ctx.submit_compute(task, payload, ttl_ns)``; each request becomes one call of ``on_task``,
    whose bytes come back to the strategy as ``msup.ComputeResult``, or as ``msup.ComputeUnavailable`` with a reason.

    - It runs in a runner of its own on the compute lane: it may take its time, and shares no memory with the strategy.
    - ``ctx`` is for reading: ``now()`` is the time of the request, ``rng`` is seeded from it, ``config`` and
      ``instruments`` are the strategy's. Asking for anything, an intent or a timer, is an error.
    - What it keeps in memory is lost whenever its runner is restarted; nothing of it is in a checkpoint. A result that
      depends on nothing but the payload is the one that research repeats.
    - An exception is a reason that the strategy gets (``STRATEGY_EXCEPTION``), and no end of the process.
    """

    Config: ClassVar[type[ConfigBase]] = ConfigBase
    """The strategy's own ``Config``, where the part wants to read it; left out, ``self.config`` is empty."""

    config: ConfigT

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cast("tuple[Any, ...]", getattr(cls, "__orig_bases__", ())):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, ComputePart):
                for argument in get_args(base):
                    if isinstance(argument, type) and issubclass(argument, ConfigBase):
                        cls.Config = argument

    def on_init(self, ctx: Context, config: ConfigT) -> None:
        """Prepare, once a process; imports and models that take seconds belong here."""

    def on_task(self, ctx: Context, task: str, payload: bytes) -> bytes:
        """Carry out one task; what comes back is the result, at most 63 KiB."""
        raise NotImplementedError


def is_part(found: object) -> TypeGuard[type[ComputePart[Any]]]:
    """Whether an entry names a compute part rather than a strategy."""
    return isinstance(found, type) and issubclass(found, ComputePart)


def check_part(part_class: object) -> type[ComputePart[Any]]:
    """Refuse a class whose declarations are wrong; returns it typed."""
    if not is_part(part_class):
        raise EntryError(f"{part_class!r} is no class derived from msup.ComputePart")
    checked = part_class
    name = checked.__qualname__
    if not issubclass(cast(type, checked.Config), ConfigBase):
        raise EntryError(f"{name}.Config is not derived from msup.Config")
    checked.Config.fields()
    if checked.on_task is ComputePart.on_task:
        raise EntryError(f"{name} has no on_task; write on_task(self, ctx, task, payload) -> bytes")
    for hook in ("on_init", "on_task"):
        if suspends(getattr(checked, hook)):
            raise EntryError(f"{name}.{hook} is a generator or async function; callbacks are plain functions")
    return checked
