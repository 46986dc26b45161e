"""Bits laid out over the ones of a mask, in order: how the second plane of a ternary mask is read."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from pemn_formats.native import compiled

__all__ = ["deposit"]

_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.intp)


def deposit(mask: npt.NDArray[np.uint8], packed: npt.NDArray[np.uint8], first: int) -> npt.NDArray[np.uint8]:
    """Return packed bits that are zero where `mask` is, and the bits of `packed` from bit `first` on at its ones.

    uint8 of the mask's shape (bytes,); `packed` holds at least `first` bits and one for each one of the mask.
    """
    loops = compiled()
    if loops is not None:
        out = np.empty_like(mask)
        loops.deposit(out, mask, packed, first)
        return out
    kept = np.take(_COUNTS, mask.astype(np.intp), mode="clip")
    place = np.cumsum(kept)
    place -= kept
    place += first
    # The eight bits from any place lie within two bytes.
    pairs = np.zeros(packed.size + 1, dtype=np.uint16)
    pairs[:-1] = packed
    pairs[:-1] |= pairs[1:] << np.uint16(8)
    window = np.take(pairs, place >> 3, mode="clip")
    window >>= (place & 7).astype(np.uint16)
    window &= np.uint16(0xFF)
    index = mask.astype(np.intp)
    index <<= 8
    index |= window
    return np.take(_table(), index, mode="clip")


@cache
def _table() -> npt.NDArray[np.uint8]:
    """Byte of the mask times 256 plus the bits to lay out, to the byte laid out."""
    mask, bits = np.divmod(np.arange(1 << 16, dtype=np.uint32), np.uint32(256))
    out = np.zeros_like(mask)
    for place in range(8):
        one = (mask >> np.uint32(place)) & np.uint32(1)
        out |= (bits & one) << np.uint32(place)
        bits >>= one
    return out.astype(np.uint8)
