"""Strategies that attack the interpreter and the SDK that they run in."""

from __future__ import annotations

import atexit
import builtins
import gc
import sys
import threading
import time

import msup.frame
import msup.session
from hostile_kit import Hostile
from msup import Context, Event


class Hooks(Hostile):
    """Installs every hook that the interpreter has, all of them failing."""

    def act(self, ctx: Context) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("hook")

        gc.callbacks.append(fail)
        sys.unraisablehook = fail
        sys.excepthook = fail
        threading.excepthook = fail
        sys.displayhook = fail
        sys.setswitchinterval(1e-6)
        sys.addaudithook(lambda *_: None)
        gc.set_threshold(1, 1, 1)
        gc.collect()


class TypeConfuser(Hostile):
    """Replaces what everybody calls."""

    def act(self, ctx: Context) -> None:
        builtins.len = lambda _: -1  # type: ignore[assignment]
        builtins.isinstance = lambda *_: True  # type: ignore[assignment]
        time.time = lambda: -1.0  # type: ignore[assignment]


class Finalizer(Hostile):
    """Objects that come to life again when they die."""

    def act(self, ctx: Context) -> None:
        class Phoenix:
            def __del__(self) -> None:
                grave.append(self)

        grave: list[object] = []
        for _ in range(10_000):
            Phoenix()
        grave.clear()


class DeepRecursion(Hostile):
    """Calls itself until the interpreter stops it."""

    def act(self, ctx: Context) -> None:
        self.act(ctx)


class EvilError(Exception):
    """Fails to be described."""

    def __str__(self) -> str:
        raise EvilError

    __repr__ = __str__


class EvilException(Hostile):
    """Raises what cannot be printed, with a chain of causes without end."""

    def act(self, ctx: Context) -> None:
        error: BaseException = EvilError()
        for _ in range(3000):
            outer = EvilError("x" * 1000)
            outer.__cause__ = error
            error = outer
        raise error


class SystemExiter(Hostile):
    """Asks the interpreter to leave: only the supervisor ends a runner."""

    def act(self, ctx: Context) -> None:
        sys.exit(3)


class EvilReturn(Hostile):
    """Returns an object that lies about itself."""

    def on_event(self, ctx: Context, event: Event) -> object:  # type: ignore[override]
        class Liar:
            @property
            def __class__(self) -> type:  # type: ignore[override]
                raise RuntimeError

        return Liar()


class SdkSaboteur(Hostile):
    """Rewrites the SDK's own classes: the supervisor believes none of it."""

    def act(self, ctx: Context) -> None:
        def lie(self: object, frame: bytes) -> None:
            self._sock.sendall(b"\x00\x00\x00\x03\x93\x03\x02")  # type: ignore[attr-defined]

        msup.frame.FrameConnection.send_frame = lie  # type: ignore[method-assign, assignment]
        msup.frame.FrameConnection.send = lie  # type: ignore[method-assign, assignment]
        msup.session.Session.deliver = lambda self, message: None  # type: ignore[method-assign, assignment, return-value]
        msup.session.Session._run = None  # type: ignore[method-assign, assignment]
        for fd in gc.get_objects():
            if isinstance(fd, msup.frame.FrameConnection):
                fd._sock.sendall(b"\x00\x00\x00\x03\x93\x03\x02")


class ExitHanger(Hostile):
    """Will not end: handlers and threads that wait for ever when it is told to stop."""

    def act(self, ctx: Context) -> None:
        atexit.register(threading.Event().wait)
        threading.Thread(target=threading.Event().wait).start()


class ClockCheat(Hostile):
    """Pretends to live in another time."""

    def act(self, ctx: Context) -> None:
        ctx._now = 1 << 62
        ctx._step = 0
        time.monotonic = lambda: 0.0  # type: ignore[assignment]


class DictSaboteur(Hostile):
    """Takes modules away from under the SDK."""

    def act(self, ctx: Context) -> None:
        for name in [n for n in sys.modules if n.startswith(("msup", "msgspec", "json"))]:
            del sys.modules[name]
        ctx._intents.clear()
