"""What the hostile strategies share.

A hostile strategy does its act at the first event, and answers the second one like any other if it still lives. One
that is to be refused tells what came of it: one name per attempt, with the error that stopped it, or "" when nothing
did. An empty one is an escape.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import platform
import socket
from collections.abc import Callable
from typing import Any

from msup import Context, Event, Strategy

libc = ctypes.CDLL(None, use_errno=True)
COLUMN = 0 if platform.machine() == "x86_64" else 1

# Real things on the host, made by the test; none of them may be reached.
SECRET = os.environ["HOSTILE_SECRET"]
ABSTRACT = os.environ["HOSTILE_ABSTRACT"]
PORT = int(os.environ["HOSTILE_PORT"])
HOST_PID = int(os.environ["HOSTILE_PID"])
SUPERVISOR_PID = int(os.environ["HOSTILE_SUPERVISOR"])

Argument = int | bytes | ctypes.Array[Any]


def attempt(act: Callable[[], Any]) -> str:
    """The name of the error that stopped the act, "" when nothing did."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    except Exception as error:
        return type(error).__name__
    return ""


def call(x86_64: int, aarch64: int, *args: Argument) -> str:
    """The same for a bare system call. A number of -1 says that this machine has no such call."""
    number = (x86_64, aarch64)[COLUMN]
    if number < 0:
        return "none here"
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    if libc.syscall(ctypes.c_long(number), *wide) >= 0:
        return ""
    return errno.errorcode.get(ctypes.get_errno(), "?")


def calls(**wanted: tuple[Argument, ...]) -> dict[str, str]:
    """Many bare system calls: name = (x86_64, aarch64, arguments …)."""
    return {name: call(*row) for name, row in wanted.items()}  # pyright: ignore[reportArgumentType]


def tell(**attempts: str) -> None:
    """Report to the test, through the log, in lines that are short enough for it."""
    rows = iter(attempts.items())
    while part := dict(itertools.islice(rows, 12)):
        print("OUTCOME " + json.dumps(part), flush=True)


def read(path: str) -> None:
    """Read a byte; an empty file is a refusal."""
    with open(path, "rb") as f:
        if not f.read(1):
            raise OSError(errno.ENODATA, "empty")


def write(path: str, data: bytes = b"x") -> None:
    """Write a byte at the end."""
    with open(path, "ab", buffering=0) as f:
        f.write(data)


def listed(path: str) -> None:
    """List a folder; an empty one is a refusal."""
    if not os.listdir(path):
        raise OSError(errno.ENODATA, "empty")


def supervisor_socket() -> int:
    """The descriptor of the runner's socket, which the SDK does not hand out."""
    for fd in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                return fd
        except OSError:
            continue
    raise LookupError("no socket")


def send(body: bytes) -> None:
    """One frame to the supervisor, behind the SDK's back."""
    with socket.socket(fileno=os.dup(supervisor_socket())) as s:
        s.sendall(len(body).to_bytes(4, "big") + body)


class Hostile(Strategy):
    """Acts on the first market event."""

    acted = False

    def on_event(self, ctx: Context, event: Event) -> None:
        """Do the act once."""
        if not self.acted:
            self.acted = True
            self.act(ctx)

    def act(self, ctx: Context) -> None:
        """The act itself."""
        raise NotImplementedError
