"""Which values an entry may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats import log8
from pemn_formats.content import LOG8, ResidualTensor
from pemn_formats.errors import FormatError
from pemn_formats.names import shown
from pemn_formats.reconstruct import float_values

__all__ = ["all_finite", "check_values"]

_AT_ONCE = 1 << 16


def check_values(entry: ResidualTensor) -> None:
    """Raise `FormatError` for values that no writer writes: each thing has one form, and what is multiplied is finite.

    A NaN among scales has no bits that every device agrees on; int8 values are symmetric, so -128 is none of them.
    """
    if entry.dtype == LOG8:
        log8.check(entry.values, entry.vectors, shown(entry.name))
    if entry.kind == "scale" and not all_finite(float_values(entry)):
        raise FormatError(f"the scale of {shown(entry.name)} holds values that are not finite")
    if entry.kind == "int8" and entry.values.min(initial=0) < -127:
        raise FormatError(f"{shown(entry.name)} holds -128, expected -127 to 127")


def all_finite(values: npt.NDArray[Any]) -> bool:
    """Say whether no value is NaN or infinite, without an array of answers as long as the values."""
    flat = values.reshape(-1)
    return all(bool(np.isfinite(flat[at : at + _AT_ONCE]).all()) for at in range(0, flat.size, _AT_ONCE))
