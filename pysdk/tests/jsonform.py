"""The JSON form of ipc/vectors/README.md, made from the SDK's structs."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any, cast

import msgspec
from msup.event import Level, OpenIntent, OpenOrder, Position
from msup.message import BatchEvent
from msup.wire import Wire

# The SDK's names carry their unit.
_PROTOCOL_NAMES = {
    "period_ns": "period",
    "max_delay_ns": "max_delay",
    "holding_time_ns": "holding_time",
    "ttl_ns": "ttl",
}
_ROWS = (Level, Position, OpenOrder, OpenIntent, BatchEvent)
_BOUNDARY_TYPES = {
    "BoundaryHello": "boundary_hello", "Welcome": "welcome", "Refused": "refused", "Offer": "offer", "Query": "query",
    "StatusReport": "status", "Tombstone": "tombstone", "LastStep": "last_step", "SourceEvent": "event", "Ack": "ack",
    "Resume": "resume", "SnapshotRequest": "snapshot_request", "ApprovalRequest": "approval_request",
    "Approval": "approval", "Sync": "sync",
}  # fmt: skip


def json_form(value: Any, in_values: bool = False) -> Any:
    """The value as parsed JSON."""
    match value:
        case Decimal():
            return {"dec": _text(value)} if in_values else _text(value)
        case bytes():
            return value.hex()
        case enum.Enum():
            return int(value.value)
        case list():
            return [json_form(item) for item in cast("list[Any]", value)]
        case dict():
            return {name: json_form(item, in_values=True) for name, item in cast("dict[str, Any]", value).items()}
        case Wire() if isinstance(value, _ROWS):
            return [json_form(getattr(value, name)) for name in value.__struct_fields__]
        case Wire():
            return {**_head(value), **_fields(value)}
        case _:
            return value


def _head(value: Wire) -> dict[str, str]:
    kind = getattr(type(value), "kind", None)
    if isinstance(kind, enum.Enum):
        return {"kind": kind.name.lower()}
    message_type = getattr(type(value), "type", None)
    if isinstance(message_type, enum.Enum):
        return {"type": message_type.name.lower()}
    name = type(value).__name__
    return {"type": _BOUNDARY_TYPES[name]} if name in _BOUNDARY_TYPES else {}


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {_PROTOCOL_NAMES.get(name, name): json_form(getattr(value, name)) for name in value.__struct_fields__}


def _text(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    while mantissa and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    if mantissa == 0:
        return "0"
    shown = f"{Decimal(f'{mantissa}E{exponent}'):f}" if -24 <= exponent <= 24 else f"{mantissa}E{exponent}"
    return f"-{shown}" if sign else shown
