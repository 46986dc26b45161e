"""Prediction of the mask bits of a matrix: each from the weights of its own row and of the rows before it.

What a mask makes of the values, weights that are wanted positive or negative, has the structure of any trained layer:
rows resemble mixtures of other rows. So a row that has begun like some earlier ones is predicted to go on like them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.codecs.counts import Counts, Density
from pemn_formats.codecs.mixing import LARGEST, Mixer, bounded, stretch
from pemn_formats.codecs.rans import PRECISION
from pemn_formats.errors import FormatError
from pemn_formats.lattice import Matrix, groups

__all__ = ["WRONG_PLANE", "Block", "Plane", "matrix_blocks"]

WRONG_PLANE = "a ternary mask has another number of nonzero weights than its tensor says"

# (rows down, columns right) of the neighbours in a kernel, the most telling first.
_NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
_CONTEXTS = 3 ** len(_NEIGHBOURS)
_HISTORY = 256  # rows
_BIAS = 64
_STEEP = 32_000
# The first weights of `_Group.inputs`, in units of 1/64.
_WEIGHTS = (0, 19, 6, 3, 3, 0, 64)

Places = slice | npt.NDArray[np.signedinteger]
Rows = slice | npt.NDArray[np.intp]
Block = tuple[Places, npt.NDArray[np.int64]]


class Plane:
    """What is learned from all matrices of a chunk that hold the same plane."""

    def __init__(self) -> None:
        self.mixer = Mixer(_WEIGHTS)
        self.counts = Counts(_CONTEXTS)


class _Weights:
    """The weights of a matrix as far as they are known, column by column: (columns, rows).

    A column is one channel at one place of the kernel; the places come in order, and in each of them the channels.
    """

    def __init__(self, part: Matrix, bits: npt.NDArray[np.uint8]) -> None:
        self.part = part
        weights = part.rows * part.columns
        places = np.arange(part.start, part.start + weights, dtype=np.int32)
        self.coded = None
        if part.among is not None:
            coded = bits[part.among : part.among + weights]
            if np.count_nonzero(coded) != part.count:
                raise FormatError(WRONG_PLANE)
            self.coded = self._ordered(coded)
            places = part.start + np.cumsum(coded, dtype=np.int32) - coded
        self.places = self._ordered(places)
        signs = np.ones(weights, np.int8) if part.signs is None else part.signs()
        self.signs = self._ordered(signs)
        self.known = np.zeros((part.columns, part.rows), dtype=np.int8)
        self.sums = np.zeros(part.columns, dtype=np.int64)

    def _ordered(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        part = self.part
        shape = (part.rows, part.channels, part.height * part.width)
        return np.ascontiguousarray(flat.reshape(shape).transpose(2, 1, 0).reshape(part.columns, part.rows))

    def neighbours(self, column: int) -> list[int]:
        """Return the columns of the neighbours in the kernel, or -1 for what is beyond its edge."""
        part = self.part
        place, channel = divmod(column, part.channels)
        down, right = divmod(place, part.width)
        return [
            ((down + below) * part.width + right + beside) * part.channels + channel
            if down + below >= 0 and 0 <= right + beside < part.width
            else -1
            for below, beside in _NEIGHBOURS
        ]


class _Group:
    """Rows that are coded side by side: how alike each of them and each row before has been so far."""

    def __init__(self, weights: _Weights, first: int, size: int) -> None:
        self.weights = weights
        self.rows = slice(first, first + size)
        self.before = slice(max(0, first - _HISTORY), first)
        self.alike = np.zeros((size, first - self.before.start), dtype=np.int64)
        self.missed = np.zeros_like(self.alike)
        self.sums = np.zeros(size, dtype=np.int64)
        self.ones = np.zeros(size, dtype=np.int64)

    def coded(self, column: int) -> Rows | None:
        """Return which rows of the group have a bit in a column, None for none."""
        if self.weights.coded is None:
            return slice(None)
        rows = np.flatnonzero(self.weights.coded[column, self.rows])
        return rows if rows.size else None

    def contexts(self, column: int, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the number made of the neighbours' weights relative to the values' signs."""
        signs = self.weights.signs[column, self.rows][rows]
        context = np.zeros(signs.size, dtype=np.int64)
        for neighbour in self.weights.neighbours(column):
            context *= 3
            if neighbour >= 0:
                context += np.sign(self.weights.known[neighbour, self.rows][rows]) * signs
            context += 1
        return context

    def inputs(self, column: int, rows: Rows, chance: npt.NDArray[np.int64] | int) -> npt.NDArray[np.int64]:
        """Return logarithms of odds, (inputs, coded rows), each by itself too large or small by some factor."""
        before = self.weights.known[column, self.before].astype(np.int64)
        signs = self.weights.signs[column, self.rows][rows].astype(np.int64)
        both, along, down = map(_over_root, (before.size * column, column, self.rows.start))
        found = np.empty((len(_WEIGHTS), signs.size), dtype=np.int64)
        found[0] = _BIAS
        found[1] = signs * (self.alike[rows] @ before) * both >> 26
        found[2] = signs * (self.missed[rows] @ before) * both >> 27
        found[3] = signs * self.sums[rows] * along >> 22
        found[4] = signs * self.weights.sums[column] * down >> 22
        found[5] = self.ones[rows] * along >> 22
        found[6] = stretch(chance)
        return bounded(found, LARGEST)

    def learn(
        self,
        column: int,
        rows: Rows,
        bits: npt.NDArray[np.int64],
        density: int,
        errors: npt.NDArray[np.int64],
    ) -> None:
        """Take up the bits of a column; `density` is in eighths, `errors` are 4096 * bit - probability."""
        signs = self.weights.signs[column, self.rows][rows]
        surprise = 8 * bits - density
        found = signs * surprise
        self.weights.known[column, self.rows][rows] = found
        before = self.weights.known[column, self.before].astype(np.int64)
        if before.size:
            for alike, step in ((self.alike, found), (self.missed, signs * (errors + 128 >> 8))):
                alike[rows] = bounded(alike[rows] + step[:, None] * before, _STEEP)
        self.sums[rows] += found
        self.ones[rows] += surprise

    def end(self) -> None:
        """Add the rows to the sums of the columns."""
        self.weights.sums += self.weights.known[:, self.rows].sum(axis=1, dtype=np.int64)


def matrix_blocks(bits: npt.NDArray[np.uint8], part: Matrix, plane: Plane) -> Iterator[Block]:
    """Yield places and probabilities of the bits of each block; the bits of a block are read when the next is due."""
    weights, density = _Weights(part, bits), Density()
    kernels = part.height * part.width > 1
    for first, size in groups(part.rows):
        group = _Group(weights, first, size)
        for column in range(part.columns):
            rows = group.coded(column)
            if rows is None:
                continue
            contexts = group.contexts(column, rows) if kernels else None
            inputs = group.inputs(column, rows, density.chance if contexts is None else plane.counts.chances[contexts])
            places, chances = weights.places[column, group.rows][rows], plane.mixer.mix(inputs)
            yield places, chances
            found = bits[places]
            errors = (found.astype(np.int64) << PRECISION) - chances
            plane.mixer.learn(inputs, errors)
            group.learn(column, rows, found.astype(np.int64), density.chance + 256 >> 9, errors)
            density.learn(found)
            if contexts is not None:
                plane.counts.learn(contexts, found)
        group.end()


def _over_root(count: int) -> int:
    """Return 2^28 over the root of a count."""
    return (1 << 28) // max(1, math.isqrt(count))
