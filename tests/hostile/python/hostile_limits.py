"""Strategies that run into one limit each, and let the error through: it has to come out as a typed violation."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time

from hostile_kit import Hostile
from msup import Context


class OpensTooMany(Hostile):
    """Opens files until it may not."""

    def act(self, ctx: Context) -> None:
        hoard = []
        while True:
            hoard.append(open("/proc/self/stat", "rb"))


class FillsTmp(Hostile):
    """Writes its /tmp full, in files that are small enough."""

    def act(self, ctx: Context) -> None:
        for n in range(64):
            with open(f"/tmp/{n}", "wb") as f:
                f.write(bytes(256 << 10))


class WritesABigFile(Hostile):
    """Writes one file beyond the largest size."""

    def act(self, ctx: Context) -> None:
        with open("/tmp/big", "wb") as f:
            f.write(bytes(1 << 20))


class Dials(Hostile):
    """Asks for an internet socket."""

    def act(self, ctx: Context) -> None:
        socket.socket(socket.AF_INET)


class Forks(Hostile):
    """Makes a process."""

    def act(self, ctx: Context) -> None:
        os.fork()


class WritesToTheHost(Hostile):
    """Writes where nothing may be written."""

    def act(self, ctx: Context) -> None:
        with open("/usr/hostile", "wb") as f:
            f.write(b"x")


class WantsAll(Hostile):
    """Asks for more memory than there is."""

    def act(self, ctx: Context) -> None:
        bytearray(1 << 50)


class Threads(Hostile):
    """Starts threads until it may not."""

    def act(self, ctx: Context) -> None:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class Burns(Hostile):
    """Uses processor time; a quota of a twentieth stretches it over several looks at its counters."""

    def act(self, ctx: Context) -> None:
        end = resource.getrusage(resource.RUSAGE_SELF).ru_utime + 0.15
        while resource.getrusage(resource.RUSAGE_SELF).ru_utime < end:
            sum(range(10_000))


class Prints(Hostile):
    """Prints more lines in a moment than it may."""

    def act(self, ctx: Context) -> None:
        for n in range(2000):
            print(n)


class Whispers(Hostile):
    """Sends telemetry under a name that it did not declare."""

    def act(self, ctx: Context) -> None:
        ctx.telemetry("secret", 1.0)
