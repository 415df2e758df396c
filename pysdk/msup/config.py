"""Typed configuration with constraints (HR-1); the descriptor's config schema is derived from it (DM-1).

    class Config(msup.Config):
        fast: Annotated[int, msup.param(min=1, max=500, unit="bars", apply="bar")] = 12
        venue: Literal["BINANCE", "KRAKEN"] = "BINANCE"
        budget: Annotated[Decimal, msup.param(min="0", unit="USDT")]          # no default: required

A field's type is int, float, str, bool, ``decimal.Decimal`` or a ``Literal`` of strings or ints. A value that does not
fit is refused as a whole, with every finding: a strategy never runs on half a configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec.structs import FieldInfo, replace

from msup.dec import to_dec
from msup.error import ConfigError, EntryError
from msup.limit import INT64_MAX, INT64_MIN, MAX_CONFIG_ENTRIES, MAX_ID_BYTES, MAX_TEXT_BYTES

Apply = Literal["tick", "bar", "checkpoint", "flat"]
"""The earliest moment at which a changed value may be applied (HR-2)."""

Scalar = int | float | str | bool | Decimal

_TYPES: dict[object, str] = {int: "int", float: "float", str: "str", bool: "bool", Decimal: "decimal"}


class Param(msgspec.Struct, frozen=True):
    """Constraints of one configuration value; made by ``param``."""

    min: Scalar | None = None
    max: Scalar | None = None
    unit: str = ""
    choices: tuple[Scalar, ...] = ()
    apply: Apply = "tick"
    doc: str = ""


def param(
    *,
    min: Scalar | None = None,
    max: Scalar | None = None,
    unit: str = "",
    choices: Sequence[Scalar] = (),
    apply: Apply = "tick",
    doc: str = "",
) -> Param:
    """Constrain a field: ``Annotated[int, param(min=1, unit="ticks")]``.

    Bounds are inclusive; ``apply`` is the earliest moment.
    """
    return Param(min, max, unit, tuple(choices), apply, doc)


class ConfigField(msgspec.Struct, frozen=True):
    """One field of a configuration, resolved."""

    name: str
    type: str
    param: Param
    required: bool
    default: Scalar | None

    def schema(self) -> dict[str, Any]:
        """The field's entry in the config schema; what is not set is left out."""
        entry: dict[str, Any] = {"type": self.type, "required": self.required, "apply": self.param.apply}
        optional: dict[str, Any] = {
            "unit": self.param.unit or None,
            "min": self.param.min,
            "max": self.param.max,
            "choices": self.param.choices or None,
            "default": self.default,
            "doc": self.param.doc or None,
        }
        for name, value in optional.items():
            if value is not None:
                entry[name] = _plain(value)
        return entry

    def check(self, value: object) -> Scalar:
        """The value as this field's type, or ``ValueError`` with cause and remedy."""
        converted = _convert(self.type, value)
        p = self.param
        unit = f" {p.unit}" if p.unit else ""
        if p.choices and converted not in p.choices:
            raise ValueError(f"{converted!r} is none of {', '.join(repr(c) for c in p.choices)}")
        if p.min is not None and converted < p.min:  # pyright: ignore[reportOperatorIssue]
            raise ValueError(f"{converted}{unit} is too small; at least {p.min}{unit} is allowed")
        if p.max is not None and converted > p.max:  # pyright: ignore[reportOperatorIssue]
            raise ValueError(f"{converted}{unit} is too large; at most {p.max}{unit} is allowed")
        return converted


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _ConfigMeta(msgspec.StructMeta):
    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        return super().__new__(mcls, name, bases, namespace, frozen=True, kw_only=True)


class Config(msgspec.Struct, metaclass=_ConfigMeta):
    """Base of a strategy's configuration. Subclasses are frozen, keyword-only msgspec structs."""

    __config_fields__: ClassVar[dict[str, ConfigField]] = {}

    @classmethod
    def fields(cls) -> dict[str, ConfigField]:
        """The resolved fields; raises ``EntryError`` where a declaration makes no sense."""
        known = cls.__dict__.get("__config_fields__")
        if known is None:
            known = _resolve(cls)
            cls.__config_fields__ = known
        return known

    @classmethod
    def schema(cls) -> dict[str, dict[str, Any]]:
        """The config schema: name → type, constraints, default (DM-1)."""
        return {name: field.schema() for name, field in cls.fields().items()}

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """Check the values and make the configuration, or raise ``ConfigError`` with every finding."""
        fields = cls.fields()
        known = f"known are {', '.join(sorted(fields))}" if fields else "this strategy has no configuration"
        findings = [f"{name}: unknown; {known}" for name in values if name not in fields]
        checked: dict[str, Scalar] = {}
        for name, field in fields.items():
            if name in values:
                try:
                    checked[name] = field.check(values[name])
                except (ValueError, OverflowError) as error:
                    findings.append(f"{name}: {error}")
            elif field.required:
                findings.append(f"{name}: missing; it is required (a {field.type})")
        if findings:
            raise ConfigError("; ".join(findings))
        return cls(**checked)

    def to_values(self) -> dict[str, Scalar]:
        """The whole configuration as wire values."""
        return {name: getattr(self, name) for name in self.fields()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Scalar, ...]", value)]
    return str(value) if isinstance(value, Decimal) else value


def _convert(kind: str, value: object) -> Scalar:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if kind == "int" and is_int:
        if not INT64_MIN <= cast(int, value) <= INT64_MAX:
            raise ValueError(f"{value} does not fit 64 bits")
        return int(cast(int, value))
    if kind == "float" and (is_int or isinstance(value, float)):
        number = float(cast(float, value))
        if not math.isfinite(number):
            raise ValueError(f"{number} is not a finite number")
        return number
    if kind == "str" and isinstance(value, str):
        if len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise ValueError(f"longer than {MAX_TEXT_BYTES} bytes")
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "decimal" and (is_int or isinstance(value, (Decimal, str))):
        try:
            exact = Decimal(cast("int | str | Decimal", value))
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a decimal number") from None
        return to_dec(exact)
    raise ValueError(f"{value!r} is a {type(value).__name__}; expected {kind}")


def _resolve(cls: type[Config]) -> dict[str, ConfigField]:
    where = cls.__qualname__
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise EntryError(
            f"{where}: an annotation cannot be resolved: {error}; import the name at module level"
        ) from error
    resolved: dict[str, ConfigField] = {}
    for field in msgspec.structs.fields(cls):
        try:
            resolved[field.name] = _field(field, hints[field.name])
        except (ValueError, OverflowError) as error:
            raise EntryError(f"{where}.{field.name}: {error}") from error
    if len(resolved) > MAX_CONFIG_ENTRIES:
        raise EntryError(f"{where}: {len(resolved)} fields; at most {MAX_CONFIG_ENTRIES} are allowed")
    return resolved


def _field(field: FieldInfo, hint: object) -> ConfigField:
    if len(field.name.encode()) > MAX_ID_BYTES:
        raise ValueError(f"the name is longer than {MAX_ID_BYTES} bytes")
    constraints = Param()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        params = [extra for extra in extras if isinstance(extra, Param)]
        if len(params) > 1:
            raise ValueError("two param(…) in one annotation; keep one")
        constraints = params[0] if params else constraints
    if get_origin(hint) is Literal:
        choices: tuple[Any, ...] = get_args(hint)
        constraints = replace(constraints, choices=choices)
        kinds: set[object] = {type(choice) for choice in choices}
        hint = kinds.pop() if len(kinds) == 1 else None
    kind = _TYPES.get(hint)
    if kind is None:
        raise ValueError("the type is not one of int, float, str, bool, Decimal, Literal of one of them")
    if constraints.apply not in get_args(Apply):
        raise ValueError(f"apply={constraints.apply!r} is none of {', '.join(get_args(Apply))}")
    bounds = [None if bound is None else _convert(kind, bound) for bound in (constraints.min, constraints.max)]
    if kind in ("str", "bool") and bounds != [None, None]:
        raise ValueError(f"min and max make no sense for a {kind}; use choices")
    if None not in bounds and bounds[0] > bounds[1]:  # pyright: ignore[reportOperatorIssue]
        raise ValueError(f"min {bounds[0]} is above max {bounds[1]}")
    choices = tuple(_convert(kind, choice) for choice in constraints.choices)
    constraints = replace(constraints, min=bounds[0], max=bounds[1], choices=choices)
    if field.default_factory is not msgspec.NODEFAULT:
        raise ValueError("default_factory is not supported; give a plain default")
    required = field.default is msgspec.NODEFAULT
    made = ConfigField(field.name, kind, constraints, required, None)
    return made if required else replace(made, default=made.check(field.default))
