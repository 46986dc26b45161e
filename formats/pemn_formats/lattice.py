"""Where the bits of a mask chunk stand in their tensors: what a coder knows before it reads the first bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Flat", "Lattice", "Signs", "Windows", "growing"]

BLOCK = 1024
"""The most bits that are predicted at once, before any of them is learned from; of `Flat` bits by themselves more."""

_FIRST, _LARGEST = 32, 8192

Signs = Callable[[], npt.NDArray[np.int8]]


def growing(count: int) -> Iterator[int]:
    """Yield the sizes of the blocks of `count` bits of one density: small ones first, while little is known of it."""
    size = _FIRST
    while count > 0:
        yield min(size, count)
        count -= size
        size = min(2 * size, _LARGEST)


@dataclass(frozen=True)
class Flat:
    """Bits `start` to `start + count` of a chunk, without neighbours.

    `alone` says that they are coded by themselves, with a density of their own; others share one with the chunk's rest.
    """

    start: int
    count: int
    alone: bool = False


@dataclass(frozen=True)
class Windows:
    """Bits from `start` on: `rows` kernels of `height` x `width` weights each, row by row.

    `signs` gives 1 or -1 for each of them, that of the value which a set bit keeps: int8 of shape (count,).
    `negates` says that a bit which is not set negates the value (`sign`) instead of hiding it (`keep`).
    """

    start: int
    rows: int
    height: int
    width: int
    negates: bool
    signs: Signs

    @property
    def count(self) -> int:
        """Number of bits."""
        return self.rows * self.height * self.width

    @property
    def blocks(self) -> int:
        """Number of blocks that its bits are coded in: each place of all kernels, cut into `BLOCK` bits."""
        return self.height * self.width * -(-self.rows // BLOCK)


Lattice = tuple[Flat | Windows, ...]
