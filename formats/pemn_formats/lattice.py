"""Where the bits of a mask chunk stand in their tensors: what a coder knows before it reads the first bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Flat", "Lattice", "Matrix", "Signs", "groups", "growing"]

BLOCK = 1024
"""Shared bits are predicted so many at once, before any of them is learned from."""

_FIRST, _LARGEST = 32, 8192
_FEWEST_ROWS, _MOST_ROWS = 8, 64

Signs = Callable[[], npt.NDArray[np.int8]]


def growing(count: int) -> Iterator[int]:
    """Yield the sizes of the blocks of `count` bits of one density: small ones first, while little is known of it."""
    size = _FIRST
    while count > 0:
        yield min(size, count)
        count -= size
        size = min(2 * size, _LARGEST)


def groups(rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of the rows of a matrix that are coded side by side, and learned from later.

    They are an eighth of the rows before them: few while there is little to learn from, more when few do not matter.
    """
    first = 0
    while first < rows:
        size = min(max(first // 8, _FEWEST_ROWS), _MOST_ROWS, rows - first)
        yield first, size
        first += size


@dataclass(frozen=True)
class Flat:
    """Bits `start` to `start + count` of a chunk, without neighbours.

    `alone` says that they are coded by themselves, with a density of their own; others share one with the chunk's rest.
    """

    start: int
    count: int
    alone: bool = False


@dataclass(frozen=True)
class Matrix:
    """`count` bits from `start` on: `rows` of `channels` kernels of `height` x `width` weights each, in flat order.

    `signs` gives 1 or -1 for each weight, that of the value which a set bit keeps: int8 of shape (weights,). Without
    it a bit says whether the weight is zero, and all are 1.
    `among` is the place of such bits, of all weights, where this plane has bits for the weights that are not zero.
    """

    start: int
    count: int
    rows: int
    channels: int
    height: int
    width: int
    signs: Signs | None
    among: int | None = None

    @property
    def columns(self) -> int:
        """Number of weights in a row."""
        return self.channels * self.height * self.width

    @property
    def blocks(self) -> int:
        """Number of blocks that its bits are coded in: each column of every group of rows."""
        return self.columns * sum(1 for _ in groups(self.rows))


Lattice = tuple[Flat | Matrix, ...]
