"""Frames over a real socket, in pieces of every size; and bytes of every kind at the decoders."""

from __future__ import annotations

import contextlib
import socket
import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msup.boundary import decode_from_m, decode_from_peer
from msup.codec import Decoder, SupervisorDecoder, canonical, encode, frame
from msup.error import ProtocolError
from msup.frame import FrameConnection
from msup.limit import MAX_DEPTH, MAX_FRAME_BYTES
from msup.message import Answer, Chunk, RunnerMessage, Stop
from msup.shape import check_shape

_supervisor = SupervisorDecoder()
_runner: Decoder[RunnerMessage] = Decoder(RunnerMessage)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=8), st.integers(1, 100_000))
def test_frames_survive_any_cut(sizes: list[int], piece: int) -> None:
    payloads = [encode(Chunk(i, 0, size, 1, bytes([i]) * size)) for i, size in enumerate(sizes)]
    stream = b"".join(frame(payload) for payload in payloads)
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def write() -> None:
            for at in range(0, len(stream), max(piece, len(stream) // 50)):
                theirs.sendall(stream[at : at + max(piece, len(stream) // 50)])
            theirs.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=write)
        thread.start()
        connection = FrameConnection(ours)
        found: list[bytes] = []
        while (payload := connection.read()) is not None:
            found.append(bytes(payload))
        thread.join()
        assert found == payloads
        connection.close()


def _connection(raw: bytes, *, from_runner: bool = False) -> FrameConnection:
    ours, theirs = socket.socketpair()
    theirs.sendall(raw)
    theirs.close()
    return FrameConnection(ours, from_runner=from_runner)


# Proves: SB-6
@pytest.mark.parametrize(
    "raw", [b"\0", b"\0\0\0\5\x92", b"\0\0\0\0", (MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"x", b"\xff\xff\xff\xff"]
)
def test_broken_frames_end_the_session(raw: bytes) -> None:
    connection = _connection(raw)
    with pytest.raises(ProtocolError):
        connection.read()
    connection.close()


def test_a_large_buffer_is_given_back() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = FrameConnection(ours)
        big = frame(encode(Chunk(1, 0, 0, 1, b""))[:-2] + b"\xc6" + (3 << 20).to_bytes(4, "big") + bytes(3 << 20))
        thread = threading.Thread(target=theirs.sendall, args=(big,))
        thread.start()
        payload = connection.read()
        thread.join()
        assert payload is not None
        assert len(payload) > 3 << 20
        del payload
        theirs.sendall(frame(encode(Stop(1))))
        assert connection.read() is not None
        assert len(connection._buffer) < 1 << 20  # pyright: ignore[reportPrivateUsage]


# Proves: SB-6, RS-2
@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(raw: bytes) -> None:
    for decode in (_supervisor.decode, _runner.decode, decode_from_m, decode_from_peer):
        with contextlib.suppress(ProtocolError):
            message = decode(raw)
            assert encode(message)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.integers(0, 50), st.lists(_values, max_size=12))
def test_any_array_is_decoded_or_refused(kind: int, fields: list[object]) -> None:
    raw = msgspec.msgpack.encode([kind, *fields])
    for decode in (_supervisor.decode, _runner.decode, decode_from_m, decode_from_peer):
        with contextlib.suppress(ProtocolError):
            decode(raw)


# Proves: SB-6
def test_depth() -> None:
    def nested(levels: int) -> bytes:
        return b"\x93\x0b\x01" + b"\x91" * (levels - 1) + b"\x01"

    check_shape(nested(MAX_DEPTH))
    assert _supervisor.decode(nested(MAX_DEPTH)) == Stop(1)
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(ProtocolError):
            _supervisor.decode(nested(levels))
        with pytest.raises(ProtocolError, match="too_deep"):
            check_shape(nested(levels))


@settings(max_examples=300)
@given(_values)
def test_the_walk_takes_what_msgpack_writes(value: object) -> None:
    raw = msgspec.msgpack.encode([value])
    depth = _depth([value])
    if depth <= MAX_DEPTH:
        check_shape(raw)
    with pytest.raises(ProtocolError):
        check_shape(raw + b"\0")
    with pytest.raises(ProtocolError):
        check_shape(raw[:-1])


def _depth(value: object) -> int:
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=0)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return 0


def test_canonical_keeps_everything_else() -> None:
    answer = Answer(1, 2, [], None, [], [], [], None)
    assert canonical(answer) == [3, 1, 2, [], None, [], [], [], None]
