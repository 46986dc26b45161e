from __future__ import annotations

import json
from typing import Any

import pytest

from pemn_compress.config import MaskConfig
from pemn_compress.train.config import TrainConfig
from pemn_compress.train.run_config import RunConfig
from pemn_formats.errors import PemnError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, found 0"),
        ({"epochs": 2.0}, "epochs must be a whole number of at least 1, found 2.0"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 2, found True"),
        ({"lr": 0.0}, "lr must be a number above 0, found 0.0"),
        ({"lr": float("nan")}, "lr must be a number above 0, found nan"),
        ({"lr": "fast"}, "lr must be a number above 0, found 'fast'"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0, found -1.0"),
        ({"grad_clip": 0.0}, "grad_clip must be a number above 0, found 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number of at least 0 and below 1, found 1.0"),
        ({"rate": -0.1}, "rate must be a number of at least 0, found -0.1"),
        ({"ema": 1.0}, "ema must be a number of at least 0 and below 1, found 1.0"),
        ({"teacher_weight": 1.5}, "teacher_weight must be a number of at least 0 and at most 1, found 1.5"),
        ({"teacher_temperature": 0.0}, "teacher_temperature must be a number above 0, found 0.0"),
        ({"mixup": -1.0}, "mixup must be a number of at least 0, found -1.0"),
        ({"cutmix": True}, "cutmix must be a number of at least 0, found True"),
        ({"schedule": "step"}, "schedule must be one of piecewise, cosine, found 'step'"),
        ({"amp": "int8"}, "amp must be one of auto, off, bfloat16, float16, found 'int8'"),
        ({"select_on": "train"}, "select_on must be one of validation, test, found 'train'"),
        ({"crop_scale": 0.0}, "crop_scale must be a number above 0 and at most 1, found 0.0"),
        ({"randaugment_m": 31}, "randaugment_m must be a whole number from 0 to 30, found 31"),
        ({"erasing": 1.5}, "erasing must be a number of at least 0 and at most 1, found 1.5"),
        ({"flip": 1}, "flip must be true or false, found 1"),
        ({"channels_last": 1}, "channels_last must be true, false or None, found 1"),
        ({"threads": 0}, "threads must be a whole number from 1 to 1024, found 0"),
        ({"workers": -1}, "workers must be a whole number of at least 0, found -1"),
        ({"device": 0}, "device must be auto, cpu, cuda or cuda:N, found 0"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"validation": 0.0}, "no images are left to choose the best epoch on"),
    ],
)
def test_a_wrong_value_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PemnError, match=message) as raised:
        TrainConfig(**options)
    assert "\n" not in str(raised.value)


def test_json_round_trip() -> None:
    config = TrainConfig(epochs=3, lr=0.5, grad_clip=1.0, validation=0.0, select_on="test", flip=True)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(PemnError, match=r"unknown training option 'momentum'"):
        TrainConfig.from_dict({"momentum": 0.9})


@pytest.mark.parametrize("option", ["crop_scale", "randaugment_n", "jitter", "erasing"])
def test_which_options_work_on_each_image(option: str) -> None:
    value = {"crop_scale": 0.5, "randaugment_n": 2, "jitter": 0.2, "erasing": 0.2}[option]
    assert TrainConfig(**{option: value}).augments_each_image  # type: ignore[arg-type]
    assert not TrainConfig(shift=4, flip=True).augments_each_image


@pytest.mark.parametrize("mask", [None, MaskConfig(strategy="rp", ratio=0.01, seed=3)])
def test_run_options_survive_json_and_flattening(mask: MaskConfig | None) -> None:
    options = RunConfig(data="cifar10", model="vit", model_args={"dim": 64}, mask=mask, train=TrainConfig(seed=3))
    assert RunConfig.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert RunConfig.from_options(options.to_options()) == options


def test_the_seed_goes_to_masks_and_recipe() -> None:
    options = RunConfig.from_options({"seed": 9})
    assert options.mask is not None
    assert (options.mask.seed, options.train.seed) == (9, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regular": True, "density": 0.5}, "density is an option of masks, and a regular run has none"),
        ({"colour": 1}, "unknown option 'colour' of a run"),
        ({"limit_train": 1}, "limit_train must be a whole number of at least 2, found 1"),
        ({"teacher": ""}, "teacher must be the path of a run or a file, found ''"),
        ({"init_from": 3}, "init_from must be the path of a run or a file, found 3"),
        ({"size": 0}, "size must be a whole number of at least 1, found 0"),
    ],
)
def test_run_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PemnError, match=message):
        RunConfig.from_options(options)


def test_what_is_no_set_of_run_options() -> None:
    with pytest.raises(PemnError, match=r"these are no options of a run: found data"):
        RunConfig.from_dict({"data": "digits"})


def test_options_of_an_older_run_are_understood() -> None:
    options = RunConfig(data="digits")
    fields = options.to_dict()
    for name in ("teacher", "init_from"):
        del fields[name]
    for name in ("rate", "ema", "teacher_weight", "teacher_temperature", "mixup", "cutmix"):
        del fields["train"][name]
    assert RunConfig.from_dict(fields) == options
