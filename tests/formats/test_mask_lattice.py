"""Which bits of a chunk are coded as matrices, and which as flat bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from masks import mixtures, smooth

from pemn_formats.content import Content, Delta, MaskedTensor, Prototype
from pemn_formats.lattice import Flat, Matrix
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import FEWEST_COLUMNS, FEWEST_ROWS, MOST_BLOCKS, mask_lattice
from pemn_formats.reconstruct import base


def test_rows_cut_by_a_chunk_are_flat() -> None:
    content = smooth((1024, 500, 3, 3))
    lattice = mask_lattice(manifest_of(content), content.prototypes, CHUNK_BYTES, 1)
    assert lattice == (Flat(0, 8),)
    head, matrix, tail = mask_lattice(manifest_of(content), content.prototypes, CHUNK_BYTES, 9_000)
    assert head == Flat(0, -(8 * CHUNK_BYTES) % 4500)
    assert isinstance(matrix, Matrix)
    assert (matrix.rows, matrix.channels, matrix.height, matrix.width) == (15, 500, 3, 3)
    assert matrix.rows == (8 * 9_000 - head.count) // matrix.columns
    assert tail == Flat(matrix.start + matrix.count, 8 * 9_000 - matrix.start - matrix.count)
    first = 8 * CHUNK_BYTES + head.count
    assert matrix.signs is not None
    assert np.array_equal(matrix.signs(), base(content, content.masked[0])[first : first + matrix.count])


def test_planes_of_a_ternary_mask_are_matrices_only_together() -> None:
    content = mixtures(96, 80, "ternary")
    manifest, bits, kept = manifest_of(content), 96 * 80, content.masked[0].kept
    first, second = mask_lattice(manifest, content.prototypes, 0, content.masked[0].mask_bytes)
    assert isinstance(first, Matrix)
    assert isinstance(second, Matrix)
    assert (first.start, first.count, first.signs, first.among) == (0, bits, None, None)
    assert (second.start, second.count, second.among) == (bits, kept, 0)
    cut = mask_lattice(manifest, content.prototypes, 0, content.masked[0].mask_bytes - 1)
    assert all(isinstance(part, Flat) for part in cut)
    late = mask_lattice(manifest, content.prototypes, 1, content.masked[0].mask_bytes - 1)
    assert all(isinstance(part, Flat) for part in late)


def test_few_rows_or_columns_are_flat() -> None:
    for shape in ((FEWEST_ROWS - 1, 64), (64, FEWEST_COLUMNS - 1), (512,), (64, 1, 1, 7)):
        tensor = MaskedTensor("w", shape, 0, 0, "keep", np.float32(1.0))
        content = Content(0, (Prototype(3, "signed"),), (tensor,))
        lattice = mask_lattice(manifest_of(content), content.prototypes, 0, tensor.mask_bytes)
        assert all(isinstance(part, Flat) for part in lattice)
    tensor = MaskedTensor("w", (FEWEST_ROWS, FEWEST_COLUMNS), 0, 0, "keep", np.float32(1.0))
    content = Content(0, (Prototype(3, "signed"),), (tensor,))
    (matrix,) = mask_lattice(manifest_of(content), content.prototypes, 0, tensor.mask_bytes)
    assert isinstance(matrix, Matrix)
    assert matrix.blocks == FEWEST_COLUMNS


def test_a_chunk_has_no_more_blocks_than_a_reader_has_patience() -> None:
    """Long rows in small groups: a file of some kilobytes must not keep a reader busy for long."""
    wide = MaskedTensor("w", (8, MOST_BLOCKS), 0, 0, "keep", np.float32(1.0))
    small = replace(wide, name="s", shape=(8, 8))
    for first, kinds in ((wide, [Matrix, Flat]), (replace(wide, shape=(8, MOST_BLOCKS + 1)), [Flat, Matrix])):
        manifest = manifest_of(Content(0, (Prototype(3, "signed"),), (first, small)))
        lattice = mask_lattice(manifest, (), 0, 2 * CHUNK_BYTES)
        assert [type(part) for part in lattice] == kinds
    tensors = tuple(replace(wide, name=f"t{i}", shape=(512,)) for i in range(8192))
    lattice = mask_lattice(manifest_of(Content(0, (Prototype(3, "signed"),), tensors)), (), 0, CHUNK_BYTES)
    assert all(isinstance(part, Flat) and part.alone for part in lattice)


def test_a_patch_has_no_matrices_but_densities() -> None:
    content = smooth((64, 4, 3, 3))
    patch = replace(content, delta=Delta("0" * 64, "0" * 64, (0,), (1,), ()))
    assert mask_lattice(manifest_of(patch), content.prototypes, 0, 288) == (Flat(0, 2304, alone=True),)
