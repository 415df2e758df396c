"""``ctx.rng``: xoshiro256++, seeded per step (PROTOCOL.md section 4, NN-7).

Every step has a stream of its own, made from run seed, instance and step number alone. A step that is replayed, on
another machine or from a checkpoint, draws the same numbers, whatever the steps before it drew.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from msup.digest import sha256

_MASK: Final = (1 << 64) - 1
_WORDS: Final = struct.Struct("<4Q")
_DOUBLE: Final = 2.0**-53

StateTuple = tuple[int, int, int, int]


def step_seed(run_seed: int, instance: str, step: int) -> bytes:
    """The 32 bytes that seed the generator of one step."""
    return sha256(msgspec.msgpack.encode([run_seed, instance, step]))


class Rng(random.Random):
    """xoshiro256++ with the whole interface of ``random.Random`` (shuffle, gauss, choices …)."""

    _s: StateTuple
    gauss_next: float | None

    def __init__(self, seed: bytes) -> None:
        """Seed with 32 bytes, four little-endian words."""
        self._s = _WORDS.unpack(seed)
        super().__init__()  # calls seed(None), which leaves the words alone

    def next_u64(self) -> int:
        """The next 64 bits."""
        s0, s1, s2, s3 = self._s
        total = (s0 + s3) & _MASK
        result = (((total << 23) | (total >> 41)) + s0) & _MASK
        shifted = (s1 << 17) & _MASK
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        self._s = (s0, s1, s2, ((s3 << 45) | (s3 >> 19)) & _MASK)
        return result

    def random(self) -> float:
        """A float in [0, 1): the upper 53 bits of the next word."""
        return (self.next_u64() >> 11) * _DOUBLE

    def getrandbits(self, k: int, /) -> int:
        """``k`` bits: the upper ones of one word, or whole words, the first one lowest."""
        if k < 0:
            raise ValueError("the number of bits must not be negative")
        if k <= 64:
            return self.next_u64() >> (64 - k) if k else 0
        value = 0
        for shift in range(0, k, 64):
            value |= self.next_u64() << shift
        return value & ((1 << k) - 1)

    def seed(self, a: int | float | str | bytes | bytearray | None = None, version: int = 2) -> None:
        """Reseed from a value; None leaves the stream as it is. At the next step the stream is the step's own again."""
        self.gauss_next = None
        if a is not None:
            data = bytes(a) if isinstance(a, (bytes, bytearray)) else f"{type(a).__name__}:{a}".encode()
            self._s = _WORDS.unpack(sha256(data))

    def getstate(self) -> tuple[StateTuple, float | None]:
        """The words and gauss' spare value."""
        return self._s, self.gauss_next

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go back to what ``getstate`` gave."""
        self._s, self.gauss_next = state


class StepRng(Rng):
    """An ``Rng`` that takes the seed of the current step at its first use in that step; an unused one costs nothing."""

    def __init__(self, step: Callable[[], int], seed: Callable[[], bytes]) -> None:
        """``step`` numbers the current step, ``seed`` gives its 32 bytes."""
        self._step_of = step
        self._seed_of = seed
        self._seeded = -1
        super().__init__(bytes(32))
        self._sync()

    def _sync(self) -> None:
        step = self._step_of()
        if step != self._seeded:
            self._seeded = step
            self._s = _WORDS.unpack(self._seed_of())
            self.gauss_next = None

    def next_u64(self) -> int:
        """The next 64 bits of this step's stream."""
        if self._step_of() != self._seeded:
            self._sync()
        return super().next_u64()

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """As ``random.Random.gauss``; the spare value never crosses a step."""
        self._sync()
        return super().gauss(mu, sigma)

    def seed(self, a: int | float | str | bytes | bytearray | None = None, version: int = 2) -> None:
        """Reseed for the rest of this step."""
        if a is not None:
            self._sync()
        super().seed(a, version)

    def getstate(self) -> tuple[StateTuple, float | None]:
        """The words of this step's stream and gauss' spare value."""
        self._sync()
        return super().getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go back to what ``getstate`` gave, for the rest of this step."""
        self._sync()
        super().setstate(state)
