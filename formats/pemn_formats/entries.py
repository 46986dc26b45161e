"""From the bytes of a decoded stream to one entry of a file, with the rules that its values obey."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import pad_is_zero, popcount
from pemn_formats.content import DTYPES, MaskedSpec, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.errors import FormatError
from pemn_formats.names import shown
from pemn_formats.residual_rules import all_finite, check_values

__all__ = ["check_kept", "check_pad", "explicit_prototype", "masked_tensor", "residual_tensor", "stored_values"]


def explicit_prototype(spec: Prototype, index: int, data: bytes | memoryview, *, checked: bool) -> Prototype:
    """Return an explicit prototype with its values; not `checked`, they are differences and need not be finite."""
    values = stored_values(data, spec.source, f"prototype {index}")
    if checked and not all_finite(values):
        raise FormatError(f"prototype {index} holds values that are not finite")
    return Prototype(spec.length, spec.source, values)


def masked_tensor(spec: MaskedSpec, data: bytes | memoryview, *, checked: bool) -> MaskedTensor:
    """Return a masked tensor with its bit planes; not `checked`, the planes are differences with any popcount."""
    planes, at = [], 0
    for bits in spec.plane_bits:
        plane = np.frombuffer(data, np.uint8, (bits + 7) // 8, at)
        check_pad(spec, bits, plane[-1:])
        planes.append(plane)
        at += plane.size
    if checked and spec.kept is not None:
        check_kept(spec, popcount(planes[0]))
    return MaskedTensor(**vars(spec), planes=tuple(planes))


def check_pad(spec: MaskedSpec, bits: int, last: npt.NDArray[np.uint8]) -> None:
    """Raise `FormatError` if the last byte of a plane, given alone, has a bit set behind the first `bits`."""
    if not pad_is_zero(last, bits):
        raise FormatError(f"the mask of {shown(spec.name)} has a pad bit set")


def check_kept(spec: MaskedSpec, ones: int) -> None:
    """Raise `FormatError` if the first plane of a ternary mask has other than `kept` ones."""
    if spec.kept is not None and ones != spec.kept:
        raise FormatError(f"the mask of {shown(spec.name)} keeps {ones} weights, expected {spec.kept}")


def residual_tensor(spec: ResidualSpec, data: bytes | memoryview, *, checked: bool) -> ResidualTensor:
    """Return a residual entry with its values; not `checked`, they are differences and mean nothing yet."""
    values = stored_values(data, spec.held_dtype, spec.name).reshape(spec.held_shape)
    entry = ResidualTensor(**vars(spec), values=values)
    if checked:
        check_values(entry)
    return entry


def stored_values(data: bytes | memoryview, dtype: str, name: str) -> npt.NDArray[Any]:
    """Return stored values in the numpy type of their dtype, of shape (n,)."""
    if dtype == "bool":
        flags = np.frombuffer(data, np.uint8)
        if flags.size and flags.max() > 1:
            raise FormatError(f"{shown(name)} holds booleans that are neither 0 nor 1")
        return flags.view(np.bool_)
    return np.frombuffer(data, DTYPES[dtype])
