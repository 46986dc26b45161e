"""The lattice of a mask chunk: its bits, cut along the tensors and kernels that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pemn_formats.content import MaskedSpec, Prototype
from pemn_formats.lattice import Flat, Lattice, Windows
from pemn_formats.manifest import Manifest
from pemn_formats.reconstruct import base_range

__all__ = ["FEWEST_ROWS", "LARGEST_WINDOW", "mask_lattice"]

FEWEST_ROWS = 64
LARGEST_WINDOW = 256
"""Fewer kernels, or larger ones, make many steps of few bits each: they are flat."""


def mask_lattice(manifest: Manifest, prototypes: Sequence[Prototype], start: int, length: int) -> Lattice:
    """Return the lattice of bytes `start` to `start + length` of a mask stream, its places counted from `start`.

    Kernels that the chunk cuts, tensors without kernels, and all of a patch, whose masks are differences, are flat.
    """
    parts: list[Flat | Windows] = []
    at = 0
    for tensor in manifest.masked:
        if at < start + length and at + tensor.mask_bytes > start:
            place, end = 8 * (at - start), 8 * length
            windows = None if manifest.delta is not None else _windows(tensor, prototypes, manifest.seed, place, end)
            parts += _planes(tensor, place, end) if windows is None else windows
        at += tensor.mask_bytes
    return tuple(parts)


def _windows(
    tensor: MaskedSpec, prototypes: Sequence[Prototype], seed: int, at: int, end: int
) -> list[Flat | Windows] | None:
    """The parts of a tensor of kernels whose first bit has place `at` (below 0: in an earlier chunk) in `end` bits."""
    window = math.prod(tensor.shape[2:])
    if tensor.kept is not None or not 2 <= window <= LARGEST_WINDOW:
        return None
    first, last = -(-max(0, -at) // window), min(tensor.numel, end - at) // window
    if last - first < FEWEST_ROWS:
        return None
    kernels = Windows(
        start=at + first * window,
        rows=last - first,
        height=window // tensor.shape[-1],
        width=tensor.shape[-1],
        negates=tensor.alphabet == "sign",
        signs=lambda: _signs(tensor, prototypes, seed, first * window, (last - first) * window),
    )
    return [*_flat(at, 0, first * window, end), kernels, *_flat(at, last * window, tensor.numel, end)]


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
    signs: npt.NDArray[np.int8] = 2 * (base_range(prototypes, tensor, seed, start, count) > 0).view(np.int8) - 1
    return signs
