"""Money on the wire: ext type 1, an i64 mantissa and an i8 exponent, canonical (PROTOCOL.md section 1).

In Python money is ``decimal.Decimal`` and never a float. What is read from the wire is a ``WireDecimal``: a ``Decimal``
that remembers its bytes, so that a price which goes back out is not converted again. Being a class of its own lets
msgspec check in C that a field holds a decimal and nothing else; measured, this costs nothing over leaving the field
open.
"""

from __future__ import annotations

import struct
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from msgspec.msgpack import Ext

from msup.limit import INT64_MAX, INT64_MIN
from msup.shield import own as __builtins__  # noqa: F401 - what a strategy rebinds is not what is called here

EXT_DECIMAL: Final = 1
"""The msgpack ext type of a decimal."""

_CACHE_ENTRIES: Final = 1 << 16
_PACK: Final = struct.Struct(">qb")
# 0 < e <= this is written out (64000, not 6.4E+4): the value is the same and people can read it.
_EXPANDED_EXPONENT: Final = 24
# Nobody means so many digits, and int() is slow on them.
_MOST_DIGITS: Final = 1000
# Nothing at or above this fits 19 digits and an exponent of 127.
_TOO_LARGE: Final = 10**147


class WireDecimal(Decimal):
    """A ``Decimal`` that knows its wire form. Arithmetic on it gives plain ``Decimal``."""

    __slots__ = ("ext",)
    ext: Ext


if TYPE_CHECKING:
    Dec = Decimal
    """How a money field is declared: ``Decimal`` to a type checker, ``WireDecimal`` to the decoder."""
else:
    Dec = WireDecimal

_by_bytes: dict[bytes, WireDecimal] = {}
_known: Final = _by_bytes.get
_by_value: dict[Decimal | int | str, WireDecimal] = {}


def ext_hook(code: int, data: memoryview) -> WireDecimal:
    """Turn ext type 1 into a decimal; any other type and every form that is not canonical is refused."""
    raw = data.tobytes()  # twice as fast as bytes(data), four times in every quote
    known = _known(raw)
    if known is not None and code == EXT_DECIMAL:
        return known
    return _decode(code, raw)


def _decode(code: int, raw: bytes) -> WireDecimal:
    if code != EXT_DECIMAL:
        raise ValueError(f"ext type {code} is not known; only type {EXT_DECIMAL} (decimal) is")
    if len(raw) != _PACK.size:
        raise ValueError(f"a decimal of {len(raw)} bytes; it has {_PACK.size}")
    mantissa, exponent = _PACK.unpack(raw)
    if (mantissa % 10 == 0 or mantissa == INT64_MIN) if mantissa else (exponent != 0):
        raise ValueError(
            f"the decimal {mantissa}e{exponent} is not canonical: no trailing zeros, zero is 0e0, no -2^63"
        )
    if len(_by_bytes) >= _CACHE_ENTRIES:
        _by_bytes.clear()
    made = _by_bytes[raw] = _make(mantissa, exponent, raw)
    return made


def _make(mantissa: int, exponent: int, raw: bytes) -> WireDecimal:
    if 0 < exponent <= _EXPANDED_EXPONENT:
        made = WireDecimal(mantissa * 10**exponent)
    else:
        made = WireDecimal(f"{mantissa}E{exponent}")
    made.ext = Ext(EXT_DECIMAL, raw)
    return made


def to_dec(value: Decimal | int | str, what: str = "value") -> WireDecimal:
    """Convert to the wire's decimal, exactly or not at all. Floats are refused: money is never a float.

    Raises ``TypeError`` for a float or another type and ``ValueError`` for a value that 19 digits cannot hold.
    """
    kind = type(value)
    if isinstance(value, WireDecimal):
        try:
            value.ext  # noqa: B018
        except AttributeError:  # a copy or an unpickled one has lost its bytes
            pass
        else:
            return value
    elif kind is not Decimal and kind is not int and kind is not str:
        value = _coerce(value, what)
    known = _by_value.get(value)
    if known is None:
        known = _convert(value, what)
        if len(_by_value) >= _CACHE_ENTRIES:
            _by_value.clear()
        _by_value[value] = known
    return known


def _coerce(value: object, what: str) -> Decimal | int | str:
    if isinstance(value, Decimal):
        return Decimal(value)
    if isinstance(value, float):
        raise TypeError(
            f"{what}: {value!r} is a float, and money is never a float; pass a Decimal, an int or a str, "
            "or round it first: ctx.price(instrument, x, side) to the tick, ctx.quantity(instrument, x) to the lot"
        )
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, bool) and hasattr(value, "__index__"):  # numpy integers, IntEnum
        return int(value)  # pyright: ignore[reportArgumentType]
    raise TypeError(f"{what}: {value!r} is a {type(value).__name__}; pass a Decimal, an int or a str")


def _convert(value: Decimal | int | str, what: str) -> WireDecimal:
    if isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise ValueError(f"{what}: the number is too large for the wire (19 digits, exponent up to 127)")
        mantissa, exponent = value, 0
    else:
        if isinstance(value, str):
            try:
                value = Decimal(value)
            except InvalidOperation:
                raise ValueError(f"{what}: {value!r} is not a number") from None
        sign, digits, scale = value.as_tuple()
        if not isinstance(scale, int):
            raise ValueError(f"{what}: {value} is not a finite number")  # noqa: TRY004
        if len(digits) > _MOST_DIGITS:
            raise ValueError(f"{what}: {len(digits)} digits; the wire has 19: round to the tick or the lot first")
        mantissa, exponent = int("".join(map(str, digits))), scale
        if sign:
            mantissa = -mantissa
    while mantissa and mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    if mantissa == 0:
        exponent = 0
    if not INT64_MIN < mantissa <= INT64_MAX or not -128 <= exponent <= 127:
        raise ValueError(
            f"{what}: {value} does not fit the wire (a 64-bit mantissa, exponent -128..127); "
            "round first: ctx.price(instrument, x, side) to the tick, ctx.quantity(instrument, x) to the lot"
        )
    raw = _PACK.pack(mantissa, exponent)
    return _by_bytes.get(raw) or _make(mantissa, exponent, raw)
