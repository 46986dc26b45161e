"""How far rounding moves the logits, measured against known models."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from pemn_compress.data import DataSpec, ImageSet, load_data
from pemn_compress.logits import (
    DEFAULT_TOLERANCE,
    LogitChange,
    check_change,
    held_out_inputs,
    logit_change,
    synthetic_inputs,
)
from pemn_formats.errors import PemnError

SPEC = DataSpec("digits", 2, 1, (2, 3), ("0.5",), ("0.25",), ("a", "b"))


def linear(weight: list[list[float]]) -> nn.Module:
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    return layer.eval()


def test_change_of_a_known_model() -> None:
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    found = logit_change(linear([[1, 0], [0, 1]]), linear([[1, 0], [1.25, 1]]), inputs, "test images")
    # Logits before: (1, 0), (0, 1), (2, 0); after: (1, 1.25), (0, 1), (2, 2.5).
    assert found.largest == 2.5
    assert found.deviation == pytest.approx(math.sqrt(6 / 6 - (4 / 6) ** 2))
    assert found.relative == found.largest / found.deviation
    assert (found.changed_predictions, found.count, found.source) == (2, 3, "test images")
    assert json.loads(json.dumps(found.to_dict()))["relative"] == found.relative


def test_the_same_model_changes_nothing() -> None:
    model = linear([[0.3, -1], [2, 1]])
    found = logit_change(model, model, torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), "x")
    assert (found.largest, found.relative, found.changed_predictions, found.count) == (0, 0, 0, 200)


def test_equal_logits_have_no_deviation() -> None:
    found = logit_change(linear([[0, 0]]), linear([[1, 0]]), torch.ones(2, 2), "x")
    assert (found.deviation, found.relative) == (0, 1)


@pytest.mark.parametrize(("before", "after", "which"), [(math.nan, 1, "trained"), (1, math.inf, "rebuilt")])
def test_logits_must_be_finite(before: float, after: float, which: str) -> None:
    with pytest.raises(PemnError, match=f"the {which} model gives logits that are not finite on test images"):
        logit_change(linear([[before]]), linear([[after]]), torch.ones(3, 1), "test images")


def test_synthetic_images_are_always_the_same_and_normal() -> None:
    inputs = synthetic_inputs(SPEC)
    assert inputs.shape == (64, 1, 2, 3)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, synthetic_inputs(SPEC))
    assert abs(float(inputs.mean())) < 0.1
    assert float(inputs.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("held", "used"), [(3, 3), (256, 256), (359, 256)])
def test_held_out_images_are_spread_over_the_set(held: int, used: int) -> None:
    splits = load_data("digits")
    images = splits.test.subset(torch.arange(held))
    inputs = held_out_inputs(images, splits.spec)
    assert inputs.shape == (used, 1, 8, 8)
    numbered = ImageSet((torch.arange(held) % 256).to(torch.uint8).reshape(held, 1, 1, 1), images.labels)
    plain = DataSpec("digits", 10, 1, (1, 1), ("0",), ("1",), splits.spec.class_names)
    order = held_out_inputs(numbered, plain).reshape(-1) * 255
    assert int(order[0]) == 0
    assert round(float(order[-1])) == ((used - 1) * held // used) % 256


def change(largest: float) -> LogitChange:
    return LogitChange("test images", 256, largest, 2.0, 3)


def test_the_tolerance_is_in_standard_deviations() -> None:
    check_change(change(2 * DEFAULT_TOLERANCE), DEFAULT_TOLERANCE, "round less")
    check_change(change(0.0), 0.0, "round less")
    check_change(change(1e9), math.inf, "round less")
    with pytest.raises(
        PemnError, match=r"by 0.255 .*, the tolerance is 0.25|by 0.255 .*3 of 256.*test images.*is 0.25"
    ):
        check_change(change(0.51), 0.25, "round less")


@pytest.mark.parametrize("tolerance", [-0.1, math.nan])
def test_a_tolerance_is_no_negative_number(tolerance: float) -> None:
    with pytest.raises(PemnError, match="the tolerance must be at least 0"):
        check_change(change(0.0), tolerance, "round less")
