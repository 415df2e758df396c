"""Typed configuration."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msup
import pytest
from msup.error import ConfigError, EntryError


class Config(msup.Config):
    fast: Annotated[int, msup.param(min=1, max=500, unit="bars", apply="bar", doc="fast period")] = 12
    ratio: Annotated[float, msup.param(min=0.0)] = 0.5
    budget: Annotated[Decimal, msup.param(min="0", max=1000, unit="USDT")]
    venue: Literal["BINANCE", "KRAKEN"] = "BINANCE"
    armed: bool = False
    size: Annotated[Decimal, msup.param(choices=["0.1", "0.2"])] = Decimal("0.1")


# Proves: HR-1, DM-1
def test_defaults_and_types() -> None:
    config = Config.from_values({"budget": 10, "ratio": 2})
    assert (config.fast, config.ratio, config.budget, config.venue, config.armed) == (12, 2.0, 10, "BINANCE", False)
    assert isinstance(config.ratio, float)
    assert isinstance(config.budget, Decimal)
    assert config == Config(budget=Decimal(10), ratio=2.0)
    assert Config.from_values(config.to_values()) == config


# Proves: HR-1
@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({}, "budget: missing"),
        ({"budget": 1, "fats": 1}, "fats: unknown; known are armed, budget"),
        ({"budget": 1, "fast": 0}, "fast: 0 bars is too small; at least 1 bars"),
        ({"budget": 1, "fast": 501}, "fast: 501 bars is too large"),
        ({"budget": 1, "fast": True}, "fast: True is a bool; expected int"),
        ({"budget": 1, "fast": 1.0}, "fast: 1.0 is a float; expected int"),
        ({"budget": 1, "fast": "1"}, "fast: '1' is a str"),
        ({"budget": 1, "fast": None}, "fast: None is a NoneType"),
        ({"budget": 1, "ratio": float("inf")}, "ratio: inf is not a finite number"),
        ({"budget": 1.5}, "budget: 1.5 is a float; expected decimal"),
        ({"budget": "x"}, "budget: 'x' is not a decimal"),
        ({"budget": Decimal("-0.1")}, "budget: -0.1 USDT is too small"),
        ({"budget": 1, "venue": "NYSE"}, "venue: 'NYSE' is none of 'BINANCE', 'KRAKEN'"),
        ({"budget": 1, "armed": 1}, "armed: 1 is a int; expected bool"),
        ({"budget": 1, "size": "0.3"}, "size: Decimal"),
        ({"budget": 1, "fast": 2**63, "ratio": 10**400}, "fast: 9223372036854775808 does not fit"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=f"^{cause.replace('(', '.')}|; {cause}"):
        Config.from_values(values)


def test_every_finding_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_values({"fast": 0, "x": 1})
    assert [part.split(":")[0] for part in str(caught.value).split("; ") if ":" in part] == ["x", "fast", "budget"]


# Proves: DM-1, HR-2
def test_schema() -> None:
    assert Config.schema() == {
        "fast": {
            "type": "int", "required": False, "apply": "bar", "unit": "bars", "min": 1, "max": 500, "default": 12,
            "doc": "fast period",
        },
        "ratio": {"type": "float", "required": False, "apply": "tick", "min": 0.0, "default": 0.5},
        "budget": {"type": "decimal", "required": True, "apply": "tick", "unit": "USDT", "min": "0", "max": "1000"},
        "venue": {
            "type": "str", "required": False, "apply": "tick", "choices": ["BINANCE", "KRAKEN"], "default": "BINANCE",
        },
        "armed": {"type": "bool", "required": False, "apply": "tick", "default": False},
        "size": {
            "type": "decimal", "required": False, "apply": "tick", "choices": ["0.1", "0.2"], "default": "0.1",
        },
    }  # fmt: skip
    assert msup.Config.schema() == {}


def test_a_config_is_frozen() -> None:
    config = Config(budget=Decimal(1))
    with pytest.raises(AttributeError):
        config.fast = 3  # type: ignore[misc]


def _declare(annotation: Any, **namespace: Any) -> type[msup.Config]:
    return type("Bad", (msup.Config,), {"__annotations__": {"x": annotation}, **namespace})


# Proves: AD-1
@pytest.mark.parametrize(
    ("annotation", "namespace", "cause"),
    [
        (list[int], {}, "the type is not one of"),
        (Literal["a", 1], {}, "the type is not one of"),
        (Annotated[int, msup.param(min=5, max=1)], {}, "min 5 is above max 1"),
        (Annotated[int, msup.param(min=0.5)], {}, "0.5 is a float; expected int"),
        (Annotated[str, msup.param(min=1)], {}, "1 is a int|make no sense"),
        (Annotated[str, msup.param(min="a")], {}, "make no sense"),
        (Annotated[int, msup.param(apply="soon")], {}, "apply='soon' is none of"),  # type: ignore[arg-type]
        (Annotated[int, msup.param(), msup.param()], {}, "two param"),
        (Annotated[int, msup.param(max=3)], {"x": 4}, "4 is too large"),
        (int, {"x": "4"}, "'4' is a str"),
        ("Nowhere", {}, "cannot be resolved"),
    ],
)
def test_nonsense_declarations_are_refused(annotation: Any, namespace: dict[str, Any], cause: str) -> None:
    with pytest.raises(EntryError, match=cause):
        _declare(annotation, **namespace).fields()


def test_inheritance_adds_fields() -> None:
    class More(Config):
        extra: int = 1

    assert list(More.fields()) == [*Config.fields(), "extra"]
    assert More.from_values({"budget": 1, "extra": 2}).extra == 2
