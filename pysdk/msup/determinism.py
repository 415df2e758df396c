"""Clocks and chance under msup's control (NN-7), for code that does not ask ``ctx``.

The runner calls ``install`` before it imports the strategy, so that ``from random import random`` is caught too.

- ``time.time``, ``monotonic``, ``perf_counter``, their ``_ns`` forms and ``clock_gettime``, and ``gmtime``,
  ``localtime``, ``ctime``, ``strftime`` without a time: the processed time of the step; 0 before the first.
- The functions of ``random``, and ``random.Random()`` without a seed: a stream of their own, made anew at each step
  from run seed, instance and step. They do not touch ``ctx.rng``.
- ``uuid.uuid4``, ``uuid.uuid1``: drawn from that stream.
- numpy's legacy global generator: seeded once, just before ``on_init``, when the strategy has loaded numpy. Its
  position is not part of a checkpoint: prefer ``numpy.random.default_rng(ctx.rng.getrandbits(64))``.
- ``os.urandom``, ``os.getrandom``, ``secrets``, ``random.SystemRandom``, ``numpy.random.default_rng()`` without a seed:
  really random, and reported once on stderr, except while a module is imported.

``MSUP_DETERMINISM=strict`` turns a report into a ``DeterminismError`` (fault kind ``determinism``); ``off`` installs
nothing.

What it cannot catch: ``datetime.datetime.now()`` and ``date.today()`` (C types that read the clock themselves: use
``ctx.now()``), threads, ``id()`` and the order of sets of objects, clocks read inside C extensions, files.
``PYTHONHASHSEED`` and the number of BLAS threads are set by the supervisor.
"""

from __future__ import annotations

# Modules of the standard library that keep ``monotonic`` for their own timeouts must load before the clocks are
# changed.
import os
import queue  # noqa: F401  # pyright: ignore[reportUnusedImport]
import random
import sys
import threading  # noqa: F401  # pyright: ignore[reportUnusedImport]
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from msup.context import Context
from msup.digest import sha256
from msup.error import DeterminismError, tell
from msup.rng import StepRng

Mode = Literal["on", "strict", "off"]
MODES: Final = ("on", "strict", "off")

_RANDOM_FUNCTIONS: Final = [
    "betavariate",
    "binomialvariate",
    "choice",
    "choices",
    "expovariate",
    "gammavariate",
    "gauss",
    "getrandbits",
    "getstate",
    "lognormvariate",
    "normalvariate",
    "paretovariate",
    "randbytes",
    "randint",
    "random",
    "randrange",
    "sample",
    "seed",
    "setstate",
    "shuffle",
    "triangular",
    "uniform",
    "vonmisesvariate",
    "weibullvariate",
]


class Determinism:
    """The installed patches; ``uninstall`` takes them back, for tests."""

    def __init__(self, context: Context, mode: Mode = "on") -> None:
        """Read time and step from ``context``."""
        self._context = context
        self._strict = mode == "strict"
        self._reported: set[str] = set()
        self._saved: list[tuple[Any, str, Any]] = []
        self._rng = StepRng(lambda: context.step, self._seed)

    def install(self) -> None:
        """Patch the modules of this process."""
        self._patch_time()
        self._patch_random()
        self._report(os, "urandom", "os.urandom")
        self._report(os, "getrandom", "os.getrandom")
        self._report(random, "_urandom", "random.SystemRandom or secrets")
        self._patch(uuid, "uuid4", lambda: self._uuid(4))
        self._patch(uuid, "uuid1", lambda node=None, clock_seq=None: self._uuid(1))  # pyright: ignore[reportUnknownLambdaType]

    def uninstall(self) -> None:
        """Put everything back."""
        while self._saved:
            owner, name, value = self._saved.pop()
            setattr(owner, name, value)

    def seed_numpy(self) -> None:
        """Seed numpy's legacy global generator if the strategy has loaded numpy."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "random"):
            numpy.random.seed(self._rng.getrandbits(32))

    def _uuid(self, version: int) -> uuid.UUID:
        return uuid.UUID(int=self._rng.getrandbits(128), version=version)

    def _seed(self) -> bytes:
        # A stream apart from ctx.rng: a library that draws from `random` must not shift what the strategy draws.
        context = self._context
        parts = ["python-random", context._run_seed, context.instance, context.step]  # pyright: ignore[reportPrivateUsage]
        return sha256(msgspec.msgpack.encode(parts))

    def _patch(self, owner: Any, name: str, value: Any) -> None:
        if hasattr(owner, name):
            self._saved.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)

    def _patch_time(self) -> None:
        now_ns = self._context.now

        def now_s() -> float:
            return now_ns() / 1e9

        for name in ("time", "monotonic", "perf_counter"):
            self._patch(time, name, now_s)
            self._patch(time, name + "_ns", now_ns)
        self._patch(time, "clock_gettime", lambda clock: now_s())  # pyright: ignore[reportUnknownLambdaType]
        self._patch(time, "clock_gettime_ns", lambda clock: now_ns())  # pyright: ignore[reportUnknownLambdaType]
        for name in ("gmtime", "localtime", "ctime"):
            self._patch(time, name, _with_default(getattr(time, name), now_s))
        original, localtime = time.strftime, time.localtime

        def strftime(fmt: str, t: Any = None) -> str:
            return original(fmt, localtime() if t is None else t)

        self._patch(time, "strftime", strftime)

    def _patch_random(self) -> None:
        for name in _RANDOM_FUNCTIONS:
            if hasattr(random, name):
                self._patch(random, name, getattr(self._rng, name))
        seed = random.Random.seed

        def seed_from_step(generator: random.Random, a: Any = None, version: int = 2) -> None:
            seed(generator, self._rng.getrandbits(256) if a is None else a, version)

        self._patch(random.Random, "seed", seed_from_step)

    def _report(self, owner: Any, name: str, shown: str) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return

        def reporting(*args: Any, **kwargs: Any) -> Any:
            if _importing():
                return original(*args, **kwargs)
            if self._strict:
                raise DeterminismError(f"{shown} was used: a replay would draw other bytes; use ctx.rng")
            if shown not in self._reported:
                self._reported.add(shown)
                tell(f"msup: determinism: {shown} was used; a replay draws other bytes: use ctx.rng")
            return original(*args, **kwargs)

        self._patch(owner, name, reporting)


def _importing() -> bool:
    """Whether a module is being imported right now.

    Numpy draws from the system then, for a generator that is seeded later.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _with_default(function: Callable[[float], Any], now_s: Callable[[], float]) -> Callable[..., Any]:
    def with_default(secs: float | None = None) -> Any:
        return function(now_s() if secs is None else secs)

    return with_default


def install(context: Context, mode: str = "on") -> Determinism | None:
    """Install for one runner process; None when ``mode`` is ``off``. Raises ``ValueError`` for an unknown mode."""
    if mode not in MODES:
        raise ValueError(f"MSUP_DETERMINISM={mode!r} is none of {', '.join(MODES)}")
    if mode == "off":
        return None
    made = Determinism(context, "strict" if mode == "strict" else "on")
    made.install()
    return made
