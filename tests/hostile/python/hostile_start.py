"""Strategies that attack before their first event. What runs at import is chosen by MSUP_ENTRY."""

from __future__ import annotations

import importlib.abc
import os
import sys
import threading
from typing import Any

import msgspec
import msup.session
from hostile_kit import Hostile, attempt, libc, send, tell
from msup import Context

ENTRY = os.environ["MSUP_ENTRY"].partition(":")[2]


class Raiser(Hostile):
    """Fails at import with an error that cannot be described."""


class Exiter(Hostile):
    """Leaves at import, with the status that means success."""


class Hanger(Hostile):
    """Never ends its import."""


class AbiLiar(Hostile):
    """Says that it speaks another protocol."""


class HashLiar(Hostile):
    """Says that it is other code than was admitted."""


class FirstWord(Hostile):
    """Answers before it has said hello."""


class Hog(Hostile):
    """Takes all memory at import."""


class Importer(Hostile):
    """Puts itself between the interpreter and its modules."""

    def act(self, ctx: Context) -> None:
        class Finder(importlib.abc.MetaPathFinder):
            def find_spec(self, name: str, path: Any, target: Any = None) -> None:
                raise ImportError(name)

        sys.meta_path.insert(0, Finder())
        sys.path[:] = ["/tmp"]
        with open("/tmp/planted.py", "w") as f:
            f.write("import os\nos.fork()\n")
        tell(finder=attempt(lambda: __import__("colorsys")), thread="" if libc.fork() >= 0 else "refused")


class InitRaiser(Hostile):
    """Fails in on_init."""

    def on_init(self, ctx: Context, config: Any, restored_state: Any) -> None:
        raise KeyboardInterrupt


class InitHanger(Hostile):
    """Never ends on_init."""

    def on_init(self, ctx: Context, config: Any, restored_state: Any) -> None:
        threading.Event().wait()


class InitTrader(Hostile):
    """Orders before it may."""

    def on_init(self, ctx: Context, config: Any, restored_state: Any) -> None:
        ctx.buy("BTCUSDT.BINANCE", 1, limit=60_000)

    def act(self, ctx: Context) -> None:
        """Nothing more."""


def lie(**fields: Any) -> None:
    """Change what the SDK says of itself."""
    honest = msup.session.Session.hello

    def hello(self: msup.session.Session, package_hash: str) -> Any:
        return msgspec.structs.replace(honest(self, package_hash), **fields)

    msup.session.Session.hello = hello  # type: ignore[method-assign]


match ENTRY:
    case "Raiser":
        raise type("Evil", (Exception,), {"__str__": lambda self: 1 / 0})
    case "Exiter":
        os._exit(0)
    case "Hanger":
        threading.Event().wait()
    case "AbiLiar":
        lie(abi=99)
    case "HashLiar":
        lie(package_hash="f" * 64)
    case "FirstWord":
        send(b"\x99\x03\x01\x01\x90\xc0\x90\x90\x90\xc0")
    case "Hog":
        hoard = [bytearray(b"x" * (8 << 20)) for _ in range(10_000)]
    case _:
        pass
