"""The signs of a tensor's base, as the coder of masks wants them: of any part, in time and memory that follow its size.

What a file says of prototypes and permutations costs it a few bytes. So no more of a prototype is drawn than a part
needs, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pemn_formats.content import MaskedSpec, Prototype
from pemn_formats.fills import PERMUTATION_STREAM, fill_index, permuted
from pemn_formats.reconstruct import prototype_values

__all__ = ["base_signs"]

_Integers = npt.NDArray[np.int64]
_Signs = npt.NDArray[np.int8]

_AT_ONCE = 1 << 18  # their floats take several times the memory of their signs
_PIECE = 1 << 12


def base_signs(prototypes: Sequence[Prototype], tensor: MaskedSpec, seed: int, start: int, count: int) -> _Signs:
    """Return 1 where the base of a masked tensor is above 0, else -1, from place `start` on: int8 of shape (count,)."""
    stream = tensor.prototype
    drawn = _Drawn(prototypes[stream], seed, stream)
    if tensor.span and drawn.length <= max(_AT_ONCE, 4 * count):
        values = prototype_values(drawn.prototype, seed, stream, 0, drawn.length)
        return _signs(permuted(values, tensor.span, seed, PERMUTATION_STREAM + stream, start, count))
    if tensor.span:
        return drawn.at(fill_index(drawn.length, tensor.span, seed, PERMUTATION_STREAM + stream, start, count))
    first = start % drawn.length
    if count > drawn.length:
        return np.resize(np.roll(drawn.part(0, drawn.length), -first), count)
    before = min(count, drawn.length - first)
    return np.concatenate([drawn.part(first, before), drawn.part(0, count - before)])


class _Drawn:
    """Signs of the values of a prototype."""

    def __init__(self, prototype: Prototype, seed: int, stream: int) -> None:
        self.prototype, self.length = prototype, prototype.length
        self._seed, self._stream = seed, stream

    def part(self, start: int, count: int) -> _Signs:
        """Return `count` of them, from number `start` on."""
        signs = np.empty(count, dtype=np.int8)
        for at in range(0, count, _AT_ONCE):
            size = min(_AT_ONCE, count - at)
            signs[at : at + size] = _signs(prototype_values(self.prototype, self._seed, self._stream, start + at, size))
        return signs

    def at(self, index: _Integers) -> _Signs:
        """Return those of the given numbers; pieces of the prototype that hold none of them are not drawn."""
        order = np.argsort(index)
        ordered = index[order]
        signs = np.empty(index.size, dtype=np.int8)
        begin = 0
        while begin < index.size:
            piece = int(ordered[begin]) // _PIECE * _PIECE
            end = int(np.searchsorted(ordered, piece + _PIECE))
            found = self.part(piece, min(_PIECE, self.length - piece))
            signs[order[begin:end]] = found[ordered[begin:end] - piece]
            begin = end
        return signs


def _signs(values: npt.NDArray[np.float32]) -> _Signs:
    signs: _Signs = 2 * (values > 0).view(np.int8) - 1
    return signs
