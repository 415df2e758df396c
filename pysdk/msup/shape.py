"""The shape of a frame, checked byte by byte: what typed decoding in C does not look at.

msgspec checks types, ranges, counts and lengths while it decodes. It does not look at the depth of trailing fields that
it skips, nor at map keys that come twice. This walk does, in a loop that no nesting can exhaust. It costs microseconds,
so the runner leaves it out for most events from its supervisor; see ``codec``.
"""

from __future__ import annotations

from typing import Final

from msup.error import ProtocolError
from msup.limit import MAX_DEPTH
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

# code → (bytes of the head's length field, or -1 for a fixed size; fixed size after the code)
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,  # nil, false, true
    0xCA: 4, 0xCB: 8,  # floats
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,  # unsigned
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,  # signed
}  # fmt: skip
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin, str
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_MAPS: Final = {0xDE: 2, 0xDF: 4}
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}


def check_shape(payload: bytes | bytearray | memoryview) -> None:
    """Raise ``ProtocolError`` unless the payload is exactly one array within the rules of section 1."""
    data = bytes(payload)
    left = [1]  # values still to come at each level
    maps: list[set[bytes] | None] = [None]  # keys seen, for the levels that are maps
    at = 0
    while left:
        if left[-1] == 0:
            left.pop()
            maps.pop()
            continue
        left[-1] -= 1
        keys = maps[-1]
        start = at
        at, children, is_map = _head(data, at)
        if len(left) == 1 and (children is None or is_map):
            raise ProtocolError("the frame is not an array")
        if keys is not None and left[-1] % 2 == 1:  # a key: its value is still to come
            key = data[start:at]
            if children is not None or key in keys:
                raise ProtocolError(f"duplicate_key: a map key at byte {start} comes twice or is a container")
            keys.add(key)
        if children is not None:
            if len(left) > MAX_DEPTH:
                raise ProtocolError(f"too_deep: nested deeper than {MAX_DEPTH} at byte {start}")
            if children > len(data) - at:
                raise ProtocolError(
                    f"truncated: {children} values promised at byte {start}, {len(data) - at} bytes left"
                )
            left.append(children)
            maps.append(set() if is_map else None)
    if at != len(data):
        raise ProtocolError(f"trailing_bytes: {len(data) - at} bytes after the end of the array")


def _head(data: bytes, at: int) -> tuple[int, int | None, bool]:
    """Pass one value's head and scalar content.

    Where it ends, the number of values nested in it, whether it is a map.
    """
    if at >= len(data):
        raise ProtocolError(f"truncated: the bytes end at {at}")
    code = data[at]
    if code <= 0x7F or code >= 0xE0:
        return at + 1, None, False
    if code <= 0x8F:
        return at + 1, 2 * (code & 0x0F), True
    if code <= 0x9F:
        return at + 1, code & 0x0F, False
    if code <= 0xBF:
        end = at + 1 + (code & 0x1F)
    elif code in _FIXED:
        end = at + 1 + _FIXED[code]
    elif code in _SIZED:
        size, end = _number(data, at + 1, _SIZED[code])
        end += size
    elif code in _ARRAYS:
        count, end = _number(data, at + 1, _ARRAYS[code])
        return end, count, False
    elif code in _MAPS:
        count, end = _number(data, at + 1, _MAPS[code])
        return end, 2 * count, True
    elif code in _EXT:
        size, end = _number(data, at + 1, _EXT[code])
        end += 1 + size
    elif 0xD4 <= code <= 0xD8:  # fixext 1, 2, 4, 8, 16
        end = at + 2 + (1 << (code - 0xD4))
    else:
        raise ProtocolError(f"invalid: 0xc1 at byte {at} is no msgpack value")
    if end > len(data):
        raise ProtocolError(
            f"truncated: a value at byte {at} promises more than the {len(data) - at} bytes that are left"
        )
    return end, None, False


def _number(data: bytes, at: int, width: int) -> tuple[int, int]:
    if at + width > len(data):
        raise ProtocolError(f"truncated: the bytes end at {len(data)}")
    return int.from_bytes(data[at : at + width], "big"), at + width
