"""Seeded values: integers of the generator become float32 exactly, without any math library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError
from pemn_formats.normal_table import NORMAL_SHIFT, NORMAL_TABLE
from pemn_formats.philox import words

__all__ = ["DISTRIBUTIONS", "NORMAL_TABLE", "NORMAL_VALUES", "UNIT_STD", "unit_values"]

DISTRIBUTIONS = ("signed", "uniform", "normal")

# The standard deviation of the values of each distribution, so that a scale can be chosen for a wanted one.
UNIT_STD = {
    "signed": 1.0,
    "uniform": 3.0**-0.5,
    "normal": float(np.sqrt(np.mean(NORMAL_TABLE.astype(np.float64) ** 2)) / (1 << NORMAL_SHIFT)),
}


def unit_values(distribution: str, seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.float32]:
    """Return values `start` to `start + count` of a seeded prototype, float32 of shape (count,).

    `signed`: +1 or -1 from one bit; `uniform`: an odd multiple of 2^-24 in (-1, 1) from 24 bits; `normal`: one of 256
    tabulated quantiles from 8 bits. Every value is exact in float32. Raises `PemnError` for another distribution.
    """
    if distribution == "signed":
        return _signed(seed, stream, start, count)
    if distribution == "uniform":
        top = (words(seed, stream, start, count) >> np.uint32(8)).astype(np.int32)
        odd = (2 * top + (1 - (1 << 24))).astype(np.float32)
        uniform: npt.NDArray[np.float32] = odd * np.float32(2.0**-24)
        return uniform
    if distribution == "normal":
        first = start // 4
        drawn = words(seed, stream, first, (start + count + 3) // 4 - first)
        index = drawn.astype("<u4", copy=False).view(np.uint8)[start - first * 4 :][:count]
        values: npt.NDArray[np.float32] = np.take(NORMAL_VALUES, index.astype(np.intp), mode="clip")
        return values
    raise PemnError(f"unknown distribution {distribution!r}; known: {', '.join(DISTRIBUTIONS)}")


def _signed(seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.float32]:
    first = start // 32
    drawn = words(seed, stream, first, (start + count + 31) // 32 - first)
    packed = drawn.astype("<u4", copy=False).view(np.uint8)
    # Eight values a byte: a gather of rows is many times faster than one of single values.
    values = np.take(_SIGN_ROWS, packed.astype(np.intp), axis=0, mode="clip").reshape(-1)
    signs: npt.NDArray[np.float32] = values[start - first * 32 :][:count]
    return signs


_SIGN_ROWS = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(
    np.float32
)
NORMAL_VALUES = NORMAL_TABLE.astype(np.float32) * np.float32(2.0**-NORMAL_SHIFT)
"""The 256 values of `normal`, float32 of shape (256,), by the byte that chooses them."""
