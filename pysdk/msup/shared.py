"""``python -m msup.shared``: the instances of one package in one process, each on a thread with its socket (SB-L0).

The environment is that of ``msup.runner``, except that ``MSUP_SOCKET`` is the process's, not an instance's. There the
supervisor hands over what each instance gets, as one line of JSON with three descriptors: its socket, its stdout and
its stderr. The process answers with lines: ``began`` (with the thread's id), ``connected``, ``ended`` (with a status
as ``msup.runner`` exits with, and the thread's processor time).

What an instance has of its own: its strategy object, its context, its socket, what ``print`` and ``sys.stderr`` reach,
and the clocks and random numbers of ``msup.determinism``, which follow the thread.

What it shares with every other one: everything else. Module globals and class attributes, /tmp, limits, the
interpreter's lock, numpy's legacy global generator. A thread cannot be ended from outside: when a callback does not
return in time the supervisor ends the process, and all its instances come back. Threads that a strategy starts belong
to no instance: they see time 0, and what they print is the process's.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn, TextIO, cast

import msgspec

from msup.context import Context
from msup.determinism import MODES, Determinism
from msup.entry import DEFAULT_STRATEGY_DIR, add_path, load
from msup.error import EntryError, MsupError, StateError, tell
from msup.frame import FrameConnection
from msup.rng import StepRng
from msup.runner import EXIT_OK, EXIT_PROTOCOL, Runner, environment, import_failed
from msup.session import AnyStrategy, Session

EXIT_UNCAUGHT: Final = 1
_MAX_ORDER_BYTES: Final = 4096
_DESCRIPTORS: Final = 3

# Read before determinism changes the clocks: the real ones, of this thread.
_thread_time_ns = time.thread_time_ns


class _Order(msgspec.Struct):
    """Start one instance; its three descriptors come along."""

    id: int
    address: str


class _Report(msgspec.Struct, omit_defaults=True):
    """What became of one instance."""

    id: int
    event: str
    thread: int = 0
    status: int = 0
    cpu_ns: int = 0


class _Here(threading.local):
    """What the current thread is: of an instance, or of nobody."""

    instance: Instance | None = None
    context: Context | None = None
    rng: StepRng | None = None


_here = _Here()


class Instance:
    """What one instance was given. All of it is used by its own thread only."""

    def __init__(self, order: _Order, descriptors: list[int], report: Callable[[_Report], None]) -> None:
        """Own the three descriptors from now on."""
        self.id = order.id
        self.address = order.address
        self._report = report
        self._socket = socket.socket(fileno=descriptors[0])
        self._connected = False
        self.stdout, self.stderr = (
            open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115, PTH123
            for fd in descriptors[1:]
        )

    def connect(self) -> socket.socket:
        """The instance's socket, once."""
        if self._connected:
            raise ConnectionRefusedError(f"{self.address} is connected already")
        self._connected = True
        self._report(_Report(self.id, "connected"))
        return self._socket

    def run(self, serve: Callable[[Instance], int]) -> None:
        """The whole life of the thread."""
        _here.instance = self
        self._report(_Report(self.id, "began", thread=threading.get_native_id()))
        status = EXIT_UNCAUGHT
        try:
            status = serve(self)
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        except BaseException:  # noqa: BLE001 - the process belongs to the others too
            traceback.print_exc()
        for stream in (self.stdout, self.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or the strategy closed it
                stream.close()
        self._report(_Report(self.id, "ended", status=status & 0xFF, cpu_ns=_thread_time_ns()))
        self._socket.close()


class Host:
    """The process: takes orders from the supervisor, starts a thread for each, reports."""

    def __init__(self, path: str) -> None:
        """Connect to the supervisor."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._sending = threading.Lock()

    def serve(self, serve: Callable[[Instance], int]) -> None:
        """Start instances until the supervisor hangs up."""
        text, descriptors = bytearray(), deque[int]()
        decoder = msgspec.json.Decoder(_Order)
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, _MAX_ORDER_BYTES, _DESCRIPTORS)
            if not data:
                return
            descriptors.extend(fds)
            text += data
            while (end := text.find(b"\n")) >= 0:
                order = decoder.decode(text[:end])
                del text[: end + 1]
                given = [descriptors.popleft() for _ in range(_DESCRIPTORS)]
                instance = Instance(order, given, self._report)
                threading.Thread(target=instance.run, args=(serve,), name=order.address, daemon=True).start()

    def _report(self, report: _Report) -> None:
        line = msgspec.json.encode(report) + b"\n"
        with self._sending, contextlib.suppress(OSError):  # the supervisor is gone: serve sees it too
            self._socket.sendall(line)


class _ThreadStream:
    """Stands for ``sys.stdout`` or ``sys.stderr``: the instance's own in its thread, the process's elsewhere."""

    def __init__(self, name: str, process: TextIO) -> None:
        self._name = name
        self._process = process

    def _own(self) -> TextIO:
        instance = _here.instance
        return self._process if instance is None else cast(TextIO, getattr(instance, self._name))

    def write(self, text: str) -> int:
        return self._own().write(text)

    def flush(self) -> None:
        self._own().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own(), name)


class _ThreadContext:
    """The context of the thread's instance, as far as determinism asks; time 0 where there is none."""

    _nobody = Context()

    @classmethod
    def own(cls) -> Context:
        return _here.context or cls._nobody

    def now(self) -> int:
        return self.own().now()

    @property
    def step(self) -> int:
        return self.own().step

    @property
    def instance(self) -> str:
        return self.own().instance

    @property
    def _run_seed(self) -> int:
        return self.own()._run_seed  # pyright: ignore[reportPrivateUsage]


class _ThreadRng:
    """The functions of ``random``, each on the stream of the thread that calls it."""

    def __init__(self, make: Callable[[], StepRng]) -> None:
        self._make = make

    def _own(self) -> StepRng:
        if _here.rng is None:
            _here.rng = self._make()
        return _here.rng

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._own(), name)(*args, **kwargs)

        return call


class ThreadDeterminism(Determinism):
    """As ``Determinism``, for the instance of whichever thread asks."""

    def __init__(self, mode: str) -> None:
        """Raises ``ValueError`` for an unknown mode."""
        if mode not in MODES:
            raise ValueError(f"MSUP_DETERMINISM={mode!r} is none of {', '.join(MODES)}")
        context = cast(Context, _ThreadContext())
        super().__init__(context, "strict" if mode == "strict" else "on")
        self._rng = cast(StepRng, _ThreadRng(lambda: StepRng(lambda: context.step, self._seed)))


class _Package:
    """The one package of this process: imported once, before its first instance."""

    def __init__(self) -> None:
        self.hash = ""
        self.failed: EntryError | None = None
        self._class: type[AnyStrategy] | None = None
        self._prepare: Callable[[], None] | None = None
        try:
            self.hash = environment("MSUP_PACKAGE_HASH")
            self._class = self._load()
        except EntryError as error:
            self.failed = error

    def _load(self) -> type[AnyStrategy]:
        mode = os.environ.get("MSUP_DETERMINISM", "on")
        try:
            if mode != "off":
                determinism = ThreadDeterminism(mode)
                determinism.install()
                self._prepare = determinism.seed_numpy
        except ValueError as error:
            raise EntryError(str(error)) from error
        add_path(os.environ.get("MSUP_STRATEGY_DIR") or DEFAULT_STRATEGY_DIR, os.environ.get("MSUP_LAYER", ""))
        return load(environment("MSUP_ENTRY"))

    def serve(self, instance: Instance) -> int:
        """One instance from hello to its end; the statuses are those of ``msup.runner``."""
        if self.failed is not None or self._class is None:
            return import_failed(self.failed or EntryError("the package was not loaded"))
        context = _here.context = Context()
        try:
            session = Session(self._class, context, self._prepare)
        except (EntryError, StateError) as error:
            return import_failed(EntryError(str(error)))
        return Runner(FrameConnection(instance.connect()), session).run(self.hash)


def host(serve: Callable[[Instance], int], prepare: Callable[[], None] | None = None) -> NoReturn:
    """Serve instances on threads until the supervisor hangs up; ``prepare`` runs once it can see the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the supervisor
    faulthandler.enable()
    for name in ("stdout", "stderr"):
        stream: TextIO = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
        setattr(sys, name, _ThreadStream(name, cast(TextIO, stream)))
    status = EXIT_OK
    try:
        made = Host(environment("MSUP_SOCKET"))
        if prepare is not None:
            prepare()
        made.serve(serve)
    except (MsupError, OSError, msgspec.MsgspecError) as error:
        tell(f"msup: PROTOCOL: {error}")
        status = EXIT_PROTOCOL
    os._exit(status)  # whatever threads there are


def main() -> NoReturn:
    """Serve the instances of the package that the environment names."""
    packages: list[_Package] = []
    host(lambda instance: packages[0].serve(instance), lambda: packages.append(_Package()))


if __name__ == "__main__":
    main()
