"""State bytes: deterministic, typed, bounded."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import msup
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msup.dec import to_dec
from msup.error import StateError
from msup.limit import MAX_CHUNK_BYTES, MAX_STATE_BYTES
from msup.message import Chunk
from msup.state import ChunkReader, StateCodec, send_chunks


class Inner(msgspec.Struct):
    n: int = 0


class State(msup.State):
    price: Decimal | None = None
    window: list[float] = []  # noqa: RUF012
    seen: set[str] = set()  # noqa: RUF012
    by_name: dict[str, Inner] = {}  # noqa: RUF012


class Arrays(msup.State):
    a: np.ndarray | None = None
    b: npt.NDArray[np.float64] = np.zeros(2)
    scalar: np.float64 = np.float64(0.0)


# Proves: ST-1, NN-3
@given(
    st.none() | st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(st.floats(allow_nan=False)),
    st.sets(st.text(max_size=4)),
    st.dictionaries(st.text(max_size=4), st.integers(-(2**63), 2**63 - 1)),
)
def test_round_trip(price: Decimal | None, window: list[float], seen: set[str], numbers: dict[str, int]) -> None:
    codec = StateCodec(State)
    state = State(price, window, seen, {name: Inner(n) for name, n in numbers.items()})
    data = codec.encode(state)
    assert codec.decode(data) == state
    assert codec.encode(codec.decode(data)) == data


# Proves: NN-7
def test_bytes_do_not_depend_on_insertion_order() -> None:
    codec = StateCodec(State)
    names = [f"k{i}" for i in range(50)]
    one = State(seen=set(names), by_name={name: Inner() for name in names})
    two = State(seen=set(reversed(names)), by_name={name: Inner() for name in reversed(names)})
    assert codec.encode(one) == codec.encode(two)


def test_a_price_from_an_event_is_kept() -> None:
    codec = StateCodec(State)
    found = codec.decode(codec.encode(State(price=to_dec("64000.10")))).price
    assert found == Decimal("64000.1")
    assert type(found) is Decimal


# Proves: NN-3
def test_numpy_arrays() -> None:
    codec = StateCodec(Arrays)
    state = Arrays(np.arange(6, dtype=np.int32).reshape(2, 3), np.array([1.5, np.nan]), np.float64(2.5))
    found = codec.decode(codec.encode(state))
    assert found.a is not None
    assert found.a.dtype == np.int32
    assert np.array_equal(found.a, np.arange(6).reshape(2, 3))
    assert np.array_equal(found.b, [1.5, np.nan], equal_nan=True)
    assert found.scalar == 2.5
    found.b[0] = 3  # writable
    assert codec.encode(Arrays(np.arange(6).reshape(2, 3).T)) == codec.encode(
        Arrays(np.arange(6).reshape(2, 3).T.copy())
    )


# Proves: SB-6
@pytest.mark.parametrize("array", [np.array([object()]), np.array([(1, 2)], dtype=[("x", "i4"), ("y", "i4")])])
def test_arrays_of_objects_are_refused(array: np.ndarray) -> None:
    with pytest.raises(StateError, match="cannot be state"):
        StateCodec(Arrays).encode(Arrays(array))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93", b"\x80\x80", b"\x81\xa1x\x01", b"\x81\xa5price\x01\x01", b"\x81\xa6window\xa1a", b"\xc1"],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        StateCodec(State).decode(data)


def test_what_cannot_be_written_is_refused() -> None:
    codec = StateCodec(State)
    with pytest.raises(StateError, match="cannot be written"):
        codec.encode(State(window=[object()]))  # type: ignore[list-item]
    with pytest.raises(StateError, match="must stay a State"):
        codec.encode(Arrays())  # type: ignore[arg-type]


def test_a_field_without_a_default_is_refused() -> None:
    class Bad(msup.State):
        n: int

    with pytest.raises(StateError, match="needs a default"):
        StateCodec(Bad)


# Proves: ST-1
@given(st.integers(0, 3), st.integers(-2, 2))
def test_chunks(chunks: int, extra: int) -> None:
    total = max(0, chunks * MAX_CHUNK_BYTES + extra)
    data = bytes(total)
    sent: list[Chunk] = []
    send_chunks(data, 5, 2, sent.append)
    assert len(sent) == max(1, -(-total // MAX_CHUNK_BYTES))
    reader = ChunkReader(5, total, 2)
    assert [reader.add(chunk) for chunk in sent] == [False] * (len(sent) - 1) + [True]
    assert reader.data() == data


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(6, 0, 10, 1, b"x"),
        Chunk(5, 1, 10, 1, b"x"),
        Chunk(5, 0, 11, 1, b"x"),
        Chunk(5, 0, 10, 2, b"x"),
        Chunk(5, 0, 10, 1, b"x" * 11),
        Chunk(5, 0, 10, 1, b""),
    ],
)
def test_wrong_chunks_are_refused(chunk: Chunk) -> None:
    with pytest.raises(StateError):
        ChunkReader(5, 10, 1).add(chunk)


def test_a_state_above_the_limit_is_refused() -> None:
    with pytest.raises(StateError, match="at most"):
        ChunkReader(1, MAX_STATE_BYTES + 1, 1)
