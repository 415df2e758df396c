"""I's receiver under faults: bytes that are no messages, peers that do not read, a full disk, deaths, the adverse I."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakem import ADDRESS, FakeM, eventually, offer, order
from msup.boundary import (
    Handler,
    Offered,
    Outcome,
    Query,
    Receiver,
    Refused,
    SnapshotRequest,
    SocketError,
    SourceEvent,
    StatusReport,
    Sync,
    Tombstone,
    committed,
    encode,
    frame,
)
from msup.boundary.testing import FAULTS, POINTS, AdverseReceiver, Faults, Venue
from msup.event import ExecutionSnapshot
from msup.intent import Status

VECTORS = Path(__file__).parents[2] / "ipc" / "vectors"


class Paper(Handler):
    """Fills whole."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_offer(self, offered: Offered) -> Outcome:
        self.called.append(offered.key)
        return committed(offered.filled(10, 1))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver with short patience."""
    made = Receiver(
        Paper(), socket=tmp_path / "i.sock", store=tmp_path / "i.db", frame_timeout_s=0.3, out_bytes=1 << 20
    )
    with made:
        yield made


def works(receiver: Receiver, step: int) -> None:
    """A sound M is served."""
    with FakeM(receiver.socket) as m:
        m.welcome()
        assert m.ask(offer(order(step), step)).status is Status.COMMITTED


# Proves: SB-6
@pytest.mark.parametrize(
    "raw",
    [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff" + b"x" * 100,
        struct.pack(">I", (64 << 10) + 1) + b"\x90",
        struct.pack(">I", 3) + b"\x93\x24\x01",
        struct.pack(">I", 1) + b"\xc1",
        b"GET / HTTP/1.1\r\nHost: i\r\n\r\n",
        frame(encode(Sync(1)) + b"\0"),
        frame(encode(StatusReport(1, ADDRESS, "k", Status.COMMITTED, None, ""))),
        frame(b"\x92\x20" + b"\x91" * 40),
    ],
    ids=["empty", "huge", "large", "short", "no-msgpack", "http", "trailing", "of-a-peer", "deep"],
)
def test_bytes_that_are_no_message_end_the_connection(receiver: Receiver, raw: bytes) -> None:
    with FakeM(receiver.socket) as m:
        m.sock.sendall(raw)
        assert m.ended()
    works(receiver, 7)


# Proves: SB-6
def test_whatever_the_codec_refuses_is_refused_at_the_socket(receiver: Receiver) -> None:
    invalid = sorted((VECTORS / "invalid").glob("*.bin"))
    assert len(invalid) > 50
    for path in invalid:
        with FakeM(receiver.socket) as m:
            m.sock.sendall(path.read_bytes())
            m.sock.shutdown(socket.SHUT_WR)
            assert m.ended()
    works(receiver, 7)


# Proves: SB-6
def test_mutated_bytes_never_end_the_receiver(receiver: Receiver) -> None:
    whole = b"".join(
        frame(encode(m))
        for m in (offer(order(7), 7), Query(1, ADDRESS, 1, "0" * 32), SnapshotRequest(2, ADDRESS), Sync(3))
    )
    for seed in range(150):
        mix = random.Random(seed)
        raw = bytearray(whole)
        for _ in range(mix.randint(1, 8)):
            raw[mix.randrange(len(raw))] = mix.randrange(256)
        with FakeM(receiver.socket) as m:
            m.sock.sendall(raw[: mix.randint(1, len(raw))])
            m.sock.shutdown(socket.SHUT_WR)
            assert m.ended()
    works(receiver, 9)


def test_a_half_frame_is_waited_for_and_not_for_ever(receiver: Receiver) -> None:
    raw = frame(encode(Sync(1)))
    with FakeM(receiver.socket) as slow, FakeM(receiver.socket) as stuck:
        slow.sock.sendall(raw[:3])
        time.sleep(0.1)
        slow.sock.sendall(raw[3:])
        assert slow.receive() is not None
        begin = time.monotonic()
        stuck.sock.sendall(raw[:-1])
        assert stuck.ended()
        assert time.monotonic() - begin < 5
        assert slow.ask(Sync(0)), "the other one goes on"


# Proves: BP-1, NN-6
def test_who_never_reads_is_dropped_and_nobody_else_waits(receiver: Receiver) -> None:
    with FakeM(receiver.socket) as deaf:
        deaf.welcome()
        query = frame(encode(Query(1, ADDRESS, 1, order(7).meta.key))) * 200
        deaf.sock.settimeout(0.5)
        dropped = False
        begin = time.monotonic()
        while not dropped and time.monotonic() - begin < 20:
            try:
                deaf.sock.sendall(query)
            except (BrokenPipeError, ConnectionResetError):
                dropped = True
        assert dropped
    works(receiver, 7)


def test_more_connections_than_allowed_are_refused(tmp_path: Path) -> None:
    with Receiver(Paper(), socket=tmp_path / "i.sock", store=tmp_path / "i.db", most_peers=4) as i:
        peers = [FakeM(i.socket) for _ in range(4)]
        for m in peers:
            m.ask(Sync(0))
        with FakeM(i.socket) as one_more:
            assert one_more.ended()
        for m in peers:
            assert m.ask(Sync(0))
            m.sock.close()
        eventually(lambda: not i._peers)  # pyright: ignore[reportPrivateUsage]
        works(i, 7)


_CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
s.sendall(bytes.fromhex(sys.argv[2]))
print(len(s.recv(100)))
"""


# Proves: SB-3
def test_another_user_may_not_connect(tmp_path: Path) -> None:
    raw = frame(encode(Sync(1))).hex()
    for uids, answered in (([], False), ([65534], True)):
        made = Receiver(Paper(), socket=tmp_path / "i.sock", store=tmp_path / "i.db", uids=uids)
        with made:
            if os.geteuid() == 0:  # a real other user, and only the credentials in its way
                made.socket.chmod(0o666)
                for folder in (tmp_path, *tmp_path.parents[:-2]):
                    folder.chmod(folder.stat().st_mode | 0o111)
                user: dict[str, Any] = {"user": 65534}
            else:
                made._uids = {65534, *([os.getuid()] if answered else [])}  # pyright: ignore[reportPrivateUsage]
                user = {}
            done = subprocess.run(
                ["/usr/bin/env", "python3", "-c", _CONNECT, str(made.socket), raw],
                capture_output=True,
                text=True,
                **user,
                check=False,
            )
            assert (done.stdout.strip() not in ("", "0")) == answered, (uids, done)


def test_a_socket_that_cannot_be_had(tmp_path: Path, receiver: Receiver) -> None:
    for path, why in (
        (tmp_path / ("x" * 120), "the kernel allows 107"),
        (receiver.socket, "another process listens there"),
        (tmp_path / "i.db", "no socket is there"),
    ):
        with pytest.raises(SocketError, match=why):
            Receiver(Paper(), socket=path, store=tmp_path / "other.db").start()
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(stale))
    with Receiver(Paper(), socket=stale, store=tmp_path / "other.db") as i:
        works(i, 7)
    assert not stale.exists()


class Process:
    """An adverse I in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "i.sock"
        self.folder = folder / "i"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "msup.boundary.adverse",
                "--socket",
                str(self.socket),
                "--store",
                str(self.folder),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._ended: tuple[int, str] | None = None
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def effects(self) -> list[str]:
        return [row["key"] for row in Venue(self.folder / "effects.jsonl").rows()]

    def wait(self) -> tuple[int, str]:
        if self._ended is None:
            _, err = self._process.communicate(timeout=20)
            self._ended = self._process.returncode, err.decode()
            assert "Traceback" not in self._ended[1], self._ended[1]
        return self._ended

    def stop(self) -> None:
        if self._ended is None:
            self._process.terminate()
            code, err = self.wait()
            assert code in (0, -signal.SIGKILL), err


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start adverse Is one after another in one folder."""
    started: list[Process] = []

    def make(*arguments: str) -> Process:
        process = Process(tmp_path, *arguments)
        started.append(process)
        return process

    yield make
    for process in started:
        process.stop()


def talk(m: FakeM, steps: range, epoch: int) -> bool:
    """Recover as M does: hello, a query for each key, an offer where it was not seen. False when I has died."""
    try:
        m.welcome(epoch=epoch)
        for step in steps:
            word = m.ask(Query(0, ADDRESS, epoch, order(step).meta.key))
            if word.status is Status.NOT_SEEN:
                m.ask(offer(order(step), step, epoch=epoch))
        m.ask(Sync(0))
    except (AssertionError, OSError):
        return False
    return True


# Proves: GT-5, GT-6, NN-3, DOD-6
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_point_makes_no_second_effect_and_loses_none(start: Start, point: str) -> None:
    steps = range(2, 10)
    deaths, epoch, lived = 0, 0, False
    i = None
    for seed, die_after in enumerate((1, 2, 3, 5, 0)):
        i = start("--die-at", point, "--die-after", str(die_after), "--seed", str(seed))
        epoch += 1
        if i.ready:  # what an earlier one left unknown may have killed it before it listened
            with FakeM(i.socket) as m:
                lived = talk(m, steps, epoch)
        if not i.ready or not lived:
            code, err = i.wait()
            assert code == -signal.SIGKILL, err
            deaths += 1
        elif die_after:
            i.stop()
    assert lived, "the last one does not die"
    assert i is not None
    with FakeM(i.socket) as m:
        m.welcome(epoch=epoch)
        for step in steps:
            assert m.ask(Query(0, ADDRESS, epoch, order(step).meta.key)).status is Status.COMMITTED
        positions = m.ask(SnapshotRequest(0, ADDRESS)).event
        assert isinstance(positions, ExecutionSnapshot)
        assert [str(p.quantity) for p in positions.positions] == [str(len(steps))]
    assert sorted(i.effects()) == sorted(order(step).meta.key for step in steps), "each once"
    assert deaths >= 2


# Proves: ST-4, NN-6
def test_a_full_disk_refuses_and_heals(start: Start) -> None:
    i = start()
    with FakeM(i.socket) as m:
        m.welcome()
        assert m.ask(offer(order(7), 7)).status is Status.COMMITTED
        _, hard = resource.prlimit(i.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(i.pid, resource.RLIMIT_FSIZE, (0, hard))  # every write beyond the first byte fails
        for message in (offer(order(8), 8), Tombstone(0, ADDRESS, 1, "0" * 32)):
            refused = m.ask(message)
            assert (type(refused), refused.reason) == (Refused, "PERSIST_FAILED")
        assert m.ask(Query(0, ADDRESS, 1, order(8).meta.key)).status is Status.NOT_SEEN, "nothing was taken"
        assert m.ask(Query(0, ADDRESS, 1, order(7).meta.key)).status is Status.COMMITTED, "reading goes on"
        m.send(*[offer(order(step), step, seq=step) for step in (9, 10)])
        for _ in range(2):
            assert isinstance(m.receive(), Refused)
        assert i.effects() == [order(7).meta.key]
        resource.prlimit(i.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert m.ask(offer(order(8), 8)).status is Status.COMMITTED
    assert i.effects() == [order(7).meta.key, order(8).meta.key]


# Proves: ST-4, GT-5
def test_an_outcome_that_cannot_be_written_is_told_only_when_it_is(tmp_path: Path) -> None:
    class Filling(Paper):
        def on_offer(self, offered: Offered) -> Outcome:
            self._read_only(on=True)
            return super().on_offer(offered)

        def _read_only(self, *, on: bool) -> None:
            with self.receiver._lock:  # pyright: ignore[reportPrivateUsage]
                self.receiver._store.db.execute(f"PRAGMA query_only={int(on)}")  # pyright: ignore[reportPrivateUsage]

    handler = Filling()
    with Receiver(handler, socket=tmp_path / "i.sock", store=tmp_path / "i.db") as i, FakeM(i.socket) as m:
        m.welcome()
        m.send(offer(order(7), 7, seq=5))
        eventually(lambda: handler.called)
        assert m.ask(Query(0, ADDRESS, 1, order(7).meta.key)).status is Status.OFFERED
        assert not m.events()
        time.sleep(0.2)
        handler._read_only(on=False)  # pyright: ignore[reportPrivateUsage]
        eventually(lambda: i.position(ADDRESS, "BTCUSDT.SIM") == 1)
        assert m.ask(Query(0, ADDRESS, 1, order(7).meta.key)).status is Status.COMMITTED
        assert len(m.events()) == 1
    assert len(handler.called) == 1


# Proves: BC-I, LS-3
def test_a_lost_memory_shows_in_the_source_epoch_and_the_last_step(start: Start) -> None:
    i = start()
    with FakeM(i.socket) as m:
        before = m.welcome().cursor
        m.ask(offer(order(7), 7))
    i.stop()
    i = start("--forget")
    with FakeM(i.socket) as m:
        welcome = m.welcome(epoch=2)
        assert welcome.last_step == 0
        assert welcome.cursor.source_epoch > before.source_epoch
        assert m.ask(Query(0, ADDRESS, 2, order(7).meta.key)).status is Status.NOT_SEEN


def heard(tmp_path: Path, faults: Faults, seed: int = 1) -> tuple[list[Any], AdverseReceiver]:
    """What M hears of eight offers."""
    i = AdverseReceiver(socket=tmp_path / "a.sock", folder=tmp_path / f"a{seed}", seed=seed, faults=faults)
    with i, FakeM(i.socket) as m:
        try:
            m.welcome()
            for step in range(2, 10):
                m.send(offer(order(step), step, seq=100 + step))
            wanted = {order(step).meta.key for step in range(2, 10)}
            while not wanted <= {h.key for h in m.heard if isinstance(h, StatusReport)}:
                if m.receive() is None:
                    break
        except AssertionError:
            pass
        return m.heard, i


# Proves: BC-I
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_adverse_i_is_seen_and_none_by_default(tmp_path: Path, fault: str) -> None:
    def signs(messages: list[Any]) -> set[str]:
        found: set[str] = set()
        events = [m for m in messages if isinstance(m, SourceEvent)]
        words = [m for m in messages if isinstance(m, StatusReport)]
        keys = {order(step).meta.key for step in range(2, 10)}
        seqs = [e.cursor.seq for e in events]
        found |= {"repeat"} if len(seqs) != len(set(seqs)) or len(words) > 8 else set()
        found |= {"unknown"} if any(w.status is Status.OFFERED for w in words) else set()
        found |= {"reject"} if any(w.status is Status.REJECTED for w in words) else set()
        found |= {"unknown_key"} if any(w.key not in keys for w in words) else set()
        found |= {"other_digest"} if any(w.digest == bytes(32) for w in words) else set()
        found |= {"lower_epoch"} if any(isinstance(m, Refused) for m in messages) else set()
        found |= {"skip"} if words and len(set(seqs)) < 8 else set()
        found |= {"back"} if seqs != sorted(seqs) and not any(isinstance(m, Refused) for m in messages) else set()
        seen = list(dict.fromkeys(w.key for w in words if w.key in keys))
        found |= {"reorder"} if seen != [order(s).meta.key for s in range(2, 10)][: len(seen)] else set()
        found |= {"hangup"} if len(messages) < 5 else set()
        return found

    begin = time.monotonic()
    calm, _ = heard(tmp_path, Faults(), seed=2)
    assert signs(calm) == set()
    calm_s = time.monotonic() - begin
    chance = {"hangup": 1.0, "unknown": 0.5, "reject": 0.5, "stall": 1.0}.get(fault, 0.6)
    begin = time.monotonic()
    wild, i = heard(tmp_path, Faults(chances={fault: chance}, stall_ms=100))
    if fault == "stall":
        assert time.monotonic() - begin > calm_s + 0.1
    else:
        assert fault in signs(wild)
    assert len(i.venue.rows()) == len({row["key"] for row in i.venue.rows()})


def test_the_same_seed_makes_the_same_faults(tmp_path: Path) -> None:
    faults = Faults(chances={"unknown_key": 0.3, "reject": 0.3})
    words = [
        [m.key for m in heard(tmp_path / str(n), faults, seed=5)[0] if isinstance(m, StatusReport)] for n in (1, 2)
    ]
    assert words[0] == words[1]


def test_the_program_says_what_is_wrong_and_starts_again_when_asked(start: Start, tmp_path: Path) -> None:
    for arguments, why in (
        (("--fault", "flood=1"), "a fault is one of"),
        (("--fault", "repeat=2"), "probability of 0..1"),
        (("--socket", str(tmp_path / ("x" * 120))), "the kernel allows 107"),
    ):
        i = start(*arguments)
        assert not i.ready
        code, err = i.wait()
        assert code in (1, 2)
        assert why in err
        assert "Traceback" not in err
    i = start("--respawn", "--die-at", "handled", "--die-after", "1")
    assert i.ready
    with FakeM(i.socket) as m:
        assert not talk(m, range(2, 4), 1)

    def again() -> bool:
        try:
            with FakeM(i.socket) as m:
                return talk(m, range(2, 4), 2)
        except OSError:
            return False

    eventually(again)
    assert len(i.effects()) == 2
