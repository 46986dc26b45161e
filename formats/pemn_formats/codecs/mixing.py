"""Predictions mixed into one: a logistic regression that learns as it goes, in integers.

After Mahoney, "Adaptive weighing of context models for lossless data compression" (2005), with the step sizes of
Duchi, Hazan and Singer, "Adaptive subgradient methods" (2011). Every machine mixes the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "Mixer", "bounded", "squash", "stretch"]

LARGEST = 2047
"""The largest logarithm of odds, in units of 1/256."""

_ONE = 1 << 16  # a weight of 1
_MOST = 1 << 22
_RATE = 3 << 10
_SLOW = 1 << 20

# 4096 / (1 + exp(-x)) at x = -8, -7.5, ... 8, rounded.
_KNOTS = (
    *(1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048),
    *(2550, 2994, 3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095),
)

Integers = npt.NDArray[np.int64]


def bounded(values: Integers, most: int) -> Integers:
    """Return values from -most to most: what `np.clip` gives, which takes long for few of them."""
    found: Integers = np.minimum(np.maximum(values, -most), most)
    return found


def squash(odds: Integers) -> Integers:
    """Return probabilities in units of 2^-12, from 1 to 4095, of logarithms of odds from -2047 to 2047."""
    squashed: Integers = _SQUASHED[odds + LARGEST]
    return squashed


def stretch(chance: Integers | int) -> Integers | np.int64:
    """Return the least logarithm of odds whose probability is at least `chance`, or 2047."""
    stretched: Integers | np.int64 = _STRETCHED[chance]
    return stretched


def _squash_all() -> Integers:
    knots, odds = np.array(_KNOTS, dtype=np.int64), np.arange(-LARGEST, LARGEST + 1)
    at, into = (odds >> 7) + 16, odds & 127
    chance: Integers = (128 - into) * knots[at] + into * knots[at + 1] + 64 >> 7
    return np.clip(chance, 1, 4095)


_SQUASHED = _squash_all()
_STRETCHED = np.searchsorted(_SQUASHED, np.arange(4096)).clip(0, 2 * LARGEST) - LARGEST


class Mixer:
    """Weights of the inputs, and how far each has moved: the more it has, the smaller its steps."""

    def __init__(self, weights: Sequence[int]) -> None:
        """Start from weights in units of 1/64."""
        self._weights = np.array(weights, dtype=np.int64) * (_ONE // 64)
        self._moved = np.zeros(len(weights), dtype=np.int64)

    def mix(self, inputs: Integers) -> Integers:
        """Return the probability of a one for each column of inputs, (inputs, bits), logarithms of odds."""
        return squash(bounded(self._weights @ inputs >> 16, LARGEST))

    def learn(self, inputs: Integers, errors: Integers) -> None:
        """Take a step along the sum over a block's bits; `errors` are 4096 * bit - probability."""
        for index, step in enumerate((inputs @ errors >> 8).tolist()):
            self._moved[index] += step * step >> 8
            size = abs(step) * _RATE // math.isqrt(16 * int(self._moved[index]) + _SLOW)
            moved = int(self._weights[index]) + (size if step > 0 else -size)
            self._weights[index] = min(max(moved, -_MOST), _MOST)
