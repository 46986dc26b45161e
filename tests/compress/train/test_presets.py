from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pemn_compress import models
from pemn_compress.data import DataSpec
from pemn_compress.plan.bytes_of_a_net import bytes_of_a_net
from pemn_compress.train.building import build_model
from pemn_compress.train.presets import PRESETS, resolve
from pemn_compress.train.size_estimate import count_masks, estimate_bytes
from pemn_formats.errors import PemnError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_run(name: str) -> None:
    options = resolve(name, {})
    assert options.model in models.names()
    models.check(options.model, options.model_args)


@pytest.mark.parametrize(("name", "size"), [("12kb", 12_000), ("33kb", 33_000), ("66kb", 66_000), ("170kb", 170_000)])
def test_presets_of_a_size_hold_nets_that_use_it(name: str, size: int) -> None:
    options = resolve(name, {})
    found = bytes_of_a_net(options, DataSpec("cifar10", 10, 3, (32, 32), ("0.5",) * 3, ("0.25",) * 3).to_input())
    assert options.budget == size
    assert found.fewest <= size <= found.most
    assert resolve(name, {"regular": True}).budget is None
    assert not {"dim", "depth", "width"} & set(resolve(name, {"budget": 9_000}).model_args)


def test_paper_is_the_references_command() -> None:
    options = resolve("paper", {})
    train, mask = options.train, options.mask
    assert mask is not None
    assert (mask.strategy, mask.ratio, mask.distribution, mask.scale) == ("rp", 1e-3, "normal", "none")
    assert (mask.learner, mask.density, mask.alphabet) == ("topk", 0.5, "keep")
    assert (train.epochs, train.batch_size, train.lr, train.weight_decay) == (100, 512, 0.05, 0.005)
    assert (train.schedule, train.randaugment_n, train.randaugment_m) == ("piecewise", 2, 12)
    assert (train.jitter, train.erasing, train.crop_scale, train.flip, train.shift) == (0.2, 0.2, 1.0, True, 0)
    assert options.model_args == {"dim": 256, "depth": 6, "kernel": 5, "patch": 2}


@pytest.mark.parametrize(
    ("model", "arguments"),
    [("vit", {"dim": 256, "depth": 6}), ("resnet", {"depth": 32}), ("torchvision.resnet18", {})],
)
def test_paper_gives_other_nets_the_supplements_recipe(model: str, arguments: dict[str, int]) -> None:
    options, convmixer = resolve("paper", {"model": model}), resolve("paper", {"model": "convmixer"})
    train = options.train
    assert convmixer == resolve("paper", {})
    assert (train.lr, train.batch_size, train.epochs, train.weight_decay) == (1e-4, 256, 200, 5e-4)
    assert options.model_args == arguments
    assert options.mask == convmixer.mask
    same = {"lr": 0.05, "batch_size": 512, "epochs": 100, "weight_decay": 0.005}
    assert dataclasses.replace(train, **same) == convmixer.train


@pytest.mark.parametrize(
    ("data", "model", "shift", "flip"),
    [
        ("digits", "mlp", 0, False),
        ("mnist", "convmixer", 0, False),
        ("fashion-mnist", "convmixer", 0, True),
        ("cifar10", "convmixer", 4, True),
        ("folder:photos", "convmixer", 4, True),
    ],
)
def test_the_data_chooses_preset_and_augmentation(data: str, model: str, shift: int, flip: bool) -> None:
    options = resolve(None, {"data": data})
    assert (options.data, options.model, options.train.shift, options.train.flip) == (data, model, shift, flip)


def test_without_options_it_is_the_digits() -> None:
    assert resolve(None, {}) == resolve("digits", {})


@pytest.mark.parametrize(
    ("preset", "explicit", "expected"),
    [
        ("paper", {"lr": 0.01, "flip": False}, {"lr": 0.01, "flip": False, "ratio": 1e-3}),
        ("paper", {"strategy": "mp"}, {"strategy": "mp", "ratio": None, "distribution": "normal"}),
        ("paper", {"values": 100}, {"ratio": None, "values": 100}),
        ("paper", {"ratio": 0.1}, {"ratio": 0.1, "values": None}),
        ("paper", {"model_args": {"depth": 8}}, {"model_args": {"dim": 256, "depth": 8, "kernel": 5, "patch": 2}}),
        ("paper", {"model": "resnet", "model_args": {"depth": 56}}, {"model": "resnet", "model_args": {"depth": 56}}),
        ("paper", {"model": "vit", "lr": 0.01, "epochs": 3}, {"lr": 0.01, "epochs": 3, "batch_size": 256}),
        ("paper", {"model": "vit", "budget": 64_000}, {"model_args": {}, "budget": 64_000}),
        ("default", {"model": "vit"}, {"model_args": {}, "lr": 0.02, "batch_size": 128, "epochs": 30}),
        ("paper", {"regular": True}, {"regular": True}),
    ],
)
def test_what_the_user_says_wins(preset: str, explicit: dict[str, Any], expected: dict[str, Any]) -> None:
    options = resolve(preset, explicit).to_options()
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("preset", "explicit", "message"),
    [
        (
            "papre",
            {},
            r"unknown preset 'papre' \(did you mean 'paper'\?\); known: default, digits, paper, 12kb",
        ),
        ("paper", {"ratio": 0.0}, "ratio must be greater than 0 and at most 1, found 0.0"),
        (None, {"density": 1.5}, "density must lie between 0 and 1, both excluded, found 1.5"),
        (None, {"regular": True, "strategy": "rp"}, "strategy is an option of masks, and a regular run has none"),
        ("paper", {"ratio": 0.1, "values": 3}, "give ratio or values, not both"),
        (None, {"teacher_weight": 0.3}, "teacher_weight is for learning from another net; name one with --teacher"),
        ("12kb", {"teacher_temperature": 3.0}, "teacher_temperature is for learning from another net"),
    ],
)
def test_what_cannot_be_is_named(preset: str | None, explicit: dict[str, Any], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        resolve(preset, explicit)


def test_a_size_may_be_spelled_in_capitals() -> None:
    assert resolve("12KB", {}) == resolve("12kb", {})
    assert resolve(None, {"teacher": "net.pt", "teacher_weight": 0.3}).train.teacher_weight == 0.3


def test_the_digits_recipe_fits_in_six_thousand_bytes() -> None:
    model = build_model(resolve("digits", {}), {"data": "digits", "classes": 10, "channels": 1, "size": [8, 8]})
    assert estimate_bytes(model, count_masks(model)) < 5_200
