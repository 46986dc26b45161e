"""The values of one masked tensor, scale * base, a block at a time and never the whole tensor."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.content import Content, MaskedSpec
from pemn_formats.fills import PERMUTATION_STREAM, permuted
from pemn_formats.philox import words
from pemn_formats.reconstruct import prototype_values, scale_of
from pemn_formats.rounding import narrow
from pemn_formats.values import NORMAL_VALUES

__all__ = ["BLOCK", "ValueBlocks", "word_of"]

BLOCK = 1 << 17  # weights at once: what is gathered, combined and written stays within a core's cache
_SHORT = 1 << 17  # prototypes up to this length are tiled once, so that any block is a slice


def word_of(dtype: str) -> np.dtype[Any]:
    """Return the unsigned type as wide as an output dtype."""
    return np.dtype(np.uint32 if dtype == "float32" else np.uint16)


class ValueBlocks:
    """Scaled values of a masked tensor, as bits in the output dtype; safe to use from several threads."""

    def __init__(self, content: Content, tensor: MaskedSpec, dtype: str) -> None:
        self._seed, self._stream, self._span, self._dtype = content.seed, tensor.prototype, tensor.span, dtype
        self._prototype = content.prototypes[tensor.prototype]
        self._scale = scale_of(content, tensor)
        self._inner = tensor.numel // tensor.shape[0]
        self._per_channel = tensor.scale is None
        # Values of one scale that come straight from the stream, at the same places.
        fresh = not self._per_channel and not self._span and self._prototype.length >= tensor.numel
        self.signs_only = fresh and self._prototype.source == "signed"
        self._from_table = fresh and self._prototype.source == "normal"

    @property
    def magnitude(self) -> npt.NDArray[Any]:
        """The bits of the value whose sign is not inverted, shape (); where `signs_only`."""
        return self._bits(self._scale.reshape(()))

    def signs(self, start: int, count: int) -> npt.NDArray[np.uint8]:
        """Return the packed sign bits of `count` weights from `start`, a multiple of 32; where `signs_only`."""
        return self._drawn(start // 32, (count + 31) // 32)

    def bits(self, start: int, count: int) -> npt.NDArray[Any]:
        """Return the bits of at most `BLOCK` scaled values from `start`, of shape (count,); not to be written to."""
        if not self._per_channel and self._is_short:
            return self._scaled_tile[start % self._prototype.length :][:count]
        if not self._per_channel and self._span:
            return self._permuted(self._scaled_vector, start, count)
        if self._from_table:
            first = start // 4
            index = self._drawn(first, (start + count + 3) // 4 - first)[start - 4 * first :][:count]
            return np.take(self._table, index.astype(np.intp), mode="clip")
        return self._scaled(self._unit(start, count), start)

    def _unit(self, start: int, count: int) -> npt.NDArray[np.float32]:
        length = self._prototype.length
        if self._span:
            return self._permuted(self._vector, start, count)
        if self._is_short:
            return self._tile[start % length :][:count]
        parts = []
        while count:
            at = start % length
            part = prototype_values(self._prototype, self._seed, self._stream, at, min(count, length - at))
            parts.append(part)
            start, count = start + part.size, count - part.size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _permuted(self, vector: npt.NDArray[Any], start: int, count: int) -> npt.NDArray[Any]:
        return permuted(vector, self._span, self._seed, PERMUTATION_STREAM + self._stream, start, count)

    def _drawn(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """The bytes of `count` words of the prototype's stream."""
        return words(self._seed, self._stream, first, count).astype("<u4", copy=False).view(np.uint8)

    def _scaled(self, unit: npt.NDArray[np.float32], start: int) -> npt.NDArray[Any]:
        if not self._per_channel:
            return self._bits(unit * self._scale.reshape(()))
        values = np.empty_like(unit)
        row, at = divmod(start, self._inner)
        done = 0
        if at:
            done = min(self._inner - at, unit.size)
            np.multiply(unit[:done], self._scale[row], out=values[:done])
            row += 1
        whole = (unit.size - done) // self._inner
        end = done + whole * self._inner
        shape = (whole, self._inner)
        np.multiply(unit[done:end].reshape(shape), self._scale[row : row + whole], out=values[done:end].reshape(shape))
        if end < unit.size:
            np.multiply(unit[end:], self._scale[row + whole], out=values[end:])
        return self._bits(values)

    def _bits(self, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return narrow(values, self._dtype).view(word_of(self._dtype))

    @property
    def _is_short(self) -> bool:
        return not self._span and self._prototype.length <= _SHORT

    # Two threads may both compute one of these; they get the same values.

    @cached_property
    def _vector(self) -> npt.NDArray[np.float32]:
        return prototype_values(self._prototype, self._seed, self._stream, 0, self._prototype.length)

    @cached_property
    def _scaled_vector(self) -> npt.NDArray[Any]:
        return self._bits(self._vector * self._scale.reshape(()))

    @cached_property
    def _table(self) -> npt.NDArray[Any]:
        return self._bits(NORMAL_VALUES * self._scale.reshape(()))

    @cached_property
    def _tile(self) -> npt.NDArray[np.float32]:
        return np.resize(self._vector, self._prototype.length + BLOCK)

    @cached_property
    def _scaled_tile(self) -> npt.NDArray[Any]:
        return self._scaled(self._tile, 0)
