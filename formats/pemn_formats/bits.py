"""Packed bits: least significant bit first, padded with zeros to whole bytes; and the plain bytes of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from bitarray import bitarray
from bitarray.util import count_xor

__all__ = ["as_bytes", "hamming_distance", "pack", "pad_is_zero", "popcount", "unpack"]


def as_bytes(values: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of an array in C order, without a copy of one that lies so."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def pack(bits: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the bits of an array of zeros and ones in C order, packed; uint8 of shape (ceil(n / 8),)."""
    return np.packbits(np.ascontiguousarray(bits).reshape(-1), bitorder="little")


def unpack(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Return the first `count` bits as zeros and ones, uint8 of shape (count,)."""
    return np.unpackbits(packed, count=count, bitorder="little")


def popcount(packed: npt.NDArray[np.uint8] | bytes | memoryview) -> int:
    """Return the number of ones."""
    return _view(packed).count()


def hamming_distance(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> int:
    """Return the number of places where two packed masks of equal length differ."""
    return count_xor(_view(left), _view(right))


def pad_is_zero(packed: npt.NDArray[np.uint8], count: int) -> bool:
    """Say whether the bits after the first `count` in the last byte are zero."""
    return count % 8 == 0 or not packed[-1] >> (count % 8)


def _view(packed: npt.NDArray[np.uint8] | bytes | memoryview) -> bitarray:
    buffer = packed if isinstance(packed, (bytes, memoryview)) else np.ascontiguousarray(packed).data
    return bitarray(buffer=buffer, endian="little")
