"""Typed faults: what an exception in a strategy becomes (SB-6). It never becomes a dead socket."""

from __future__ import annotations

import traceback
from typing import Final, Literal

from msup.error import ConfigError, DeterminismError, StateError, tell
from msup.limit import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES
from msup.message import Fault

FaultKind = Literal["exception", "bad_return", "config", "state", "memory", "determinism"]

_CUT: Final = "… "
_NO_MEMORY: Final = Fault("memory", "MemoryError: the strategy ran out of memory", "")


def fault_of(error: BaseException) -> Fault:
    """The fault for an exception, with its traceback, which also goes to stderr, the strategy's log."""
    if isinstance(error, MemoryError):
        tell(_NO_MEMORY.message)
        return _NO_MEMORY
    if isinstance(error, ConfigError):
        kind: FaultKind = "config"
    elif isinstance(error, StateError):
        kind = "state"
    elif isinstance(error, DeterminismError):
        kind = "determinism"
    else:
        kind = "exception"
    try:
        message = f"{type(error).__name__}: {error}"
        text = "".join(traceback.format_exception(error))
    except BaseException as second:  # noqa: BLE001 - the exception's own __str__ may be the strategy's, and wrong
        message = f"{type(error).__name__}: its text cannot be made ({type(second).__name__})"
        text = "".join(traceback.format_tb(error.__traceback__))
    return make_fault(kind, message, text)


def make_fault(kind: FaultKind, message: str, text: str = "") -> Fault:
    """A fault whose message and traceback are cut to the limits.

    Of a traceback the end is kept, which says what happened.
    """
    tell(text or f"msup: {kind}: {message}")
    raw = message.encode(errors="replace")
    if len(raw) > MAX_MESSAGE_BYTES:
        message = raw[: MAX_MESSAGE_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT
    else:
        message = raw.decode()
    tail = text.encode(errors="replace")
    if len(tail) > MAX_TRACEBACK_BYTES:
        text = _CUT + tail[-(MAX_TRACEBACK_BYTES - len(_CUT.encode())) :].decode(errors="ignore")
    else:
        text = tail.decode()
    return Fault(kind, message, text)
