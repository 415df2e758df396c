"""Strategies that want more than their share."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading

from hostile_kit import Hostile, attempt, call, libc, tell
from msup import Context

SIGCHLD = 17
CLONE_NEWUSER = 0x10000000


class MemoryHog(Hostile):
    """Touches page after page."""

    def act(self, ctx: Context) -> None:
        hoard = []
        while True:
            block = mmap.mmap(-1, 8 << 20)
            for page in range(0, len(block), 4096):
                block[page] = 1
            hoard.append(block)


class ForkBomb(Hostile):
    """Multiplies by every way that there is."""

    def act(self, ctx: Context) -> None:
        tell(
            fork=attempt(os.fork),
            vfork=call(58, 0xFFFF),
            clone=call(56, 220, SIGCHLD, 0, 0, 0, 0),
            clone_user=call(56, 220, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0),
            clone3=call(435, 435, 0, 0),
            spawn=attempt(lambda: os.posix_spawn("/usr/bin/true", ["true"], {})),
            shell=attempt(lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True)),
            system="" if os.system("true") == 0 else "refused",
            libc_fork="" if libc.fork() >= 0 else "refused",
        )


class ThreadBomb(Hostile):
    """Starts threads until the kernel says no, and leaves them running."""

    def act(self, ctx: Context) -> None:
        threading.stack_size(64 << 10)
        hold = threading.Event()
        why = ""
        for _ in range(10_000):
            why = attempt(threading.Thread(target=hold.wait, daemon=True).start)
            if why:
                break
        tell(threads=why)


class FileHog(Hostile):
    """Keeps every descriptor that it can get."""

    def act(self, ctx: Context) -> None:
        why = ""
        kept = []
        for _ in range(100_000):
            why = attempt(lambda: kept.append(os.open("/dev/null", os.O_RDONLY)))
            if why:
                break
        for fd in kept:
            os.close(fd)
        tell(files=why)


class DiskFiller(Hostile):
    """Fills every place that takes a byte or a name."""

    def act(self, ctx: Context) -> None:
        def fill(path: str) -> None:
            with open(path, "wb", buffering=0) as f:
                for _ in range(4096):
                    f.write(bytes(1 << 20))

        def names() -> None:
            for n in range(1_000_000):
                os.mkdir(f"/tmp/n{n}")

        def sparse() -> None:
            with open("/tmp/sparse", "wb") as f:
                f.truncate(1 << 40)

        tell(
            tmp=attempt(lambda: fill("/tmp/full")),
            names=attempt(names),
            sparse=attempt(sparse),
            shm=attempt(lambda: fill("/dev/shm/full")),
            dev=attempt(lambda: fill("/dev/full_of_it")),
            run=attempt(lambda: fill("/run/msup/full")),
            home=attempt(lambda: fill("/full")),
            code=attempt(lambda: fill(os.path.join(os.path.dirname(__file__), "full"))),
        )


class LogFlooder(Hostile):
    """Prints terminal escapes as fast as it can."""

    def act(self, ctx: Context) -> None:
        block = b"\x1b]0;owned\x07\x1b[2J" * 2000 + b"\n" * 2000
        while True:
            os.write(1, block)
            os.write(2, block)


class Recursion(Hostile):
    """Overflows the C stack, which no exception can stop."""

    def act(self, ctx: Context) -> None:
        kind = ctypes.CFUNCTYPE(ctypes.c_int)
        sys.setrecursionlimit(1 << 30)

        def again() -> int:
            return kind(again)()

        again()


class Spinner(Hostile):
    """Holds the interpreter's lock in one C call, for hours."""

    def act(self, ctx: Context) -> None:
        sum(range(10**15))
