"""The compute part: how far the price is likely to go within a window, by bootstrapping its own returns.

It may take its time: it runs in a process of its own on the compute lane, and the strategy beside it goes on.
"""

from __future__ import annotations

import struct
from typing import cast

import msup
import numpy as np
from msup import Context
from numpy.typing import NDArray

PATHS = 400
QUANTILE = 0.5


class Volatility(msup.ComputePart):
    """Resamples the returns of the window into many paths, and answers with the median of how far they reach."""

    def on_task(self, ctx: Context, task: str, payload: bytes) -> bytes:
        """``payload`` is a window of prices; the result is one double, a fraction of the price."""
        prices = np.frombuffer(payload, dtype="<f8")
        if len(prices) < 3 or not bool(np.all(prices > 0)):
            raise ValueError(f"{len(prices)} prices, all of which must be positive; at least 3 are needed")
        returns = cast("NDArray[np.float64]", np.diff(np.log(prices)))
        # ctx.rng is seeded from the step that asked, so research repeats the estimate to the last bit.
        chance = np.random.default_rng(ctx.rng.getrandbits(64))
        paths = chance.choice(returns, size=(PATHS, len(returns))).cumsum(axis=1)
        reach = np.abs(paths).max(axis=1)
        return struct.pack("<d", float(np.quantile(reach, QUANTILE)))
