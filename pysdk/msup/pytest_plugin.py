"""The pytest plugin: the fixture ``msup_harness``, a maker of harnesses.

def test_buys_on_a_cross(msup_harness):
    h = msup_harness(EmaCross, config={"fast": 3}, instruments=[…])
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def msup_harness() -> Callable[..., object]:
    """Makes a ``msup.testing.Harness``; the arguments are the harness's."""
    # Imported late: a plugin must not slow down runs that do not use it.
    from msup.testing import Harness

    return Harness
