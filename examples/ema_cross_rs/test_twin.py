"""The golden conversations that the Rust tests replay are what the Python SDK says today."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

GOLDEN = Path(__file__).parents[2] / "wasmsdk" / "tests" / "golden"


def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("msup_golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Proves: NN-1, NN-7
@pytest.mark.parametrize("name", ["number.txt", "everything.bin", "ema_cross.bin"])
def test_the_golden_files_are_current(name: str) -> None:
    made: dict[str, bytes] = _make().files()
    remedy = f"{name} differs: run python wasmsdk/tests/golden/make.py and look at what changed"
    assert (GOLDEN / name).read_bytes() == made[name], remedy
