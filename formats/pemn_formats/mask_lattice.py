"""The lattice of a mask chunk: its bits, cut along the tensors and kernels that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pemn_formats.content import MaskedSpec, Prototype
from pemn_formats.lattice import Flat, Lattice, Windows, growing
from pemn_formats.manifest import Manifest
from pemn_formats.reconstruct import base_range

__all__ = ["FEWEST_ALONE", "FEWEST_ROWS", "LARGEST_WINDOW", "MOST_BLOCKS", "mask_lattice"]

FEWEST_ROWS = 64
LARGEST_WINDOW = 256
FEWEST_ALONE = 512
MOST_BLOCKS = 8192
"""Fewer kernels, larger ones, or more blocks of them in a chunk make many steps of few bits each: they are flat.

Flat bits of one plane, if they are not too few, are coded alone while there are blocks left for them. Honest nets stay
far below the last bound; without it a small hostile file could keep a reader busy for long.
"""

_VALUES_AT_ONCE = 1 << 18  # their floats take several times the memory of their signs


def mask_lattice(manifest: Manifest, prototypes: Sequence[Prototype], start: int, length: int) -> Lattice:
    """Return the lattice of bytes `start` to `start + length` of a mask stream, its places counted from `start`.

    Kernels that the chunk cuts, tensors without kernels, and all of a patch, whose masks are differences, are flat.
    """
    parts: list[Flat | Windows] = []
    at, left = 0, MOST_BLOCKS
    for tensor in manifest.masked:
        if at < start + length and at + tensor.mask_bytes > start:
            place, end = 8 * (at - start), 8 * length
            kernels = None if manifest.delta else _kernels(tensor, prototypes, manifest.seed, place, end)
            if kernels is not None and kernels.blocks <= left:
                left -= kernels.blocks
                first, last = kernels.start - place, kernels.start - place + kernels.count
                parts += [*_flat(place, 0, first, end), kernels, *_flat(place, last, tensor.numel, end)]
            else:
                for flat in _planes(tensor, place, end):
                    blocks = len(list(growing(flat.count)))
                    alone = flat.count >= FEWEST_ALONE and blocks <= left
                    left -= blocks if alone else 0
                    parts.append(replace(flat, alone=alone))
        at += tensor.mask_bytes
    return tuple(parts)


def _kernels(tensor: MaskedSpec, prototypes: Sequence[Prototype], seed: int, at: int, end: int) -> Windows | None:
    """The whole kernels of a tensor whose first bit has place `at` (below 0: in an earlier chunk) in `end` bits."""
    window = math.prod(tensor.shape[2:])
    if tensor.kept is not None or not 2 <= window <= LARGEST_WINDOW:
        return None
    first, last = -(-max(0, -at) // window), min(tensor.numel, end - at) // window
    if last - first < FEWEST_ROWS:
        return None
    return Windows(
        start=at + first * window,
        rows=last - first,
        height=window // tensor.shape[-1],
        width=tensor.shape[-1],
        negates=tensor.alphabet == "sign",
        signs=lambda: _signs(tensor, prototypes, seed, first * window, (last - first) * window),
    )


def _planes(tensor: MaskedSpec, at: int, end: int) -> Iterator[Flat]:
    for bits in tensor.plane_bits:
        yield from _flat(at, 0, bits, end)
        at += -(-bits // 8) * 8


def _flat(at: int, first: int, last: int, end: int) -> Iterator[Flat]:
    begin, stop = max(0, at + first), min(end, at + last)
    if begin < stop:
        yield Flat(begin, stop - begin)


def _signs(
    tensor: MaskedSpec, prototypes: Sequence[Prototype], seed: int, start: int, count: int
) -> npt.NDArray[np.int8]:
    length = prototypes[tensor.prototype].length
    # A part of a permuted or repeated prototype takes all of its values.
    in_parts = not tensor.span and (length >= start + count or 16 * length <= _VALUES_AT_ONCE)
    step = _VALUES_AT_ONCE if in_parts else count
    signs = np.empty(count, dtype=np.int8)
    for at in range(0, count, step):
        values = base_range(prototypes, tensor, seed, start + at, min(step, count - at))
        np.subtract(2 * (values > 0).view(np.int8), 1, out=signs[at : at + values.size])
    return signs
