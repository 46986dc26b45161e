"""From the bytes of a decoded stream to one entry of a file, with the rules that its values obey."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pemn_formats.bits import pad_is_zero, popcount
from pemn_formats.content import DTYPES, MaskedSpec, MaskedTensor, Prototype, ResidualSpec, ResidualTensor
from pemn_formats.errors import FormatError
from pemn_formats.names import shown
from pemn_formats.residual_rules import check_values

__all__ = ["explicit_prototypes", "masked_tensor", "residual_tensor", "stored_values"]


def explicit_prototypes(
    specs: Sequence[Prototype], stream: memoryview, *, unchecked: Collection[object]
) -> tuple[Prototype, ...]:
    """Return prototypes with the values that the stream holds for the explicit ones.

    Those with an index in `unchecked` are differences, and need not be finite.
    """
    out, at = [], 0
    for index, each in enumerate(specs):
        if each.seeded:
            out.append(each)
            continue
        values = stored_values(stream[at : at + each.stored_bytes], each.source, f"prototype {index}")
        if index not in unchecked and not np.isfinite(values).all():
            raise FormatError(f"prototype {index} holds values that are not finite")
        out.append(Prototype(each.length, each.source, values))
        at += each.stored_bytes
    return tuple(out)


def masked_tensor(spec: MaskedSpec, data: bytes | memoryview, *, checked: bool) -> MaskedTensor:
    """Return a masked tensor with its bit planes; not `checked`, the planes are differences with any popcount."""
    planes, at = [], 0
    for bits in spec.plane_bits:
        plane = np.frombuffer(data, np.uint8, (bits + 7) // 8, at)
        if not pad_is_zero(plane, bits):
            raise FormatError(f"the mask of {shown(spec.name)} has a pad bit set")
        planes.append(plane)
        at += plane.size
    if checked and spec.kept is not None and popcount(planes[0]) != spec.kept:
        raise FormatError(f"the mask of {shown(spec.name)} keeps {popcount(planes[0])} weights, expected {spec.kept}")
    return MaskedTensor(**vars(spec), planes=tuple(planes))


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
