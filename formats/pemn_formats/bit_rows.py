"""Packed bits to dense words by table: one byte of a mask gives eight weights at once.

A gather of whole rows is bound by the memory that it writes; shifting each bit out takes several passes over as much.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RowSelect", "all_ones_rows", "pair_rows", "pair_up", "sign_rows", "signed_rows"]

Bits = npt.NDArray[Any]

_BYTES = np.arange(256, dtype=np.uint8)[:, None]
_IS_SET = np.unpackbits(_BYTES, axis=1, bitorder="little").astype(np.bool_)


@cache
def all_ones_rows(word: np.dtype[Any]) -> Bits:
    """Return shape (256, 8) of an unsigned type: every bit of a word set where the byte's bit is, none elsewhere."""
    return np.where(_IS_SET, np.array(np.iinfo(word).max, word), np.array(0, word))


@cache
def sign_rows(word: np.dtype[Any]) -> Bits:
    """Return shape (256, 8): the sign bit of a float of that width where the byte's bit is set."""
    sign = np.array(1 << (8 * word.itemsize - 1), word)
    return np.where(_IS_SET, sign, np.array(0, word))


def signed_rows(value: Bits) -> Bits:
    """Return shape (256, 8): the bits of a float, its sign bit inverted where the byte's bit is set."""
    return sign_rows(value.dtype) ^ value


def pair_rows(value: Bits) -> Bits:
    """Return shape (256, 4) for the bytes of `pair_up`: a float where the low nibble's bit is set, else +0.0.

    Its sign bit is inverted where the high nibble's bit is set.
    """
    kept, flipped = _BYTES[:, 0] & 0x0F, _BYTES[:, 0] >> 4
    return all_ones_rows(value.dtype)[kept, :4] & signed_rows(value)[flipped, :4]


def pair_up(low: npt.NDArray[np.uint8], high: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return two bytes for each: the low nibbles of both arrays, then their high nibbles; `low` in the low half."""
    pairs = high.astype("<u2")
    pairs <<= np.uint16(8)
    pairs |= low
    # The two nibbles in the middle change places.
    changed = pairs >> np.uint16(4)
    changed ^= pairs
    changed &= np.uint16(0x00F0)
    pairs ^= changed
    changed <<= np.uint16(4)
    pairs ^= changed
    return pairs.view(np.uint8)


@lru_cache(maxsize=256)
def _rows_of(value: int, word: np.dtype[Any], paired: bool) -> Bits:
    bits = np.array(value, word)
    return pair_rows(bits) if paired else signed_rows(bits)


class RowSelect:
    """Chooses weights by table. It keeps its memory of indices; give each thread its own."""

    def __init__(self) -> None:
        self._index = np.empty(0, dtype=np.intp)

    def __call__(
        self, out: Bits, kept: npt.NDArray[np.uint8] | None, flipped: npt.NDArray[np.uint8] | None, values: Bits
    ) -> None:
        """Write to `out`, flat and contiguous words of floats, `values`: one of shape (), or as many as `out` has.

        Where a bit of `flipped` is set the value's sign bit is inverted; where one of `kept` is not set the weight is
        +0.0 instead. Both are packed bits, one for each weight; None flips none and keeps all.
        """
        if values.ndim == 0 and flipped is not None:
            rows = _rows_of(int(values), out.dtype, kept is not None)
            self._gather(rows, flipped if kept is None else pair_up(kept, flipped), out)
            return
        keep = all_ones_rows(out.dtype)
        if flipped is None and kept is not None:
            self._gather(keep, kept, out)
            out &= values
            return
        if flipped is None:
            out[...] = values
            return
        self._gather(sign_rows(out.dtype), flipped, out)
        out ^= values
        if kept is not None:
            ones = np.empty_like(out)
            self._gather(keep, kept, ones)
            out &= ones

    def _gather(self, table: Bits, rows: npt.NDArray[np.uint8], out: Bits) -> None:
        """Write table[rows[0]], table[rows[1]], ... to `out`; the last row may be cut short."""
        width = table.shape[1]
        whole, rest = divmod(out.size, width)
        if self._index.size < whole:
            self._index = np.empty(whole, dtype=np.intp)
        index = self._index[:whole]
        index[...] = rows[:whole]
        # Any other mode checks all indices first and then writes through a buffer; bytes are never out of range.
        np.take(table, index, axis=0, out=out[: whole * width].reshape(whole, width), mode="clip")
        if rest:
            out[whole * width :] = table[rows[whole], :rest]
