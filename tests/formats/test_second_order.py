"""Two readers that share no code cut mask chunks into the same matrices, bits alone and shared bits."""

from __future__ import annotations

import random

import numpy as np
import pytest
from chunks import Shape, before_the_border, content_of, empty, some_tensors, tensor_of
from samples import masked_tensor
from second import order
from second.container import mask_parts
from second.manifest import check
from second.text import parse

from pemn_formats.content import Content
from pemn_formats.delta import make_delta
from pemn_formats.lattice import Flat
from pemn_formats.limits import CHUNK_BYTES
from pemn_formats.manifest import manifest_of, to_json
from pemn_formats.mask_lattice import MOST_BLOCKS, mask_lattice

Unit = tuple[str, int, int, Shape]


def by_ours(content: Content, begin: int, end: int) -> list[Unit]:
    found: list[Unit] = []
    for part in mask_lattice(manifest_of(content), content.prototypes, begin, end - begin):
        if isinstance(part, Flat):
            kind = "alone" if part.alone else "shared"
            if kind == "shared" and found and found[-1][0] == kind and found[-1][1] + found[-1][2] == part.start:
                found[-1] = (kind, found[-1][1], found[-1][2] + part.count, ())
            else:
                found += [(kind, part.start, part.count, ())]
        else:
            shape = (part.rows, part.channels, part.height * part.width, part.width)
            found += [("matrix" if part.among is None else "second", part.start, part.rows * part.columns, shape)]
    return found


def by_theirs(content: Content, begin: int, end: int) -> list[Unit]:
    found: list[Unit] = []
    for unit in order.units(mask_parts(check(parse(to_json(manifest_of(content)))), b"", begin, end)):
        if isinstance(unit, order.Matrix):
            shape = (unit.rows, unit.inputs, unit.size, unit.width if unit.size > 1 else 1)
            found += [("second" if unit.second else "matrix", unit.place, unit.rows * unit.columns, shape)]
        elif isinstance(unit, order.Alone):
            found += [("alone", unit.places.start, len(unit.places), ())]
        else:
            cuts = [at for at, place in enumerate(unit.places) if at == 0 or place != unit.places[at - 1] + 1]
            ends = [*cuts[1:], len(unit.places)]
            found += [("shared", unit.places[at], stop - at, ()) for at, stop in zip(cuts, ends, strict=True)]
    return found


def check_order(content: Content) -> list[list[Unit]]:
    """Both readers cut every chunk of a content alike; what they make of each."""
    length = sum(tensor.mask_bytes for tensor in content.masked)
    out = []
    for begin in range(0, length, CHUNK_BYTES):
        end = min(begin + CHUNK_BYTES, length)
        out.append(by_ours(content, begin, end))
        assert out[-1] == by_theirs(content, begin, end)
    return out


def kinds(units: list[Unit]) -> list[str]:
    return [kind for kind, *_ in units]


@pytest.mark.parametrize("alphabet", ["keep", "sign"])
def test_rows_that_a_chunk_cuts_are_shared(alphabet: str) -> None:
    left, right = check_order(content_of(before_the_border(304), empty((100, 1, 3, 3), alphabet)))
    assert kinds(left) == ["alone", "matrix", "shared"]
    assert left[1][2] == 33 * 9
    assert kinds(right) == ["shared", "matrix"]
    assert [units[2] for units in right] == [2, 66 * 9]


def test_a_tensor_of_several_chunks() -> None:
    found = [kinds(units) for units in check_order(content_of(empty((9000, 1000))))]
    assert found == [["matrix", "shared"], ["shared", "matrix", "shared"], ["shared", "matrix"]]


def test_too_few_whole_rows_are_no_matrix() -> None:
    assert [kinds(units) for units in check_order(content_of(before_the_border(160), empty((15, 20))))] == [
        ["alone", "matrix"],
        ["shared"],
    ]
    assert [kinds(units) for units in check_order(content_of(before_the_border(152), empty((24, 20))))] == [
        ["alone", "shared"],
        ["shared", "matrix"],
    ]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (800, ["alone", "matrix", "second"]),
        (200, ["alone", "shared"]),
        (400, ["alone", "shared"]),
        (600, ["alone", "shared"]),
    ],
)
def test_both_planes_of_a_ternary_tensor_lie_in_the_chunk_or_are_no_matrices(left: int, expected: list[str]) -> None:
    tensor = masked_tensor("w", (20, 20), np.ones(400, np.uint8), alphabet="ternary", negative=np.zeros(400, np.uint8))
    found = check_order(content_of(before_the_border(left), tensor, empty((5,), name="after")))
    assert kinds(found[0]) == expected


def test_an_empty_second_plane_lies_in_every_chunk() -> None:
    found = check_order(content_of(before_the_border(400), empty((20, 20), "ternary"), empty((5,), name="after")))
    assert kinds(found[0]) == ["alone", "matrix", "second"]


HALF = MOST_BLOCKS // 2


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(8, HALF), (512,), (8, 8)], ["matrix", "second", "shared"]),
        ([(8, HALF - 5), (600,), (600,), (8, 8)], ["matrix", "second", "alone", "alone", "shared"]),
        ([(8, HALF - 5), (9, 8), (8, 8), (512,)], ["matrix", "second", "shared", "matrix", "shared"]),
        ([(8, HALF + 1), (20, 30)], ["alone", "matrix"]),
        ([(9, HALF // 2 + 1), (9, 16)], ["alone", "matrix"]),
    ],
)
def test_both_form_what_still_fits(shapes: list[Shape], expected: list[str]) -> None:
    """The first tensor is ternary without weights, for which both planes count; the others are not."""
    tensors = [empty(shape, "keep" if at else "ternary", f"t{at}") for at, shape in enumerate(shapes)]
    (found,) = check_order(content_of(*tensors))
    assert kinds(found) == expected


def test_the_largest_chunk_of_the_lowest_matrix_fits() -> None:
    assert [kinds(units) for units in check_order(content_of(empty((8, MOST_BLOCKS))))] == [["matrix"]]


def test_both_cut_any_chunk_alike() -> None:
    rng = random.Random(3)
    for _ in range(150):
        check_order(content_of(*some_tensors(rng, rng.randint(1, 8))))
        before = before_the_border(8 * rng.randrange(1, 200))
        check_order(content_of(before, *some_tensors(rng, 3)))


def test_a_patch_has_no_matrices() -> None:
    old = content_of(tensor_of((16, 40), "sign"), tensor_of((9, 20), "ternary", name="other"))
    new = content_of(tensor_of((16, 40), "sign", seed=8), tensor_of((9, 20), "ternary", seed=8, name="other"))
    patch = make_delta(old, new)
    assert [kinds(units) for units in check_order(patch)] == [["alone", "shared", "shared"]]
