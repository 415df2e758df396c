"""Field types of the wire structs.

msgspec checks every bound in C while it decodes; measured, the bounds cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from msup.dec import Dec
from msup.limit import INT64_MAX, INT64_MIN, MAX_CONFIG_ENTRIES, MAX_ID_BYTES, MAX_TAG_BYTES, MAX_TEXT_BYTES

__all__ = ["U8", "U32", "U64", "Bin16", "Bin32", "Dec", "Float", "Id", "Nanos", "Tag", "Text", "Values", "Wire"]

_FLOAT_MAX = 1.7976931348623157e308

U8 = Annotated[int, Meta(ge=0, le=2**8 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0)]  # msgpack itself has nothing above 2**64 - 1
Nanos = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
"""A time (ns since the Unix epoch, UTC) or a length of time in ns, as the field says."""

Float = Annotated[float, Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
"""Finite: the comparison is false for NaN, so the bounds refuse it too."""

Id = Annotated[str, Meta(max_length=MAX_ID_BYTES)]
Tag = Annotated[str, Meta(max_length=MAX_TAG_BYTES)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]
Bin16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bin32 = Annotated[bytes, Meta(min_length=32, max_length=32)]

Values = Annotated[dict[str, Any], Meta(max_length=MAX_CONFIG_ENTRIES)]
"""Names to nil, bool, int, float, str or decimal; ``codec`` checks what ``Any`` leaves open."""


class Wire(Struct, array_like=True, gc=False, frozen=not TYPE_CHECKING):
    """Base of every struct on the wire: an array with a fixed field order.

    No field has a default: an array that is too short must be refused. Such a struct can be in no reference cycle, so
    the garbage collector need not look at it. Frozen: an event is a fact. (A type checker would
    want that repeated on every subclass, so it is not told.)
    """
