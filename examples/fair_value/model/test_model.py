"""The fit finds what is there, and the server answers what the fit says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .serve import Model
from .train import FEATURES, HORIZON, WINDOW, samples, train


def write(feed: Path, prices: list[float]) -> Path:
    rows = [{"kind": "quote", "instrument": "X", "bid": str(p - 0.005), "ask": str(p + 0.005)} for p in prices]
    feed.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return feed


def test_a_price_that_swings_is_predicted(tmp_path: Path) -> None:
    swing = [100 + float(np.sin(step / 60)) for step in range(4000)]
    fitted = train(write(tmp_path / "market.jsonl", swing))
    assert fitted["held_out_correlation"] > 0.9
    assert fitted["weights"]["above_mean"] < 0
    weights = tmp_path / "weights.json"
    weights.write_text(json.dumps(fitted), encoding="utf-8")
    x, _ = samples(np.log(np.array(swing)))
    model = Model(weights)
    top = model.expect(dict(zip(FEATURES, x[int(x[:, 3].argmax())].tolist(), strict=True)))
    bottom = model.expect(dict(zip(FEATURES, x[int(x[:, 3].argmin())].tolist(), strict=True)))
    assert float(top["expected_bp"]) < float(bottom["expected_bp"])
    assert top["model"] == bottom["model"]


def test_features_are_those_of_the_strategy() -> None:
    logs = np.log(100 + np.arange(WINDOW + HORIZON) % 13 / 100)
    x, y = samples(logs)
    assert x.shape == (1, len(FEATURES))
    assert len(y) == 1
    assert abs(x[0][0] - (logs[WINDOW - 1] - logs[WINDOW - 5]) * 1e4) < 1e-9
    assert abs(x[0][3] - (logs[WINDOW - 1] - logs[:WINDOW].mean()) * 1e4) < 1e-6
