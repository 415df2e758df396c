"""The pytest plugin."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import msup
from msup.testing import Harness


def test_the_fixture_makes_harnesses(msup_harness: Callable[..., Harness]) -> None:
    assert msup_harness(msup.Strategy).quote("B", 1, 2).empty


def test_the_plugin_is_registered() -> None:
    found = [point.value for point in entry_points(group="pytest11") if point.name == "msup"]
    assert found == ["msup.pytest_plugin"]
