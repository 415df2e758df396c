"""Bytes to messages and back (PROTOCOL.md sections 1 and 6).

``Decoder`` is for what a peer sent: whatever breaks a rule is a ``ProtocolError``. Two encoders: ``encode`` takes any
message, also one with plain ``Decimal`` in it; ``AnswerEncoder`` is the runner's, which reuses one buffer and expects
wire decimals.
"""

from __future__ import annotations

import functools
import math
import struct
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, cast, get_args

import msgspec

from msup.dec import WireDecimal, ext_hook, to_dec
from msup.error import ProtocolError
from msup.event import ConfigUpdate, ManualSignal
from msup.limit import INT64_MAX, INT64_MIN, MAX_FRAME_BYTES, MAX_TEXT_BYTES
from msup.message import (
    Batch,
    CheckpointRequest,
    Chunk,
    Deliver,
    Healthcheck,
    Stop,
    SupervisorMessage,
    Telemetry,
)
from msup.shape import check_shape
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

T = TypeVar("T")
LENGTH: Final = struct.Struct(">I")


def _enc_hook(value: object) -> object:
    if isinstance(value, WireDecimal):
        try:
            return value.ext
        except AttributeError:  # a copy or an unpickled one has lost its bytes
            return to_dec(value).ext
    raise TypeError(f"a {type(value).__name__} has no form on the wire")


_encoder = msgspec.msgpack.Encoder(enc_hook=_enc_hook, order="deterministic")


def canonical(value: Any) -> Any:
    """The value with every ``Decimal`` in it made a wire decimal.

    Structs become the lists that they are on the wire.
    """
    if isinstance(value, Decimal):
        return to_dec(value)
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [canonical(getattr(value, name)) for name in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value


def encode(message: msgspec.Struct) -> bytes:
    """One message as the payload of a frame, canonical: shortest forms, map keys sorted."""
    return _encoder.encode(canonical(message))


def frame(payload: bytes) -> bytes:
    """The payload with its length in front."""
    return LENGTH.pack(len(payload)) + payload


class AnswerEncoder:
    """Writes frames into one reused buffer, length first."""

    __slots__ = ("_buffer", "_encode_into")

    def __init__(self) -> None:
        self._buffer = bytearray(4096)
        self._encode_into = _encoder.encode_into

    def encode(self, message: msgspec.Struct) -> bytearray:
        """The frame of the message; valid until the next call."""
        buffer = self._buffer
        self._encode_into(message, buffer, 4)
        LENGTH.pack_into(buffer, 0, len(buffer) - 4)
        return buffer


class Decoder(Generic[T]):
    """Decodes one union of messages and refuses whatever breaks a rule."""

    __slots__ = ("_decode",)

    def __init__(self, messages: Any) -> None:
        """``messages`` is a union of wire structs."""
        self._decode = msgspec.msgpack.Decoder(messages, ext_hook=ext_hook).decode

    def decode(self, payload: bytes | bytearray | memoryview) -> T:
        """Decode one payload, or raise ``ProtocolError``."""
        check_shape(payload)
        message = self.decode_typed(payload)
        check_open_fields(message)
        return message

    def decode_typed(self, payload: bytes | bytearray | memoryview) -> T:
        """The typed part alone: types, ranges, counts, canonical decimals, not the rules of ``shape`` and of values."""
        try:
            return self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _broken(payload, error) from error


def _broken(payload: bytes | bytearray | memoryview, error: Exception) -> ProtocolError:
    return ProtocolError(f"a frame of {len(payload)} bytes breaks the protocol: {error}")


class SupervisorDecoder(Decoder[SupervisorMessage]):
    """Decodes what the supervisor sends to a runner.

    Events are nearly all of the traffic, and half of their cost would be the byte-by-byte walk. They get the typed part
    only, unless they hold open values: nothing that it leaves out for the others (see ``shape``) can change a value
    that the strategy sees. All else is walked.
    """

    __slots__ = ()

    def __init__(self) -> None:
        """Decode the seven messages of the supervisor."""
        super().__init__(SupervisorMessage)
        for message in (CheckpointRequest, Chunk, Healthcheck, Stop):
            _byte_limits(message)  # msgspec finds them out in Python, with the builtins that a strategy may rebind

    def decode(self, payload: bytes | bytearray | memoryview) -> SupervisorMessage:
        """Decode one payload, or raise ``ProtocolError``."""
        try:  # not decode_typed, and no cast: each call costs 1 % of an event
            message = self._decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _broken(payload, error) from error
        if isinstance(message, Deliver):
            if type(message.event) not in _WITH_VALUES:
                return message
        elif isinstance(message, Batch) and _WITH_VALUES.isdisjoint([type(item.event) for item in message.events]):
            return message
        check_shape(payload)
        check_open_fields(message)
        return message


_WITH_VALUES: Final = frozenset({ManualSignal, ConfigUpdate})


def check_open_fields(value: object) -> None:
    """Check what the types leave open in a message.

    Values (``Any``), and limits in bytes where msgspec counts characters.
    """
    if isinstance(value, msgspec.Struct):
        limits = _byte_limits(type(value))
        for name in value.__struct_fields__:
            field = getattr(value, name)
            if isinstance(field, str):
                if not field.isascii() and len(field.encode()) > limits.get(name, MAX_FRAME_BYTES):
                    raise ProtocolError(
                        f"{type(value).__name__}.{name}: {len(field.encode())} bytes; allowed are {limits[name]}"
                    )
            elif isinstance(field, dict):
                if name != "delta":
                    check_values(cast("dict[str, Any]", field), f"{type(value).__name__}.{name}")
            else:
                check_open_fields(field)
        if type(value) is Telemetry and type(value.value) is int:
            raise ProtocolError(f"Telemetry.value: {value.value} is an integer; a number is a float64")
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            check_open_fields(item)


@functools.cache
def _byte_limits(struct_type: type[msgspec.Struct]) -> dict[str, int]:
    """Field name → largest number of bytes, for the string fields that have a limit."""
    limits: dict[str, int] = {}
    for field in msgspec.structs.fields(struct_type):
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, msgspec.Meta) and part.max_length is not None and get_args(field.type)[0] is str:
                limits[field.name] = part.max_length
    return limits


def check_values(values: dict[str, Any], where: str) -> None:
    """Refuse what ``Any`` let through: a value is nil, bool, i64, a finite float, str or a decimal."""
    for name, value in values.items():
        if value is None or isinstance(value, (bool, WireDecimal)):
            continue
        if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
            continue
        if isinstance(value, float) and math.isfinite(value):
            continue
        if isinstance(value, str) and len(value.encode()) <= MAX_TEXT_BYTES:
            continue
        raise ProtocolError(
            f"{where}: the value of {name!r} is {value!r}; allowed are nil, bool, i64, finite float, "
            f"str of up to {MAX_TEXT_BYTES} bytes, decimal"
        )
