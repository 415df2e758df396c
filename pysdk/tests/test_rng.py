"""The generator beyond its vectors: the interface of random.Random, and one stream per step."""

from __future__ import annotations

import random
import statistics

import pytest
from msup.rng import Rng, StepRng, step_seed

SEED = step_seed(1, "i", 1)


class Clock:
    step = 1


def _step_rng(clock: Clock) -> StepRng:
    return StepRng(lambda: clock.step, lambda: step_seed(1, "i", clock.step))


def test_it_is_a_random_random() -> None:
    rng = Rng(SEED)
    assert isinstance(rng, random.Random)
    cards = list(range(52))
    rng.shuffle(cards)
    assert sorted(cards) == list(range(52))
    assert 1 <= rng.randint(1, 6) <= 6
    assert len(rng.randbytes(13)) == 13
    assert abs(statistics.fmean(rng.gauss() for _ in range(4000))) < 0.1
    assert abs(statistics.fmean(rng.random() for _ in range(4000)) - 0.5) < 0.05


def test_getrandbits() -> None:
    a, b = Rng(SEED), Rng(SEED)
    word, second = b.next_u64(), b.next_u64()
    assert a.getrandbits(64) == word
    assert a.getrandbits(8) == second >> 56
    a, b = Rng(SEED), Rng(SEED)
    words = [b.next_u64() for _ in range(2)]
    assert a.getrandbits(100) == (words[0] | words[1] << 64) & ((1 << 100) - 1)
    assert a.getrandbits(0) == 0
    with pytest.raises(ValueError, match="negative"):
        a.getrandbits(-1)


def test_state_can_be_kept() -> None:
    rng = Rng(SEED)
    rng.gauss()
    kept = rng.getstate()
    first = [rng.gauss(), rng.random()]
    rng.setstate(kept)
    assert [rng.gauss(), rng.random()] == first


# Proves: NN-7
def test_every_step_has_its_own_stream_whatever_was_drawn_before() -> None:
    clock = Clock()
    rng = _step_rng(clock)
    for _ in range(5):
        rng.gauss()
    clock.step = 2
    drawn = [rng.gauss(), rng.random(), float(rng.getrandbits(70))]
    fresh_clock = Clock()
    fresh_clock.step = 2
    fresh = _step_rng(fresh_clock)
    assert [fresh.gauss(), fresh.random(), float(fresh.getrandbits(70))] == drawn
    assert Rng(step_seed(1, "i", 2)).gauss() == drawn[0]


def test_seeding_lasts_for_the_step() -> None:
    clock = Clock()
    rng = _step_rng(clock)
    rng.seed(42)
    first = rng.random()
    rng.seed(42)
    assert rng.random() == first
    rng.seed("42")
    assert rng.random() != first
    clock.step = 2
    assert rng.random() == Rng(step_seed(1, "i", 2)).random()
    rng.seed(None)
    state = rng.getstate()
    rng.setstate(state)
    assert rng.getstate() == state
