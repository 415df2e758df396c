"""The strategy's persisted state (ST-1, NN-3): a msgspec struct whose fields all have defaults.

    class State(msup.State):
        ema: Decimal | None = None
        window: list[float] = []

It is written with msgpack, keys and sets sorted, so that the same state always has the same bytes; never with pickle.
Numpy arrays are allowed where numpy is installed (kinds b, i, u, f, c, M, m, S, U; no objects, no records).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, get_origin

import msgspec
from msgspec.msgpack import Ext

from msup.dec import WireDecimal
from msup.error import StateError
from msup.limit import MAX_CHUNK_BYTES, MAX_STATE_BYTES
from msup.message import Chunk
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

EXT_NDARRAY: Final = 2
"""The msgpack ext type of a numpy array inside state bytes: [dtype, shape, data in C order]."""

_ARRAY_KINDS: Final = "biufcMmSU"


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Base of a strategy's state.

    Raise ``state_schema_version`` and write ``migrate`` whenever a field changes its meaning.
    """


StateT = TypeVar("StateT", bound=State)


class StateCodec(Generic[StateT]):
    """Writes and reads one state class."""

    __slots__ = ("_decoder", "_encoder", "state_class")

    def __init__(self, state_class: type[StateT]) -> None:
        """Raises ``StateError`` where msgspec cannot handle a field's type or a field has no default."""
        self.state_class = state_class
        try:
            state_class()
            self._decoder = msgspec.msgpack.Decoder(state_class, ext_hook=_ext_hook, dec_hook=_dec_hook)
        except (TypeError, NameError) as error:
            raise StateError(
                f"{state_class.__qualname__}: {error}; every field needs a default and a type msgspec knows"
            ) from error
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_enc_hook, order="deterministic")

    def encode(self, state: StateT) -> bytes:
        """The state's bytes."""
        if type(state) is not self.state_class:
            raise StateError(f"self.state is a {type(state).__name__}; it must stay a {self.state_class.__qualname__}")
        try:
            return self._encoder.encode(state)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise StateError(f"{self.state_class.__qualname__} cannot be written: {error}") from error

    def decode(self, data: bytes) -> StateT:
        """The state of the bytes."""
        try:
            return self._decoder.decode(data)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise StateError(
                f"{len(data)} bytes are no {self.state_class.__qualname__}: {error}; a changed class needs a higher "
                "state_schema_version and migrate(from_version, data)"
            ) from error


def _enc_hook(value: Any) -> Any:
    if isinstance(value, WireDecimal):
        return Decimal(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            if value.dtype.kind not in _ARRAY_KINDS:
                raise TypeError(f"an array of dtype {value.dtype} cannot be state; use numbers, times or fixed strings")
            shape = [int(length) for length in value.shape]
            return Ext(EXT_NDARRAY, msgspec.msgpack.encode([value.dtype.str, shape, value.tobytes()]))
        if isinstance(value, numpy.generic):
            return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be state; use plain types, structs or numpy arrays")


def _ext_hook(code: int, data: memoryview) -> Any:
    if code != EXT_NDARRAY:
        raise ValueError(f"ext type {code} is not known in a state")
    dtype_name, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, list[int], bytes])
    numpy = __import__("numpy")
    dtype = numpy.dtype(dtype_name)
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"an array of dtype {dtype_name} cannot be state")
    return numpy.frombuffer(raw, dtype=dtype).reshape(shape).copy()  # a copy: frombuffer is read-only


def _dec_hook(expected: Any, value: Any) -> Any:
    kind = get_origin(expected) or expected
    if isinstance(value, kind):
        return value
    if isinstance(value, (int, float)) and getattr(kind, "__module__", "") == "numpy":
        return kind(value)  # a numpy scalar was written as the number that it is
    raise ValueError(f"expected {expected}, found a {type(value).__name__}")


def send_chunks(data: bytes, seq: int, state_version: int, send: Callable[[Chunk], None]) -> None:
    """Cut state bytes into chunks; a state of zero bytes is one chunk with total 0."""
    total = len(data)
    for offset in range(0, total or 1, MAX_CHUNK_BYTES):
        send(Chunk(seq, offset, total, state_version, data[offset : offset + MAX_CHUNK_BYTES]))


class ChunkReader:
    """Puts a state together from chunks; raises ``StateError`` for a gap or a sum that is wrong."""

    __slots__ = ("_data", "_seq", "_total", "_version")

    def __init__(self, seq: int, total: int, state_version: int) -> None:
        """Expect ``total`` bytes in answer to, or after, the question ``seq``."""
        if total > MAX_STATE_BYTES:
            raise StateError(f"a state of {total} bytes; at most {MAX_STATE_BYTES} are allowed")
        self._data = bytearray()
        self._seq = seq
        self._total = total
        self._version = state_version

    def add(self, chunk: Chunk) -> bool:
        """Take one chunk; true when it was the last."""
        have = len(self._data)
        found = (chunk.seq, chunk.offset, chunk.total, chunk.state_version)
        expected = (self._seq, have, self._total, self._version)
        if found != expected:
            raise StateError(f"a chunk with (seq, offset, total, state_version) {found}; expected {expected}")
        if have + len(chunk.data) > self._total or (not chunk.data and self._total):
            raise StateError(f"a chunk of {len(chunk.data)} bytes at offset {have} of {self._total}")
        self._data += chunk.data
        return len(self._data) == self._total

    def data(self) -> bytes:
        """The bytes so far."""
        return bytes(self._data)
