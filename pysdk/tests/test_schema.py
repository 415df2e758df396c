"""``python -m msup.schema`` as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
from decimal import Decimal
from typing import Annotated
import msup
print("noise at import")

class Outer:
    class S(msup.Strategy):
        class Config(msup.Config):
            fast: Annotated[int, msup.param(min=1, max=500, unit="ticks", apply="bar")] = 12
            budget: Annotated[Decimal, msup.param(min="0.5")]
        state_schema_version = 4
        def on_config(self, ctx, config): pass
        def migrate(self, from_version, data): return self.State()
"""


def _schema(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "MSUP_STRATEGY_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "msup.schema", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# Proves: DM-1, HR-1
def test_schema_of_a_strategy(tmp_path: Path) -> None:
    (tmp_path / "ema.py").write_text(SOURCE)
    done = _schema(tmp_path, "ema:Outer.S")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "config_schema": {
            "budget": {"apply": "tick", "min": "0.5", "required": True, "type": "decimal"},
            "fast": {
                "apply": "bar", "default": 12, "max": 500, "min": 1, "required": False, "type": "int", "unit": "ticks",
            },
        },
        "entry": "ema:Outer.S",
        "hooks": ["on_config", "migrate"],
        "sdk_version": "0.1.0",
        "state_schema_version": 4,
    }  # fmt: skip
    assert done.stderr == "noise at import\n"
    assert _schema(tmp_path / "elsewhere", "ema:Outer.S", str(tmp_path)).stdout == done.stdout


# Proves: AD-1
@pytest.mark.parametrize(("arguments", "code"), [(["nowhere:S"], 78), (["ema"], 78), (["ema:T"], 78), ([], 64)])
def test_what_cannot_be_described(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "ema.py").write_text(SOURCE)
    done = _schema(tmp_path, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert ("msup: IMPORT_FAILED: " in done.stderr) is (code == 78)
