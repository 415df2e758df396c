"""Making the socket of a neighbour."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from msup.boundary.link import SocketError, listen


# Proves: BC-I
def test_whoever_sees_the_name_can_connect(tmp_path: Path) -> None:
    refused: list[OSError] = []

    def connect(path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            while not path.exists():
                pass
            try:
                s.connect(str(path))
            except OSError as error:
                refused.append(error)

    for n in range(100):
        path = tmp_path / str(n)
        eager = threading.Thread(target=connect, args=[path])
        eager.start()
        with listen(path):
            eager.join()
    assert refused == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(str(n) for n in range(100))


# Proves: BC-I
def test_of_two_that_start_at_once_one_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    both = threading.Barrier(8)
    made: list[socket.socket] = []
    late: list[SocketError] = []

    def start() -> None:
        both.wait()
        try:
            made.append(listen(path))
        except SocketError as error:
            late.append(error)

    starters = [threading.Thread(target=start) for _ in range(8)]
    for one in starters:
        one.start()
    for one in starters:
        one.join()
    assert (len(made), len(late)) == (1, 7)
    assert all("another process listens there" in str(error) for error in late)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(str(path))
    made[0].close()
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    with pytest.raises(SocketError, match="no socket is there"):
        listen(Path(__file__))
