"""Strategies that lie to the supervisor, behind the SDK's back."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time

from hostile_kit import Hostile, supervisor_socket
from msup import Context


class Garbage(Hostile):
    """Writes bytes that are no frame."""

    def act(self, ctx: Context) -> None:
        os.write(supervisor_socket(), b"\x00\x00\x00\x05hello")


class LengthBomb(Hostile):
    """Announces four gigabytes."""

    def act(self, ctx: Context) -> None:
        os.write(supervisor_socket(), b"\xff\xff\xff\xff\x93")


class DeepBomb(Hostile):
    """Nests arrays until a careless decoder overflows."""

    def act(self, ctx: Context) -> None:
        # An answer with one field more than this version knows, which a decoder has to skip.
        body = b"\x9a\x03\x02\x02\x90\xc0\x90\x90\x90\xc0" + b"\x91" * 60_000
        os.write(supervisor_socket(), len(body).to_bytes(4, "big") + body)


class Repeater(Hostile):
    """Answers a question that nobody asked, before the real answer."""

    def act(self, ctx: Context) -> None:
        body = b"\x99\x03" + b"\xcd\xff\xff" + b"\x01\x90\xc0\x90\x90\x90\xc0"
        os.write(supervisor_socket(), len(body).to_bytes(4, "big") + body)


class Mute(Hostile):
    """Never answers."""

    def act(self, ctx: Context) -> None:
        threading.Event().wait()


class Quitter(Hostile):
    """Leaves with a status that looks like a kill."""

    def act(self, ctx: Context) -> None:
        os._exit(137)


class Crasher(Hostile):
    """Reads address zero."""

    def act(self, ctx: Context) -> None:
        ctypes.string_at(0)


class HangUp(Hostile):
    """Closes the socket and stays."""

    def act(self, ctx: Context) -> None:
        os.close(supervisor_socket())
        while True:
            time.sleep(1000)


class Smuggler(Hostile):
    """Sends descriptors along with empty frames, to fill the supervisor's table."""

    def act(self, ctx: Context) -> None:
        with socket.socket(fileno=os.dup(supervisor_socket())) as s:
            for _ in range(64):
                socket.send_fds(s, [bytes(4)], [0] * 100)
