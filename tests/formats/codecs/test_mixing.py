"""Predictions are mixed in integers: the tables hold what they should, and weights go where they pay."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pemn_formats.codecs.counts import Counts, Density
from pemn_formats.codecs.mixing import LARGEST, Mixer, bounded, squash, stretch

ODDS = np.arange(-LARGEST, LARGEST + 1)


def test_squash_is_the_logistic_function() -> None:
    exact = 4096 / (1 + np.exp(-ODDS / 256))
    assert np.abs(squash(ODDS) - exact).max() < 13  # between knots it is straight
    assert (np.diff(squash(ODDS)) >= 0).all()
    assert (squash(ODDS).min(), squash(ODDS).max()) == (1, 4095)
    assert squash(np.array([0, 128, -128])).tolist() == [2048, 2550, 1546]


def test_stretch_takes_squash_back() -> None:
    chances = np.arange(1, 4095)
    found = np.asarray(stretch(chances))
    assert (squash(found) >= chances).all()
    assert (squash(found[found > -LARGEST] - 1) < chances[found > -LARGEST]).all()
    assert stretch(4095) == ODDS[squash(ODDS) == 4095][0]
    assert stretch(1) == -LARGEST


def test_bounded_is_clip() -> None:
    assert bounded(np.array([-9, -3, 0, 3, 9]), 4).tolist() == [-4, -3, 0, 3, 4]


def test_a_mixer_follows_the_input_that_tells() -> None:
    rng = np.random.default_rng(0)
    mixer, spent = Mixer((0, 0)), []
    for _ in range(300):
        bits = rng.integers(0, 2, 16)
        inputs = np.stack((rng.integers(-500, 500, 16), (2 * bits - 1) * 300 + rng.integers(-400, 400, 16)))
        chances = mixer.mix(inputs)
        spent.append(-np.log2(np.where(bits == 1, chances, 4096 - chances) / 4096).mean())
        mixer.learn(inputs, 4096 * bits - chances)
    assert spent[0] == 1.0
    assert np.mean(spent[-50:]) < 0.5


def test_weights_stay_within_bounds() -> None:
    mixer = Mixer((0,))
    inputs = np.full((1, 64), LARGEST)
    for _ in range(60_000):
        mixer.learn(inputs, np.full(64, 4095))
    assert mixer.mix(np.array([[1]])).tolist() == [squash(np.array([64]))[0]]


def test_density_and_counts_agree_and_forget() -> None:
    rng = np.random.default_rng(1)
    density, counts = Density(), Counts(3)
    for size in (1, 7, 4000, 4000, 2000, 64):
        bits = (rng.random(size) < 0.9).astype(np.uint8)
        density.learn(bits)
        counts.learn(np.full(size, 1), bits)
        assert counts.chances.tolist() == [2048, density.chance, 2048]
    assert density.chance == pytest.approx(0.9 * 4096, abs=60)
    for _ in range(9):
        density.learn(np.zeros(8000, np.uint8))
    assert density.chance <= math.ceil(4096 * 0.1)
    density.learn(np.zeros(1 << 20, np.uint8))
    assert density.chance == 1
