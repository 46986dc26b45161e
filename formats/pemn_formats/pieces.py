"""The three streams of a content, entry by entry, each checked by the rules that a reader will apply.

The pieces are views of the content's own arrays: no entry is copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import as_bytes, pad_is_zero, popcount
from pemn_formats.content import DTYPES, Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.manifest import differences, manifest_of
from pemn_formats.residual_rules import all_finite, check_values

__all__ = ["mask_pieces", "prototype_pieces", "residual_pieces"]


def prototype_pieces(content: Content) -> Iterator[memoryview]:
    """Yield the values of each explicit prototype. Raises `PemnError` for values that are missing or not finite."""
    unruly = differences(manifest_of(content))
    for index, each in enumerate(content.prototypes):
        if each.seeded:
            continue
        what = f"prototype {index}"
        values = _sound(each.values, each.source, each.length, what)
        # A NaN has no bits that every device agrees on.
        if ("prototype", index) not in unruly and not all_finite(values):
            raise PemnError(f"{what} holds values that are not finite")
        yield as_bytes(values)


def mask_pieces(content: Content) -> Iterator[memoryview]:
    """Yield the bit planes of each masked tensor. Raises `PemnError` for planes that are not what the tensor says."""
    unruly = differences(manifest_of(content))
    for tensor in content.masked:
        if len(tensor.planes) != len(tensor.plane_bits):
            raise PemnError(f"{tensor.name} has {len(tensor.planes)} bit planes, expected {len(tensor.plane_bits)}")
        for plane, bits in zip(tensor.planes, tensor.plane_bits, strict=True):
            if plane.dtype != np.uint8 or plane.shape != ((bits + 7) // 8,) or not pad_is_zero(plane, bits):
                raise PemnError(f"{tensor.name} has a bit plane that is not {bits} packed bits with zero padding")
            yield as_bytes(plane)
        checked = ("masked", tensor.name) not in unruly
        if checked and tensor.kept is not None and popcount(tensor.planes[0]) != tensor.kept:
            raise PemnError(f"{tensor.name} keeps {popcount(tensor.planes[0])} weights, but says {tensor.kept}")


def residual_pieces(content: Content) -> Iterator[memoryview]:
    """Yield the values of each residual entry. Raises `PemnError` for values that break a rule of its kind."""
    unruly = differences(manifest_of(content))
    for entry in content.residual:
        values = _sound(entry.values, entry.held_dtype, math.prod(entry.held_shape), entry.name)
        if (entry.kind, entry.name) not in unruly:
            try:
                check_values(entry)
            except FormatError as error:
                raise PemnError(str(error)) from None
        yield as_bytes(values)


def _sound(values: npt.NDArray[Any] | None, dtype: str, count: int, what: str) -> npt.NDArray[Any]:
    if values is None or values.size != count or values.dtype != DTYPES[dtype]:
        found = "none" if values is None else f"{values.size} of {values.dtype}"
        raise PemnError(f"{what} must hold {count} values of {dtype}, found {found}")
    return values
