"""What differs between two contents, by hand and in general."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from samples import SAMPLES, before_and_after, contents, dense, keep_tile, masked_tensor, one_tensor, random_bits

from pemn_formats.bundle import join
from pemn_formats.content import Content, Prototype
from pemn_formats.diff import MaskDiff, SettingDiff, ValueDiff, diff
from pemn_formats.errors import PemnError
from pemn_formats.writer import content_id


def values_of(left: Any, right: Any, dtype: str = "float32", other: str | None = None) -> ValueDiff:
    one, two = (
        replace(one_tensor(), residual=(dense("v", values, kind),))
        for values, kind in ((left, dtype), (right, other or dtype))
    )
    (found,) = diff(one, two).values
    return found


@given(contents())
def test_a_content_does_not_differ_from_itself(content: Content) -> None:
    found = diff(content, content)
    assert found.equal
    assert not any(each.changed for each in (*found.masks, *found.values))
    assert (found.settings, found.only_left, found.only_right) == ((), (), ())
    assert sum(each.weights for each in found.masks) == sum(tensor.numel for tensor in content.masked)


@given(contents(), contents())
def test_it_is_symmetric_and_says_equal_for_equal_ids_alone(left: Content, right: Content) -> None:
    there, back = diff(left, right), diff(right, left)
    assert there.masks == back.masks
    assert sorted(map(str, there.values)) == sorted(map(str, back.values))
    assert (there.only_left, there.only_right) == (back.only_right, back.only_left)
    assert there.equal == (content_id(left) == content_id(right))
    json.dumps(there.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "patch"])
def test_every_kind_of_file_can_be_compared(name: str) -> None:
    content = SAMPLES[name]()
    assert diff(content, content).equal


def test_masks_differ_by_their_bits() -> None:
    bits = random_bits(1000, 0.3, 1)
    changed = bits.copy()
    changed[[0, 7, 8, 999]] ^= 1
    found = diff(one_tensor(1000, bits=bits), one_tensor(1000, bits=changed))
    assert found.masks == (MaskDiff("w", 1000, 4),)
    assert not found.equal
    assert (found.to_dict()["mask_changed"], found.to_dict()["mask_weights"]) == (4, 1000)


def test_ternary_masks_differ_by_their_codes() -> None:
    """+, -, 0 against -, -, +, then a weight that both keep: two codes and not five bits."""

    def content(bits: list[int], negative: list[int]) -> Content:
        tensor = masked_tensor("t", (4,), np.array(bits), alphabet="ternary", negative=np.array(negative))
        return Content(0, (Prototype(4, "signed"),), (tensor,))

    found = diff(content([1, 1, 0, 1], [0, 1, 0]), content([1, 1, 1, 1], [1, 1, 0, 0]))
    assert found.masks == (MaskDiff("t", 4, 2),)


@pytest.mark.parametrize(
    ("left", "right", "dtype", "changed", "largest"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.5, 2.75], "float16", 2, 0.5),
        ([0.0], [-0.0], "float32", 1, 0.0),
        ([np.nan, 1.0], [np.nan, 1.0], "float32", 0, 0.0),
        ([np.nan], [1.0], "float32", 1, None),
        ([np.inf], [1.0], "float64", 1, None),
        ([3, 4], [3, -4], "int64", 1, 8.0),
        ([1 << 60], [(1 << 60) + 1], "int64", 1, 0.0),
        ([0, 255], [255, 255], "uint8", 1, 255.0),
        ([True, False], [True, True], "bool", 1, 1.0),
        ([0x3F80], [0x4000], "bfloat16", 1, 1.0),
        ([1.0, 0.5], [1.0, 0.25], "log8", 1, 0.25),
        ([], [], "float32", 0, 0.0),
        (2.0, 3.0, "float32", 1, 1.0),
    ],
)
def test_values_differ_as_numbers(left: Any, right: Any, dtype: str, changed: int, largest: float | None) -> None:
    found = values_of(left, right, dtype)
    assert (found.kind, found.values, found.changed) == ("dense", np.size(left), changed)
    assert found.largest == (largest if largest is None else pytest.approx(largest, rel=1e-12))


def test_values_of_two_types_are_compared_and_the_type_is_a_setting() -> None:
    assert values_of([1.0, 0.1], [1.0, 0.1], "float32", "float16").changed == 1
    left, right = (replace(one_tensor(), residual=(dense("v", [1.0], kind),)) for kind in ("float32", "float16"))
    assert diff(left, right).settings == (SettingDiff("v", "dtype", "float32", "float16"),)


def test_explicit_prototypes_are_values() -> None:
    old, new = before_and_after()
    assert ValueDiff("prototype 0", "prototype", 20, 1, 1.0) in diff(old, new).values


def test_entries_of_another_shape_or_alphabet_are_settings() -> None:
    left = one_tensor(24)
    shaped = replace(left, masked=(replace(left.masked[0], shape=(4, 6)),))
    signed = replace(left, masked=(replace(left.masked[0], alphabet="sign"),))
    assert diff(left, shaped).settings == (SettingDiff("w", "shape", [24], [4, 6]),)
    assert diff(left, shaped).masks == diff(left, signed).masks == ()
    assert diff(left, signed).settings == (SettingDiff("w", "alphabet", "keep", "sign"),)


def test_values_of_another_shape_are_not_compared() -> None:
    one, two = (replace(one_tensor(), residual=(dense("v", [1.0] * count, "float32"),)) for count in (3, 4))
    found = diff(one, two)
    assert found.values == ()
    assert found.settings == (SettingDiff("v", "shape", [3], [4]),)


def test_what_one_side_alone_has() -> None:
    left = replace(one_tensor(), residual=(dense("v", [1.0]),))
    right = replace(one_tensor(), residual=(dense("u", [[1.0], [2.0]], "float32", "bn", 1e-5),))
    right = replace(right, masked=(replace(right.masked[0], name="x"),))
    found = diff(left, right)
    assert (found.only_left, found.only_right) == (("w", "v (dense)"), ("x", "u (bn)"))


def test_settings_differ_by_name() -> None:
    left = keep_tile()
    right = replace(
        left,
        seed=1,
        prototypes=(Prototype(6, "uniform"),),
        architecture={"name": "mlp", "args": {"width": 4, "bias": True}},
        input={**left.input, "classes": 6},  # type: ignore[dict-item]
        aliases={"tied.weight": "head.weight"},
        extra={"note": "changed"},
    )
    found = {(each.of, each.setting): (each.left, each.right) for each in diff(left, right).settings}
    assert found == {
        ("", "seed"): (2022, 1),
        ("", "prototype 0"): ("7 signed", "6 uniform"),
        ("", "architecture width"): (3, 4),
        ("", "architecture act"): ("gelu", None),
        ("", "input classes"): (5, 6),
        ("", "alias tied.bias"): ("head.bias", None),
        ("", "extra note"): ("kept", "changed"),
        ("", "extra nested"): (left.extra["nested"], None),
    }


def test_notes_alone_leave_the_contents_equal() -> None:
    found = diff(one_tensor(), replace(one_tensor(), extra={"n": 1}))
    assert found.equal
    assert found.settings == (SettingDiff("", "extra n", None, 1),)


def test_bundles_are_compared_task_by_task() -> None:
    left = join({"a": keep_tile(), "b": keep_tile()})
    right = join({"a": keep_tile(), "b": replace(keep_tile(), architecture=None)})
    found = diff(left, right)
    assert {each.setting for each in found.settings} >= {"task b: architecture", "task b: architecture width"}
    assert not any("task a" in each.setting for each in found.settings)
    assert [each.name for each in found.masks] == ["a:stem.weight", "a:head.weight", "b:stem.weight", "b:head.weight"]


def test_a_patch_is_refused() -> None:
    patch = SAMPLES["patch"]()
    for pair in ((patch, one_tensor()), (one_tensor(), patch)):
        with pytest.raises(PemnError, match=r"^the file is a delta of content [0-9a-f]{64}, no model"):
            diff(*pair)
