"""Fit the model on a feed and write weights.json: ridge regression of the return over the next hundred quotes.

    bin/msup feed generate market.jsonl --seed 7 --events 60000 --clean
    .venv/bin/python examples/fair_value/model/train.py market.jsonl

A feed is a .jsonl of market events (docs/feeds.md). The last third is held out, and only tells how good the fit is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES = ("over_4", "over_16", "over_64", "above_mean")
WINDOW = 256  # mid prices that the features are made of, as in the strategy
HORIZON = 100  # quotes
RIDGE = 10.0
WEIGHTS = Path(__file__).with_name("weights.json")

Floats = NDArray[np.float64]


def mids(feed: Path) -> list[Floats]:
    """Logarithms of the mid prices, one array for each instrument."""
    found: dict[str, list[float]] = {}
    with feed.open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            if row.get("kind") == "quote" and row.get("bid") and row.get("ask"):
                bid, ask = float(row["bid"]), float(row["ask"])
                if bid <= ask:
                    found.setdefault(row["instrument"], []).append((bid + ask) / 2)
    return [np.log(np.array(prices)) for prices in found.values()]


def samples(logs: Floats) -> tuple[Floats, Floats]:
    """Features and what came of them, in basis points, in the order of time."""
    at = np.arange(WINDOW - 1, len(logs) - HORIZON)
    sums = np.cumsum(np.concatenate(([0.0], logs)))
    mean = (sums[at + 1] - sums[at + 1 - WINDOW]) / WINDOW
    columns = [logs[at] - logs[at - n] for n in (4, 16, 64)] + [logs[at] - mean]
    return np.column_stack(columns) * 1e4, (logs[at + HORIZON] - logs[at]) * 1e4


def fit(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Weights for the features as they are, and the constant."""
    scale = x.std(axis=0)
    scale[scale == 0.0] = 1.0
    z = np.column_stack((x / scale, np.ones(len(x))))
    solved = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ y)
    return solved[:-1] / scale, float(solved[-1])


def train(feed: Path) -> dict[str, Any]:
    """Fit on the first two thirds of every instrument, judge on the rest."""
    parts = [samples(logs) for logs in mids(feed) if len(logs) > 3 * (WINDOW + HORIZON)]
    if not parts:
        raise ValueError(f"{feed}: no instrument has {3 * (WINDOW + HORIZON)} quotes with both sides")
    cuts = [2 * len(y) // 3 for _, y in parts]
    weights, constant = fit(
        np.concatenate([x[:cut] for (x, _), cut in zip(parts, cuts, strict=True)]),
        np.concatenate([y[:cut] for (_, y), cut in zip(parts, cuts, strict=True)]),
    )
    # Between the parts lie HORIZON samples that would have seen prices of both.
    x = np.concatenate([x[cut + HORIZON :] for (x, _), cut in zip(parts, cuts, strict=True)])
    y = np.concatenate([y[cut + HORIZON :] for (_, y), cut in zip(parts, cuts, strict=True)])
    correlation = float(np.corrcoef(x @ weights + constant, y)[0, 1])
    rounded = {name: round(float(weight), 6) for name, weight in zip(FEATURES, weights, strict=True)}
    return {
        "weights": rounded,
        "constant": round(constant, 6),
        "held_out_correlation": round(correlation, 3),
        "samples": sum(cuts),
    }


def main() -> int:
    """Train on the feed that is named, and write the weights."""
    parser = argparse.ArgumentParser(description="Fit the model on a feed.")
    parser.add_argument("feed", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    model = train(given.feed)
    given.out.write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{given.out}: correlation {model['held_out_correlation']} on the part held out\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
