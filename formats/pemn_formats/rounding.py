"""Float32 to the narrower output types, rounded once to nearest, ties to even."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.errors import PemnError

__all__ = ["OUTPUT_DTYPES", "bfloat16_bits", "bfloat16_to_float32", "narrow"]

OUTPUT_DTYPES = ("float32", "float16", "bfloat16")


def narrow(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """Return float32 values in the output dtype; bfloat16 comes as its bits in uint16. The shape stays."""
    if dtype == "float32":
        return values
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    if dtype == "bfloat16":
        return bfloat16_bits(values)
    raise PemnError(f"unknown output dtype {dtype!r}; known: {', '.join(OUTPUT_DTYPES)}")


def bfloat16_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16, uint16 of the same shape. NaN stays a quiet NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))) >> np.uint32(16)).astype(
        np.uint16
    )
    out: npt.NDArray[np.uint16] = np.where(np.isnan(values), np.uint16(0x7FC0), rounded).reshape(values.shape)
    return out


def bfloat16_to_float32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return the float32 values of bfloat16 bits, exactly; the shape stays."""
    values: npt.NDArray[np.float32] = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values
