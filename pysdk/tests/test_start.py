"""What a start of a runner loads, and what stands in for what it does not."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msup.digest import sha256
from msup.hook import suspends

# Each takes ms to load: every start of every instance would pay for it.
HEAVY = (
    "inspect",
    "dataclasses",
    "hashlib",
    "_hashlib",
    "concurrent.futures",
    "logging",
    "json",
    "subprocess",
    "asyncio",
)


# Proves: NN-6
def test_a_runner_loads_nothing_heavy() -> None:
    # msgspec takes typing_extensions where it is installed, which brings inspect along.
    code = (
        "import sys; sys.modules['typing_extensions'] = None; import msup.runner; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-P", "-s", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Proves: GT-5
@given(st.binary(max_size=300))
def test_the_digest_is_sha_256(data: bytes) -> None:
    assert sha256(data) == hashlib.sha256(data).digest()


class _Callbacks:
    def plain(self) -> None: ...

    def generator(self) -> Iterator[int]:
        yield 1

    async def coroutine(self) -> None: ...

    async def stream(self) -> AsyncIterator[int]:
        yield 1


def _wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: object) -> object:
        return function(*arguments)

    return call


class _Endless:
    """Says that it wraps something, for ever."""

    def __getattr__(self, name: str) -> object:
        return _Endless()


# Proves: AD-1
@pytest.mark.parametrize("name", ["plain", "generator", "coroutine", "stream"])
def test_what_suspends_is_found_behind_wrappers(name: str) -> None:
    function = getattr(_Callbacks, name)
    bound = getattr(_Callbacks(), name)
    for found in (function, bound, _wrapped(function), functools.partial(function, None), _wrapped(_wrapped(bound))):
        assert suspends(found) == (name != "plain")


def test_what_is_no_function_does_not_suspend() -> None:
    assert not suspends(_Endless())
    assert not suspends(3)
    assert not suspends(len)
