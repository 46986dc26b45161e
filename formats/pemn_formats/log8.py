"""`log8`: floats in a byte each, a sign and seven bits of logarithm, with a range for each vector.

Stored, for n vectors of c values: n ranges hi (float32), n shifts (uint8), n * c codes (uint8). A code is a level from
0 to 127, plus 128 for a negative value. Level 0 is +0.0, level l above it hi * 2^(-((127 - l) << shift) / 64).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import FormatError, PemnError
from pemn_formats.log8_table import LOG8_STEPS, LOG8_TABLE

__all__ = ["LEAST_RANGE", "MAX_SHIFT", "check", "decode", "encode", "levels", "stored_bytes"]

MAX_SHIFT = 5
LEAST_RANGE: np.float32 = np.float32(2.0**-62)
"""The least `hi`: the lowest level of the largest shift lies 2^-63 below it and is still a normal float32."""

_TOP = 127
_SIGN = 128
_HEAD = 5


def stored_bytes(vectors: int, values: int) -> int:
    """Return the bytes that `values` values take, cut into so many vectors."""
    return _HEAD * vectors + values


def levels(hi: np.float32, shift: int) -> npt.NDArray[np.float32]:
    """Return the values of levels 0 to 127, float32 of shape (128,), rising.

    A table entry times a power of two is exact; its product with `hi` is one float32 multiplication, and nothing else
    is rounded.
    """
    index = np.arange(_TOP - 1, -1, -1) << shift
    below = np.ldexp(LOG8_TABLE[index % LOG8_STEPS], -(index // LOG8_STEPS))
    return np.concatenate((np.zeros(1, np.float32), below * hi))


def encode(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return the stored bytes of values of shape (vectors, columns), rounded to float32 first.

    Each value goes to the nearest level. `hi` is the largest magnitude of its vector; a vector below `LEAST_RANGE`
    becomes zero. The shift, which trades resolution for range, is the one with the least sum of squared error over
    magnitude: between absolute error, which would drop small values, and relative error, which would coarsen large
    ones to keep them. Raises `PemnError` for values that are not finite in float32.
    """
    with np.errstate(over="ignore"):
        values = vectors.astype(np.float32)
    if not np.isfinite(values).all():
        raise PemnError("log8 takes finite float32 values only")
    coded = [_encode_vector(vector) for vector in values]
    ranges = np.array([hi for hi, _, _ in coded], dtype="<f4").view(np.uint8)
    shifts = np.array([shift for _, shift, _ in coded], dtype=np.uint8)
    return np.concatenate((ranges, shifts, *(codes for _, _, codes in coded)))


def decode(stored: npt.NDArray[np.uint8], vectors: int) -> npt.NDArray[np.float32]:
    """Return the values of bytes that `check` accepts, float32 of shape (vectors, columns)."""
    ranges, shifts, codes = _parts(stored, vectors)
    out = np.empty(codes.shape, dtype=np.float32)
    for row, hi, shift, code in zip(out, ranges, shifts, codes, strict=True):
        positive = levels(hi, int(shift))
        row[:] = np.concatenate((positive, -positive))[code]
    return out


def check(stored: npt.NDArray[np.uint8], vectors: int, what: str) -> None:
    """Raise `FormatError`, naming `what`, for bytes that `encode` cannot have written; their number is not checked."""
    ranges, shifts, codes = _parts(stored, vectors)
    for hi in ranges:
        if not (np.isfinite(hi) and hi >= LEAST_RANGE):
            raise FormatError(f"{what} has the log8 range {hi}, expected a finite number of at least 2^-62")
    if (shifts > MAX_SHIFT).any():
        raise FormatError(f"{what} has the log8 shift {shifts.max()}, expected at most {MAX_SHIFT}")
    if (codes == _SIGN).any():
        raise FormatError(f"{what} has a log8 code for a negative zero")


def _parts(
    stored: npt.NDArray[np.uint8], vectors: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    ranges, shifts, codes = np.split(stored, (4 * vectors, _HEAD * vectors))
    return np.frombuffer(ranges.tobytes(), "<f4"), shifts, codes.reshape(vectors, -1)


def _encode_vector(values: npt.NDArray[np.float32]) -> tuple[np.float32, int, npt.NDArray[np.uint8]]:
    magnitude = np.abs(values)
    hi: np.float32 = magnitude.max(initial=np.float32(0.0))
    if hi < LEAST_RANGE:
        return np.float32(1.0), 0, np.zeros(values.size, dtype=np.uint8)
    wanted = magnitude.astype(np.float64)
    weight = np.divide(1.0, wanted, out=np.zeros_like(wanted), where=wanted > 0)
    tried = [_nearest(wanted, hi, shift) for shift in range(MAX_SHIFT + 1)]
    # An exact sum, so that no machine chooses another shift.
    errors = [math.fsum((found - wanted) ** 2 * weight) for found, _ in tried]
    shift = errors.index(min(errors))
    level = tried[shift][1]
    return hi, shift, np.where((values < 0) & (level > 0), level | _SIGN, level).astype(np.uint8)


def _nearest(
    magnitude: npt.NDArray[np.float64], hi: np.float32, shift: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return the nearest level of each magnitude: its value and its number."""
    known = levels(hi, shift).astype(np.float64)
    number = np.searchsorted((known[1:] + known[:-1]) / 2, magnitude)
    return known[number], number
