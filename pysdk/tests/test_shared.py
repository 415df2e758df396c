"""The shared runner process as a real process; the test plays the supervisor (SB-L0)."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from fakesupervisor import HASH, START, FakeSupervisor, quote
from msup.frame import FrameConnection
from msup.message import Hello

PACKAGE = Path(__file__).parents[1]

STRATEGY = """
import random, sys, threading, time, uuid
import msup

class S(msup.Strategy):
    class State(msup.State):
        n: int = 0

    def on_event(self, ctx, event):
        self.state.n += 1
        print(self.state.n, time.time_ns() - ctx.now(), random.random(), random.randrange(1000), uuid.uuid4())
        print("error", self.state.n, file=sys.stderr)
        ctx.no_op(f"n{self.state.n}")
        seen = []
        thread = threading.Thread(target=lambda: (seen.append(time.time()), print("of nobody", flush=True)))
        thread.start()
        thread.join()
        assert seen == [0.0], seen
"""


class SharedProcess:
    """Starts ``python -m msup.shared`` and hands instances to it."""

    def __init__(self, folder: Path, tmp_path: Path, *, env: dict[str, str] | None = None) -> None:
        """Start it on the strategy in ``folder``; take its connection."""
        path = os.path.relpath(folder / "s")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.settimeout(20)
        listener.bind(path)
        listener.listen(1)
        self._files = [(tmp_path / name).open("w+") for name in ("stdout", "stderr")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "msup.shared"],
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(PACKAGE),
                "PYTHONDONTWRITEBYTECODE": "1",
                "MSUP_SOCKET": path,
                "MSUP_ENTRY": "strategy:S",
                "MSUP_PACKAGE_HASH": HASH,
                "MSUP_STRATEGY_DIR": str(folder),
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
        )
        self.control, _ = listener.accept()
        self.control.settimeout(20)
        listener.close()
        self._lines = self.control.makefile()
        self._last = 0
        self._ended: dict[int, int] = {}
        self._given: list[Instance] = []

    def instance(self) -> Instance:
        """Hand a new one over."""
        self._last += 1
        ours, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe()]
        given = [theirs.fileno(), *(w for _, w in pipes)]
        order = json.dumps({"id": self._last, "address": f"bot/strategy/{self._last}"}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))]
        self.control.sendmsg([order + b"\n"], rights)
        theirs.close()
        for _, w in pipes:
            os.close(w)
        self._given.append(Instance(self, self._last, ours, [os.fdopen(r) for r, _ in pipes]))
        return self._given[-1]

    def report(self) -> dict[str, Any]:
        """The next line of the process."""
        line = self._lines.readline()
        assert line, f"the process ended: {self.printed()}"
        return json.loads(line)

    def status(self, number: int) -> int:
        """The status with which an instance ended."""
        while number not in self._ended:
            report = self.report()
            if report["event"] == "ended":
                self._ended[report["id"]] = report.get("status", 0)
        return self._ended[number]

    def printed(self) -> list[str]:
        """What the process itself has on stdout and stderr."""
        found: list[str] = []
        for file in self._files:
            file.seek(0)
            found.append(file.read())
        return found

    def close(self) -> int:
        """Hang up; the process leaves."""
        self.control.shutdown(socket.SHUT_RDWR)
        return self.process.wait(20)

    def release(self) -> None:
        """End everything."""
        self.process.kill()
        self.process.wait()
        for one in [self._lines, self.control, *self._files, *self._given]:
            one.close()


class Instance(FakeSupervisor):
    """One session on a socket of a shared process."""

    def __init__(self, shared: SharedProcess, number: int, sock: socket.socket, pipes: list[TextIO]) -> None:  # pyright: ignore[reportMissingSuperCall]
        """Play the supervisor of this instance."""
        self._shared = shared
        self._number = number
        self._pipes = pipes
        self.socket = sock
        self.socket.settimeout(20)
        self.connection = FrameConnection(sock, from_runner=True)
        self.seq = 0
        self.step = 0
        self.now = START

    def accept(self) -> Hello:
        """Its hello."""
        return self.read(Hello)

    def end(self) -> tuple[int, str, str]:
        """Hang up; the status, and what it printed on stdout and stderr."""
        assert self.socket is not None
        self.socket.close()
        status = self._shared.status(self._number)
        out, err = (pipe.read() for pipe in self._pipes)
        return status, out, err

    def close(self) -> None:
        """Close this side."""
        assert self.socket is not None
        for one in [self.socket, *self._pipes]:
            one.close()


Make = Callable[..., SharedProcess]


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start a shared process for the given source; it is killed when the test ends."""
    started: list[SharedProcess] = []
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes

    def make(source: str, env: dict[str, str] | None = None) -> SharedProcess:
        folder = tmp_path / f"shared{len(started)}"
        folder.mkdir()
        (folder / "strategy.py").write_text(source)
        started.append(SharedProcess(folder, tmp_path, env=env))
        return started[-1]

    yield make
    for shared in started:
        shared.release()


# Each has its state, its clock, its chance and its output, and the same ones as in a process of its own.
# Proves: SB-L0, NN-7, SB-4
def test_instances_see_what_a_runner_sees(share: Make, start: Callable[..., FakeSupervisor]) -> None:
    shared = share(STRATEGY)
    a, b = shared.instance(), shared.instance()
    alone = start(STRATEGY.replace("assert seen == [0.0]", "assert seen == [ctx.now() / 1e9]"))
    for s in (a, b, alone):
        s.begin()
    assert a.deliver(quote()).intents[0].body.reason == "n1"  # type: ignore[union-attr]
    assert b.deliver(quote(), after_ns=5_000_000).intents[0].body.reason == "n1"  # type: ignore[union-attr]
    for _ in range(2):
        assert a.deliver(quote()).fault is None
    for _ in range(3):
        assert alone.deliver(quote()).fault is None
    assert alone.stop() == 0
    status, out, err = a.end()
    assert (status, err) == (0, "error 1\nerror 2\nerror 3\n")
    assert out == alone.stdout().replace("of nobody\n", "")
    status, out, err = b.end()
    assert (status, err, len(out.splitlines())) == (0, "error 1\n", 1)
    assert out.startswith("1 0 ")  # its own clock
    assert shared.close() == 0
    assert shared.printed() == ["of nobody\n" * 4, ""]


# Proves: SB-L0, SB-6
def test_one_that_ends_leaves_the_others(share: Make) -> None:
    shared = share(
        "import sys, msup\nclass S(msup.Strategy):\n    def on_event(self, ctx, event):\n        ctx.no_op('here')\n"
        "        if ctx.step == 3: sys.exit(9)\n        if ctx.step == 4: sys.stdout.close()\n"
    )
    a, b = shared.instance(), shared.instance()
    a.begin()
    b.begin()
    assert a.deliver(quote()).fault is None
    fault = a.deliver(quote()).fault
    assert fault is not None
    assert "SystemExit" in fault.message
    assert a.deliver(quote()).fault is None  # it closed its own stdout
    assert a.end()[0] == 0
    assert b.deliver(quote()).intents[0].body.reason == "here"  # type: ignore[union-attr]
    b.send_bytes(b"\x00\x00\x00\x01\xc1")
    status, _, err = b.end()
    assert (status, err.startswith("msup: PROTOCOL: ")) == (70, True)
    c = shared.instance()
    c.begin()
    assert c.deliver(quote()).fault is None
    assert c.end()[0] == 0
    assert shared.close() == 0


# Proves: AD-1, SB-8
@pytest.mark.parametrize(
    ("source", "env", "says"),
    [
        ("import nowhere", {}, "No module named 'nowhere'"),
        ("import msup\nclass T(msup.Strategy): pass", {}, "has no 'S'"),
        ("", {"MSUP_DETERMINISM": "sometimes"}, "MSUP_DETERMINISM='sometimes' is none of on, strict, off"),
        ("", {"MSUP_PACKAGE_HASH": ""}, "MSUP_PACKAGE_HASH is not set"),
    ],
)
def test_a_package_that_cannot_be_loaded(share: Make, source: str, env: dict[str, str], says: str) -> None:
    shared = share(source, env)
    for _ in range(2):
        status, _, err = shared.instance().end()
        assert status == 78
        assert says in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("msup: IMPORT_FAILED: ")
    assert shared.close() == 0


# Proves: NN-7
def test_strict_determinism_is_each_instances_own(share: Make) -> None:
    shared = share(
        "import os, msup\nclass S(msup.Strategy):\n    def on_event(self, ctx, event): os.urandom(1)\n",
        {"MSUP_DETERMINISM": "strict"},
    )
    a, b = shared.instance(), shared.instance()
    for s in (a, b):
        s.begin()
        fault = s.deliver(quote()).fault
        assert fault is not None
        assert fault.kind == "determinism"
    assert shared.close() == 0


# Proves: SB-L0, SB-8
def test_the_supervisors_side_must_be_well_formed(share: Make) -> None:
    shared = share(STRATEGY)
    shared.control.sendall(b'{"id": "one"}\n')
    assert shared.process.wait(20) == 70
    assert "msup: PROTOCOL: " in shared.printed()[1]
