"""The signs that the mask coder uses are those of the base, and no hostile prototype makes them costly."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pemn_formats import base_signs as module
from pemn_formats.base_signs import base_signs
from pemn_formats.content import Content, MaskedSpec, Prototype
from pemn_formats.lattice import Matrix
from pemn_formats.manifest import manifest_of
from pemn_formats.mask_lattice import mask_lattice
from pemn_formats.reconstruct import base

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.mark.parametrize("at_once", [1 << 18, 64])
@pytest.mark.parametrize(
    ("prototype", "span"),
    [
        (Prototype(4, "uniform"), 0),
        (Prototype(7, "uniform"), 0),
        (Prototype(500, "uniform"), 0),
        (Prototype(900, "signed"), 0),
        (Prototype(7, "float32", np.linspace(-1, 1, 7).astype(np.float32)), 0),
        (Prototype(7, "uniform"), 900),
        (Prototype(3000, "normal"), 5000),
        (Prototype(3001, "float32", np.sin(np.arange(3001)).astype(np.float32)), 5000),
    ],
)
def test_they_are_those_of_the_base(
    at_once: int, prototype: Prototype, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiled, permuted, fresh and stored values, wherever a part starts."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    monkeypatch.setattr(module, "_PIECE", at_once // 2)
    tensor = MaskedSpec("w", (100, 3, 3), 0, span, "keep", np.float32(1.0))
    content = Content(5, (prototype,), (tensor,))  # type: ignore[arg-type]
    expected = np.where(base(content, tensor) > 0, 1, -1)
    for start, count in ((0, 900), (81, 720), (498, 3), (899, 1)):
        found = base_signs(content.prototypes, tensor, content.seed, start, count)
        assert found.dtype == np.int8
        assert np.array_equal(found, expected[start : start + count])


def test_a_matrix_has_those_of_its_rows() -> None:
    tensor = MaskedSpec("w", (100, 3, 3), 0, 0, "keep", np.float32(1.0))
    content = Content(5, (Prototype(7, "uniform"),), (tensor,))  # type: ignore[arg-type]
    _, matrix, _ = mask_lattice(manifest_of(content), content.prototypes, 10, 100)
    assert isinstance(matrix, Matrix)
    assert matrix.signs is not None
    expected = np.where(base(content, tensor) > 0, 1, -1)
    assert np.array_equal(matrix.signs(), expected[81 : 81 + matrix.count])


@pytest.mark.parametrize("span", [0, 1 << 40])
def test_a_long_prototype_costs_no_more_than_what_is_asked_of_it(span: int) -> None:
    """2^40 values would be 4 TiB; a file says so in a few bytes."""
    tensor = MaskedSpec("w", (8, 8), 0, span, "keep", np.float32(1.0))
    prototypes = (Prototype(1 << 40, "normal"),)
    tracemalloc.start()
    signs = base_signs(prototypes, tensor, 1, 0, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(np.unique(signs)) == {-1, 1}
    assert peak < 4 << 20


def test_a_long_prototype_starts_over_without_being_drawn_whole() -> None:
    long = MaskedSpec("w", (1 << 20, 1 << 20), 0, 0, "keep", np.float32(1.0))
    prototypes = (Prototype((1 << 39) + 1, "signed"),)
    found = base_signs(prototypes, long, 1, 1 << 39, 65)
    assert np.array_equal(found[1:], base_signs(prototypes, long, 1, 0, 64))
    assert found[0] == base_signs(prototypes, long, 1, 1 << 39, 1)[0]
