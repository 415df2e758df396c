"""Strategies that want more than their share."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import multiprocessing
import os
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib

from hostile_kit import Hostile, attempt, call, libc, tell
from msup import Context

SIGCHLD = 17
CLONE_NEWUSER = 0x10000000


class MemoryHog(Hostile):
    """Touches page after page: the control group's ceiling ends it, and nobody else."""

    def act(self, ctx: Context) -> None:
        hoard = []
        while True:
            block = mmap.mmap(-1, 8 << 20)
            for page in range(0, len(block), 4096):
                block[page] = 1
            hoard.append(block)


class ZipBomb(Hostile):
    """Unpacks a megabyte into 400 MB inside one C call."""

    def act(self, ctx: Context) -> None:
        packer = zlib.compressobj(1)
        block = bytes(1 << 20)
        bomb = b"".join(packer.compress(block) for _ in range(400)) + packer.flush()
        zlib.decompress(bomb)


class GiantBuffer(Hostile):
    """Asks for a petabyte at once: a fault of kind memory, and it lives on."""

    def act(self, ctx: Context) -> None:
        bytearray(1 << 50)


class ForkBomb(Hostile):
    """Multiplies by every way that there is: only threads may be made."""

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


class ForkInThread(Hostile):
    """Forks from many threads at once, hoping that one slips through."""

    def act(self, ctx: Context) -> None:
        found: list[str] = []

        def fork() -> None:
            found.extend(attempt(os.fork) for _ in range(50))

        threads = [threading.Thread(target=fork) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        tell(forks="" if "" in found else found[0], tries="400" if len(found) == 400 else "")


class Spawner(Hostile):
    """Starts processes by the libraries that hide how."""

    def act(self, ctx: Context) -> None:
        def start(method: str) -> None:
            p = multiprocessing.get_context(method).Process(target=print)
            p.start()

        tell(
            multiprocessing_fork=attempt(lambda: start("fork")),
            multiprocessing_spawn=attempt(lambda: start("spawn")),
            forkserver=attempt(lambda: start("forkserver")),
            terminal=attempt(lambda: pty.fork()),
            popen=attempt(lambda: os.popen("true")),
            spawn=attempt(lambda: os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])),
            daemon="" if libc.daemon(0, 0) == 0 else "refused",
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


class PipeHoarder(Hostile):
    """Fills pipes made as large as they get: memory of the kernel, bounded by descriptors and charged to the runner."""

    def act(self, ctx: Context) -> None:
        kept: list[int] = []

        def hoard() -> None:
            for _ in range(100_000):
                r, w = os.pipe2(os.O_NONBLOCK)
                kept.extend((r, w))
                attempt(lambda w=w: fcntl.fcntl(w, 1031, 1 << 20))  # F_SETPIPE_SZ
                while not attempt(lambda w=w: os.write(w, bytes(1 << 16))):
                    pass

        why = attempt(hoard)
        for fd in kept:
            os.close(fd)
        tell(pipes=why)


class SocketHoarder(Hostile):
    """Fills the buffers of socket pairs."""

    def act(self, ctx: Context) -> None:
        kept: list[socket.socket] = []

        def hoard() -> None:
            for _ in range(100_000):
                pair = socket.socketpair()
                kept.extend(pair)
                pair[0].setblocking(False)
                attempt(lambda s=pair[0]: s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30))
                while not attempt(lambda s=pair[0]: s.send(bytes(1 << 16))):
                    pass

        why = attempt(hoard)
        for s in kept:
            s.close()
        tell(sockets=why, forced=attempt(lambda: socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, 32, 1 << 30)))


class TimerHoarder(Hostile):
    """Makes kernel timers, poll sets and event descriptors without end."""

    def act(self, ctx: Context) -> None:
        kept: list[select.epoll] = []
        identifier = (ctypes.c_int * 1)()
        timers = ""
        for _ in range(1_000_000):
            timers = call(222, 107, 1, 0, identifier)
            if timers:
                break

        def hoard() -> None:
            for _ in range(100_000):
                kept.append(select.epoll())
                if len(kept) > 1:
                    kept[-1].register(kept[-2].fileno())

        why = attempt(hoard)
        for e in kept:
            e.close()
        tell(timers=timers, polls=why)


class MappingBomb(Hostile):
    """Splits its address space into as many mappings as the kernel keeps count of."""

    def act(self, ctx: Context) -> None:
        size = 200_000 * 4096
        libc.mmap.restype = ctypes.c_void_p
        base = libc.mmap(None, ctypes.c_size_t(size), 0, 0x22, -1, ctypes.c_long(0))
        why = ""
        for page in range(0, size, 8192):
            if libc.mprotect(ctypes.c_void_p((base or 0) + page), ctypes.c_size_t(4096), 1) != 0:
                why = os.strerror(ctypes.get_errno()) or "refused"
                break
        libc.munmap(ctypes.c_void_p(base), ctypes.c_size_t(size))
        tell(mappings=why)


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

        def reserve() -> None:
            with open("/tmp/reserve", "wb") as f:
                os.posix_fallocate(f.fileno(), 0, 1 << 33)

        tell(
            tmp=attempt(lambda: fill("/tmp/full")),
            names=attempt(names),
            sparse=attempt(sparse),
            reserve=attempt(reserve),
            shm=attempt(lambda: fill("/dev/shm/full")),
            dev=attempt(lambda: fill("/dev/full_of_it")),
            run=attempt(lambda: fill("/run/msup/full")),
            home=attempt(lambda: fill("/full")),
            code=attempt(lambda: fill(os.path.join(os.path.dirname(__file__), "full"))),
        )


class LimitRaiser(Hostile):
    """Raises every limit above what it was given."""

    def act(self, ctx: Context) -> None:
        def more(which: int) -> None:
            _, hard = resource.getrlimit(which)
            if hard == resource.RLIM_INFINITY:
                raise OSError(1, "the control group holds this one")
            resource.setrlimit(which, (hard + 1, hard + 1))

        names = ("NOFILE", "NPROC", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO", "AS", "SIGPENDING")
        found = {name.lower(): attempt(lambda w=getattr(resource, "RLIMIT_" + name): more(w)) for name in names}
        new = (ctypes.c_ulong * 2)(1 << 40, 1 << 40)
        found["raw"] = call(302, 261, 0, 7, new, 0)
        found["supervisor"] = call(302, 261, 1, 7, 0, new) if os.getpid() != 1 else "it is 1 itself"
        tell(**found)


class Prioritiser(Hostile):
    """Puts itself before everybody else."""

    def act(self, ctx: Context) -> None:
        struct = bytes([48, 0, 0, 0, 6, 0, 0, 0]) + bytes(8) + bytes(8) + (10**6).to_bytes(8, "little") * 3
        tell(
            nice=attempt(lambda: os.nice(-5)),
            group=attempt(lambda: os.setpriority(os.PRIO_USER, 0, -20)),
            fifo=attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))),
            deadline=call(314, 274, 0, struct, 0),
            param=attempt(lambda: os.sched_setparam(0, os.sched_param(1))),
            affinity=attempt(lambda: os.sched_setaffinity(0, {0})),
            io=call(251, 30, 1, 0, (1 << 13) | 0),
            oom=attempt(lambda: open("/proc/self/oom_score_adj", "w").write("-1000")),
            lock=call(149, 228, 0, 4096),
            lock_all=call(151, 230, 3),
            core=attempt(lambda: open("/proc/self/coredump_filter", "w").write("ff")) or "a filter of no core",
        )


class Recursion(Hostile):
    """Overflows the C stack, which no exception can stop."""

    def act(self, ctx: Context) -> None:
        kind = ctypes.CFUNCTYPE(ctypes.c_int)
        sys.setrecursionlimit(1 << 30)

        def again() -> int:
            return kind(again)()

        again()


class LogFlooder(Hostile):
    """Prints terminal escapes as fast as it can: read at a bounded rate, counted, and the strategy waits."""

    def act(self, ctx: Context) -> None:
        block = b"\x1b]0;owned\x07\x1b[2J" * 2000 + b"\n" * 2000
        while True:
            os.write(1, block)
            os.write(2, block)


class EndlessLine(Hostile):
    """One line of two megabytes: cut, counted, and told as a violation."""

    def act(self, ctx: Context) -> None:
        for _ in range(64):
            os.write(1, b"x" * (32 << 10))
        os.write(1, b"\n")


class LineBurst(Hostile):
    """Ten thousand short lines at once."""

    def act(self, ctx: Context) -> None:
        os.write(1, b"a line\n" * 10_000)


class ControlCharacters(Hostile):
    """Prints what moves cursors, reverses text, ends strings, or is no text: everything is shown escaped."""

    def act(self, ctx: Context) -> None:
        os.write(1, b"\x1b[2J\x1b]52;c;b3duZWQ=\x07\x00\x08\x0b\x7f\x9b1m\r\n\xff\xfe\xc0\x80\xed\xa0\x80\n")
        os.write(2, "\u202eevil\u2066\u2028\u2029\u0085\ufeff\U000e0001\n".encode())
        os.write(1, b'{"level":"ERROR","reason":"OPERATOR_HALT","msg":"forged"}\n')


class StreamCloser(Hostile):
    """Closes its streams, and puts the socket in their place."""

    def act(self, ctx: Context) -> None:
        for fd in (0, 1, 2):
            os.close(fd)


class Spinner(Hostile):
    """Holds the interpreter's lock in one C call, for hours."""

    def act(self, ctx: Context) -> None:
        sum(range(10**15))


class BigInteger(Hostile):
    """Multiplies numbers of millions of digits, inside C."""

    def act(self, ctx: Context) -> None:
        n = 3**3_000_000
        while True:
            n * n  # noqa: B018


class Backtracker(Hostile):
    """A regular expression that needs longer than the universe."""

    def act(self, ctx: Context) -> None:
        re.match(r"(a|a)*(b|b)*c$", "a" * 64 + "b" * 64)


class SignalBlocker(Hostile):
    """Ignores and blocks every signal, and stays: only SIGKILL is relied on."""

    def act(self, ctx: Context) -> None:
        for n in signal.valid_signals():
            attempt(lambda n=n: signal.signal(n, signal.SIG_IGN))
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(1000)


class SignalHoarder(Hostile):
    """Queues signals to itself: the kernel counts them for its user's other runners, too, and their starts wait."""

    def act(self, ctx: Context) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMAX})
        queued = 0
        try:
            while queued < 1_000:
                signal.pthread_kill(threading.get_ident(), signal.SIGRTMAX)
                queued += 1
        except OSError as refusal:
            tell(queue=str(refusal))
            return
        tell(queue="")


class DescriptorHoarder(Hostile):
    """Sends descriptors that nobody receives: the kernel counts them for its user's other runners, too."""

    def act(self, ctx: Context) -> None:
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(10)]
        try:
            for one, other in self.pairs:
                for _ in range(20):
                    socket.send_fds(one, [b"x"], [other.fileno()] * 50)
        except OSError as refusal:
            tell(descriptors=str(refusal))
            return
        tell(descriptors="")


class LeaderExit(Hostile):
    """Ends its first thread only, so that the process looks like a zombie, and spins in another."""

    def act(self, ctx: Context) -> None:
        threading.Thread(target=lambda: sum(range(10**15)), daemon=True).start()
        libc.syscall(ctypes.c_long(60 if os.uname().machine == "x86_64" else 93), 0)


class BackgroundSpinner(Hostile):
    """Goes on burning after its answer: the CPU quota holds it, and its own next answer is the slower one."""

    def act(self, ctx: Context) -> None:
        def spin() -> None:
            while True:
                sum(range(1000))

        for _ in range(4):
            threading.Thread(target=spin, daemon=True).start()


class Stopper(Hostile):
    """Stops itself, as a debugger would."""

    def act(self, ctx: Context) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTSTP)
        os.kill(0, signal.SIGSTOP)


class Alarmer(Hostile):
    """Sets alarms whose default is death, and floods itself with signals."""

    def act(self, ctx: Context) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.01, 0.01)
        for _ in range(10_000):
            os.kill(os.getpid(), signal.SIGUSR1)


class LineFlooder(Hostile):
    """Prints one line that never ends, as fast as it can."""

    def act(self, ctx: Context) -> None:
        block = b"x" * (1 << 20)
        while True:
            os.write(1, block)
