"""The public surface is frozen: a change of it must be made in surface.txt too, on purpose.

Renew with ``python pysdk/tests/test_surface.py``.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import msup
import msup.boundary
import msup.boundary.testing
import msup.testing

SURFACE = Path(__file__).parent / "surface.txt"


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("''", '""').replace("'", "")


def _class(name: str, found: Any) -> list[str]:
    lines = [f"class {name}({', '.join(base.__name__ for base in found.__bases__)})"]
    if issubclass(found, enum.Enum):
        return lines + [f"  {member.name} = {int(member.value)}" for member in found]
    if issubclass(found, msgspec.Struct):
        tag = found.__struct_config__.tag
        lines += [f"  tag = {tag}"] if tag is not None else []
        mro: tuple[type, ...] = inspect.getmro(found)
        annotations = {n: a for base in reversed(mro) for n, a in vars(base).get("__annotations__", {}).items()}
        lines += [f"  {field}: {annotations[field]}" for field in found.__struct_fields__]
    for member, value in sorted(vars(found).items()):
        if member.startswith("_") and member != "__init__":
            continue
        if isinstance(value, (classmethod, staticmethod)):
            lines.append(f"  {member}{_signature(value.__func__)}")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        elif isinstance(value, property):
            lines.append(f"  {member}: property")
        elif inspect.isfunction(value):
            lines.append(f"  {member}{_signature(value)}")
    return lines


def surface() -> str:
    """The whole public surface as text."""
    lines: list[str] = []
    modules: list[ModuleType] = [msup, msup.boundary, msup.boundary.testing, msup.testing]
    for module in modules:
        lines.append(f"# {module.__name__}")
        for name in sorted(module.__all__):
            found = getattr(module, name)
            if inspect.isclass(found):
                lines += _class(name, found)
            elif inspect.isfunction(found):
                lines.append(f"{name}{_signature(found)}")
            elif isinstance(found, (str, int)):
                lines.append(f"{name} = {found!r}")
            else:
                lines.append(name)
        lines.append("")
    return "\n".join(lines)


# Proves: NN-1, RS-2
def test_the_public_surface_is_frozen() -> None:
    frozen = SURFACE.read_text()
    difference = "\n".join(
        difflib.unified_diff(frozen.splitlines(), surface().splitlines(), "frozen", "now", lineterm="")
    )
    assert not difference, difference


def test_all_is_complete_and_true() -> None:
    modules: list[ModuleType] = [msup, msup.boundary, msup.boundary.testing, msup.testing]
    for module in modules:
        assert len(set(module.__all__)) == len(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
    public = {name for name, value in vars(msup).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(msup.__all__) - {"__version__"}
    assert (Path(msup.__file__).parent / "py.typed").exists()


if __name__ == "__main__":
    SURFACE.write_text(surface())
    sys.exit(0)
