"""Decimals: exact or refused, never a float."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext
from msup.codec import encode
from msup.dec import WireDecimal, ext_hook, to_dec
from msup.instrument import Instrument
from msup.intent import RiskContext, Side


def _round_trip(value: Decimal) -> WireDecimal:
    ext = to_dec(value).ext
    return ext_hook(ext.code, memoryview(ext.data))


# Proves: GT-1
@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-128, 127))
def test_every_wire_decimal_survives(mantissa: int, exponent: int) -> None:
    value = Decimal(f"{mantissa}E{exponent}")
    try:
        found = _round_trip(value)
    except ValueError:
        # Only stripping zeros can push the exponent out of its range.
        assert exponent > 100
        return
    assert found == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=8))
def test_prices_survive(value: Decimal) -> None:
    assert _round_trip(value) == value
    assert to_dec(str(value)).ext.data == to_dec(value).ext.data


@pytest.mark.parametrize(
    ("value", "mantissa", "exponent"),
    [("0", 0, 0), ("-0.00", 0, 0), ("1.50", 15, -1), (100000, 1, 5), (Decimal("1E+3"), 1, 3), ("-12.5", -125, -1)],
)
def test_canonical_form(value: Decimal | int | str, mantissa: int, exponent: int) -> None:
    raw = bytes(to_dec(value).ext.data)
    assert (int.from_bytes(raw[:8], "big", signed=True), int.from_bytes(raw[8:], "big", signed=True)) == (
        mantissa,
        exponent,
    )


# Proves: GT-1
@pytest.mark.parametrize("value", [1.5, float("nan"), True, None, b"1", object()])
def test_floats_and_others_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="pass a Decimal, an int or a str"):
        to_dec(value, "quantity")  # type: ignore[arg-type]


def test_a_float_is_refused_even_when_an_equal_decimal_is_known() -> None:
    to_dec(Decimal("2.5"))
    with pytest.raises(TypeError, match=r"ctx\.price"):
        to_dec(2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["abc", "", "NaN", "Infinity", "1e200", Decimal(1) / 3, 2**64 + 1, 10**200, "1" * 2000, "-9223372036854775808"],
)
def test_values_without_a_wire_form_are_refused(value: Decimal | int | str) -> None:
    with pytest.raises(ValueError, match="price"):
        to_dec(value, "price")


@pytest.mark.parametrize("raw", [b"", bytes(8), bytes(10), bytes(8) + b"\x01", (10).to_bytes(8, "big") + b"\x00"])
def test_other_forms_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="decimal"):
        ext_hook(1, memoryview(raw))
    with pytest.raises(ValueError, match="ext type 2"):
        ext_hook(2, memoryview(raw))


def test_large_values_are_readable() -> None:
    assert str(_round_trip(Decimal(64000))) == "64000"
    assert repr(to_dec("6.4E+4")) == "Decimal('64000')"


def _pickled(value: Decimal) -> Decimal:
    return pickle.loads(pickle.dumps(value))


_CLONES: list[Callable[[Decimal], Decimal]] = [copy.copy, copy.deepcopy, _pickled]


@pytest.mark.parametrize("clone", _CLONES)
def test_clones_can_be_written(clone: Callable[[Decimal], Decimal]) -> None:
    value = clone(to_dec("1.25"))
    assert to_dec(value).ext.data == to_dec("1.25").ext.data
    made = RiskContext(value, 1, 1, value)
    assert encode(made) == encode(RiskContext.of(max_slippage="1.25", max_delay_ns=1, holding_time_ns=1, budget="1.25"))


def test_arithmetic_gives_plain_decimals_that_can_be_written() -> None:
    total = to_dec("0.1") + to_dec("0.2")
    assert type(total) is Decimal
    assert encode(RiskContext(total, 0, 0, total)).count(to_dec("0.3").ext.data) == 2


def test_numbers_with_an_index_are_integers() -> None:
    import numpy

    assert to_dec(numpy.int64(7)) == 7  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float"):
        to_dec(numpy.float64(7.5))  # type: ignore[arg-type]


def test_the_type_is_checked_while_decoding() -> None:
    raw = msgspec.msgpack.encode([Ext(1, to_dec(1).ext.data), 1, 1, "1"])
    with pytest.raises(msgspec.ValidationError, match="WireDecimal"):
        msgspec.msgpack.decode(raw, type=RiskContext, ext_hook=ext_hook)


# Proves: GT-1
def test_rounding_never_worsens() -> None:
    instrument = Instrument.of("X", tick="0.05", lot="0.01")
    assert instrument.price(1.2345, Side.BUY) == Decimal("1.20")
    assert instrument.price(1.2345, Side.SELL) == Decimal("1.25")
    assert instrument.price(1.2345) == Decimal("1.25")
    assert instrument.price(0.1 + 0.2, Side.BUY) == Decimal("0.30")
    assert instrument.quantity(0.999) == Decimal("0.99")
    assert instrument.quantity(-0.999) == Decimal("-0.99")
    assert Instrument.of("Y", tick=0, lot=0).price("1.23456") == Decimal("1.23456")
    with pytest.raises(ValueError, match="finite"):
        instrument.price(float("nan"))


@given(st.floats(0.0001, 1e9), st.sampled_from(["0.01", "0.05", "0.25", "1", "5"]))
def test_rounded_prices_lie_on_the_tick(value: float, tick: str) -> None:
    instrument = Instrument.of("X", tick=tick, lot="1")
    low, high = instrument.price(value, Side.BUY), instrument.price(value, Side.SELL)
    assert low % Decimal(tick) == high % Decimal(tick) == 0
    assert low <= Decimal(repr(value)) <= high
    assert high - low in (0, Decimal(tick))
