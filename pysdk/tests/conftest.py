"""Shared by the SDK's tests: the folder of helpers is importable, and no test leaves a runner behind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import msup
from fakesupervisor import FakeSupervisor

if Path(msup.__file__).parent != Path(__file__).parents[1] / "msup":
    # The pytest plugin is imported before pytest.ini's paths count, so a copy would be tested instead of this tree.
    raise pytest.UsageError(f"msup is imported from {msup.__file__}, not from this tree: pip install --editable .")

VECTORS = Path(__file__).parents[2] / "ipc" / "vectors"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FakeSupervisor]]:
    """Start a runner for the given source; it is killed when the test ends."""
    started: list[FakeSupervisor] = []

    def make(source: str, **options: object) -> FakeSupervisor:
        folder = tmp_path / f"strategy{len(started)}"
        folder.mkdir()
        (folder / "strategy.py").write_text(source)
        supervisor = FakeSupervisor(folder, **options)  # type: ignore[arg-type]
        started.append(supervisor)
        return supervisor

    yield make
    for supervisor in started:
        supervisor.close()
