"""Real numbers rounded to what a file stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats import log8
from pemn_formats.content import DTYPES, LOG8, ResidualTensor
from pemn_formats.errors import PemnError
from pemn_formats.reconstruct import float_values

__all__ = ["folded_entry", "int8_entries", "stored_entry"]

Values = npt.NDArray[np.float64]

_INT8_MOST = 127
_SCALE_ERROR = 0.01


def stored_entry(
    name: str, values: Values, dtype: str, kind: str = "dense", eps: np.float32 | None = None
) -> ResidualTensor:
    """Return values as a residual entry in a floating dtype, each rounded to the nearest.

    `log8` takes a byte a value and five for each vector: where float16 takes no more, it is taken instead. Raises
    `PemnError` that names the entry for values that are not finite, in themselves or in that dtype.
    """
    if not np.isfinite(values).all():
        raise PemnError(f"{name} holds values that are not finite; the model is not fit to be saved")
    entry = ResidualTensor(name, values.shape, kind, dtype, eps)
    if dtype == LOG8 and entry.stored_bytes >= values.size * DTYPES["float16"].itemsize:
        return stored_entry(name, values, "float16", kind, eps)
    with np.errstate(over="ignore"):
        rounded: npt.NDArray[Any] = values.astype(np.float32 if dtype == LOG8 else DTYPES[dtype])
    if not np.isfinite(rounded).all():
        largest = float(np.abs(values).max())
        remedy = "lossless" if dtype in ("float32", LOG8) else "residual_dtype='float32' or lossless"
        raise PemnError(f"{name} holds {largest:.3g}, beyond {dtype}; save it with {remedy}")
    if dtype == LOG8:
        rounded = log8.encode(rounded.reshape(entry.vectors, -1))
    return ResidualTensor(name, values.shape, kind, dtype, eps, values=rounded)


def folded_entry(name: str, scale: Values, mean: Values, bias: Values, dtype: str, eps: np.float32) -> ResidualTensor:
    """Return the map x -> scale * x + (bias - mean * scale) as a `bn` entry of shape (2, channels).

    The shift is made for the scale as it is stored, so that rounding the scale does not move the mean: with `log8` that
    took the largest change of a ConvMixer's logits from 0.18 to 0.10 of their standard deviation.
    """
    rough = stored_entry(name, np.stack((scale, np.zeros_like(scale))), dtype, "bn", eps)
    kept = float_values(rough)[0].astype(np.float64)
    return stored_entry(name, np.stack((scale, bias - mean * kept)), dtype, "bn", eps)


def int8_entries(name: str, values: Values, dtype: str) -> tuple[ResidualTensor, ResidualTensor]:
    """Return a weight as integers from -127 to 127, and the scale of each index of dimension 0.

    The largest magnitude of a channel becomes 127; a channel of zeros has scale 0. Scales are float16, or float32 if
    `dtype` is, or if float16 would change one of them by more than 1 %.
    """
    if not np.isfinite(values).all():
        raise PemnError(f"{name} holds values that are not finite; the model is not fit to be saved")
    rows = values.reshape(values.shape[0], -1)
    exact = np.abs(rows).max(axis=1) / _INT8_MOST
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16).astype(np.float64)
    fits = dtype != "float32" and bool((np.abs(half - exact) <= _SCALE_ERROR * exact).all())
    scales = stored_entry(name, exact, "float16" if fits else "float32", "scale")
    kept = scales.values.astype(np.float64)[:, None]
    steps = np.divide(rows, kept, out=np.zeros_like(rows), where=kept > 0)
    integers = np.clip(np.rint(steps), -_INT8_MOST, _INT8_MOST).astype(np.int8).reshape(values.shape)
    return ResidualTensor(name, values.shape, "int8", "int8", values=integers), scales
