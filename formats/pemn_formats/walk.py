"""Once over a decoded stream, a chunk at a time: every entry checked, and held whole only where a rule needs that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from pemn_formats.bits import as_bytes, popcount
from pemn_formats.content import LOG8, MaskedSpec, ResidualSpec
from pemn_formats.entries import check_kept, check_pad, residual_tensor
from pemn_formats.sections import Section

__all__ = ["walk_masks", "walk_residual"]


def walk_masks(
    section: Section,
    placed: Iterable[tuple[MaskedSpec, int]],
    ones: dict[str, tuple[int, ...]],
    *,
    unchecked: Collection[object],
) -> Iterator[memoryview]:
    """Yield the masks in order, and put the number of ones of each tensor's planes into `ones`.

    Those with ("masked", name) in `unchecked` are differences with any number of ones. Raises `FormatError` for what
    `entries.masked_tensor` refuses.
    """
    for spec, at in placed:
        counts = []
        for bits in spec.plane_bits:
            size, count, last = (bits + 7) // 8, 0, memoryview(b"")
            for part in section.parts(at, size):
                count, last = count + popcount(part), part[-1:]
                yield part
            check_pad(spec, bits, np.frombuffer(last, np.uint8))
            counts.append(count)
            at += size
        if ("masked", spec.name) not in unchecked:
            check_kept(spec, counts[0])
        ones[spec.name] = tuple(counts)


def walk_residual(
    section: Section, placed: Iterable[tuple[ResidualSpec, int]], *, unchecked: Collection[object]
) -> Iterator[memoryview]:
    """Yield the residual in order, with the errors of `entries.residual_tensor`; `unchecked` holds (kind, name)."""
    for spec, at in placed:
        checked = (spec.kind, spec.name) not in unchecked
        if spec.dtype == "bool" or (checked and (spec.dtype == LOG8 or spec.kind in ("int8", "scale"))):
            yield as_bytes(residual_tensor(spec, section.range(at, spec.stored_bytes), checked=checked).values)
        else:
            yield from section.parts(at, spec.stored_bytes)
