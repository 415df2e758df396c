"""Typed faults: what an exception in a strategy becomes (SB-6). It never becomes a dead socket."""

from __future__ import annotations

import traceback
from typing import Final, Literal

from msup.error import ConfigError, DeterminismError, StateError, tell
from msup.limit import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES
from msup.message import Fault
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

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
    message = text_of(error)
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - as above, and what it calls may have been rebound
        try:
            text = "".join(traceback.format_tb(error.__traceback__))
        except BaseException:  # noqa: BLE001
            text = ""
    return make_fault(kind, message, text)


def name_of(value: object) -> str:
    """The name of the value's type, whatever its metaclass says when it is asked."""
    try:
        return str(type(value).__name__)
    except BaseException:  # noqa: BLE001 - the metaclass may be the strategy's
        return "thing whose type has no name"


def text_of(error: BaseException) -> str:
    """What an exception says, whatever it does when it is asked."""
    try:
        return f"{name_of(error)}: {error}"
    except BaseException as second:  # noqa: BLE001 - its __str__ may be the strategy's, and wrong
        return f"{name_of(error)}: its text cannot be made ({name_of(second)})"


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
