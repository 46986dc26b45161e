"""The lattice of a mask chunk: its bits, cut along the tensors that they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pemn_formats.base_signs import base_signs
from pemn_formats.content import MaskedSpec, Prototype
from pemn_formats.lattice import Flat, Lattice, Matrix, growing
from pemn_formats.manifest import Manifest

__all__ = ["FEWEST_ALONE", "FEWEST_COLUMNS", "FEWEST_ROWS", "MOST_BLOCKS", "mask_lattice"]

FEWEST_ROWS = 8
FEWEST_COLUMNS = 8
FEWEST_ALONE = 512
MOST_BLOCKS = 1 << 19
"""Fewer rows or columns, or more blocks of them in a chunk, make many steps of few bits each: they are flat.

Flat bits of one plane, if they are not too few, are coded alone while there are blocks left for them. A chunk of a
common net stays below the last bound; with as many blocks as that a reader takes about a second for a chunk.
"""


def mask_lattice(manifest: Manifest, prototypes: Sequence[Prototype], start: int, length: int) -> Lattice:
    """Return the lattice of bytes `start` to `start + length` of a mask stream, its places counted from `start`.

    Rows that the chunk cuts, tensors of one dimension, and all of a patch, whose masks are differences, are flat.
    """
    parts: list[Flat | Matrix] = []
    at, left = 0, MOST_BLOCKS
    for tensor in manifest.masked:
        if at < start + length and at + tensor.mask_bytes > start:
            place, end = 8 * (at - start), 8 * length
            matrices = [] if manifest.delta else _matrices(tensor, prototypes, manifest.seed, place, end)
            if matrices and sum(each.blocks for each in matrices) <= left:
                left -= sum(each.blocks for each in matrices)
                parts += _with_rest(tensor, matrices, place, end)
            else:
                for flat in _planes(tensor, place, end):
                    blocks = len(list(growing(flat.count)))
                    alone = flat.count >= FEWEST_ALONE and blocks <= left
                    left -= blocks if alone else 0
                    parts.append(replace(flat, alone=alone))
        at += tensor.mask_bytes
    return tuple(parts)


def _matrices(tensor: MaskedSpec, prototypes: Sequence[Prototype], seed: int, at: int, end: int) -> list[Matrix]:
    """The whole rows of a tensor whose first bit has place `at` (below 0: in an earlier chunk) in `end` bits.

    The planes of a ternary mask are read together, so they must be whole.
    """
    if len(tensor.shape) < 2:
        return []
    rows, channels, *window = tensor.shape
    columns = tensor.numel // rows
    first, last = -(-max(0, -at) // columns), min(tensor.numel, end - at) // columns
    if tensor.kept is not None and (at < 0 or at + 8 * tensor.mask_bytes > end):
        return []
    if last - first < FEWEST_ROWS or columns < FEWEST_COLUMNS:
        return []
    width = window[-1] if window else 1
    matrix = Matrix(
        start=at + first * columns,
        count=(last - first) * columns,
        rows=last - first,
        channels=channels,
        height=math.prod(window) // width,
        width=width,
        signs=lambda: base_signs(prototypes, tensor, seed, first * columns, (last - first) * columns),
    )
    if tensor.kept is None:
        return [matrix]
    second = at + -(-tensor.numel // 8) * 8
    return [replace(matrix, signs=None), replace(matrix, start=second, count=tensor.kept, among=at)]


def _with_rest(tensor: MaskedSpec, matrices: list[Matrix], at: int, end: int) -> list[Flat | Matrix]:
    """The matrices, and before and behind them the rows that the chunk cuts."""
    if tensor.kept is not None:
        return [*matrices]
    (matrix,) = matrices
    first, last = matrix.start - at, matrix.start + matrix.count - at
    return [*_flat(at, 0, first, end), matrix, *_flat(at, last, tensor.numel, end)]


def _planes(tensor: MaskedSpec, at: int, end: int) -> Iterator[Flat]:
    for bits in tensor.plane_bits:
        yield from _flat(at, 0, bits, end)
        at += -(-bits // 8) * 8


def _flat(at: int, first: int, last: int, end: int) -> Iterator[Flat]:
    begin, stop = max(0, at + first), min(end, at + last)
    if begin < stop:
        yield Flat(begin, stop - begin)
