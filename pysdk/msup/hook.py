"""What kind of function a callback is."""

from __future__ import annotations

from functools import partial
from types import CodeType, MethodType
from typing import Any, Final

_GENERATOR: Final = 0x20
_COROUTINE: Final = 0x80
_ASYNC_GENERATOR: Final = 0x200
_MOST_WRAPPERS: Final = 100


def suspends(function: Any) -> bool:
    """Whether a call would not run it but make a generator or a coroutine; looks behind ``functools.wraps`` and such.

    ``inspect`` knows this, too, and takes several ms to load at every start.
    """
    for _ in range(_MOST_WRAPPERS):
        if isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            break
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and bool(code.co_flags & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR))
