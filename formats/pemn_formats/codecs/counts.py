"""How often zeros and ones were met: integers, so that every machine predicts the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.rans import PRECISION

__all__ = ["Counts", "Density"]

_FORGET = 1 << 14
_MOST = (1 << PRECISION) - 1


class Density:
    """One context; `chance` is the probability of a one in units of 2^-12, from 1 to 4095."""

    def __init__(self) -> None:
        self._zeros = self._ones = 1

    @property
    def chance(self) -> int:
        """The probability of a one."""
        return min(max((self._ones << PRECISION) // (self._zeros + self._ones), 1), _MOST)

    def learn(self, bits: npt.NDArray[np.uint8]) -> None:
        """Count the bits of a block, each as 2; with more than 2^14 in all the counts are halved, rounding up."""
        ones = int(np.count_nonzero(bits))
        self._zeros += 2 * (bits.size - ones)
        self._ones += 2 * ones
        if self._zeros + self._ones > _FORGET:
            self._zeros, self._ones = self._zeros + 1 >> 1, self._ones + 1 >> 1


class Counts:
    """A `Density` for each of many contexts; `chances` are theirs."""

    def __init__(self, contexts: int) -> None:
        self._met = np.ones((contexts, 2), dtype=np.int64)
        self.chances = np.full(contexts, 1 << (PRECISION - 1), dtype=np.int64)

    def learn(self, contexts: npt.NDArray[np.int64], bits: npt.NDArray[np.uint8]) -> None:
        """Count the bits of a block, each in its context."""
        np.add.at(self._met, (contexts, bits), 2)
        met = self._met[contexts]
        total = met.sum(axis=1)
        if (total > _FORGET).any():
            met[total > _FORGET] = met[total > _FORGET] + 1 >> 1
            self._met[contexts] = met
            total = met.sum(axis=1)
        self.chances[contexts] = np.clip((met[:, 1] << PRECISION) // total, 1, _MOST)
