"""Strategies that catch the kernel's refusal and say nothing of it: the violation has to be counted all the same."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading

from hostile_kit import ABSTRACT, PORT, Hostile, call, libc
from msup import Context


class QuietDialer(Hostile):
    """Tries every way out of the machine, and goes on as if nothing had been."""

    def act(self, ctx: Context) -> None:
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 40):
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as s:
                s.connect(("127.0.0.1", PORT))


class QuietForker(Hostile):
    """Makes processes behind everybody's back."""

    def act(self, ctx: Context) -> None:
        with contextlib.suppress(OSError):
            os.fork()
        with contextlib.suppress(OSError):
            subprocess.run(["/bin/true"], check=False)


class QuietTracer(Hostile):
    """Looks for a process to trace, from a thread that nobody waits for."""

    def act(self, ctx: Context) -> None:
        t = threading.Thread(target=lambda: [call(101, 117, 16, pid, 0, 0) for pid in range(1, 20)])
        t.start()
        t.join()


class QuietListener(Hostile):
    """Waits to be called by an accomplice."""

    def act(self, ctx: Context) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.bind("\0" + ABSTRACT + "-accomplice")


class QuietExecutor(Hostile):
    """Becomes another program, if it can."""

    def act(self, ctx: Context) -> None:
        with contextlib.suppress(OSError):
            os.execv("/bin/sh", ["sh"])


class QuietMounter(Hostile):
    """Tries several doors to another view of the files, one after the other."""

    def act(self, ctx: Context) -> None:
        for _ in range(3):
            call(272, 97, 1 << 28)
        for _ in range(2):
            call(165, 40, b"tmpfs", b"/tmp", b"tmpfs", 0, 0)
        call(161, 51, b"/tmp")


class QuietFlooder(Hostile):
    """Asks for what is refused as fast as it can, from many threads, until it is killed."""

    def act(self, ctx: Context) -> None:
        def flood() -> None:
            while True:
                libc.ptrace(0, 0, 0, 0)

        for _ in range(3):
            threading.Thread(target=flood, daemon=True).start()
        flood()
