import dataclasses

import numpy as np
import pytest
import torch

from pemn_compress.data import DataSpec, ImageSet
from pemn_compress.data.statistics import mean_and_std
from pemn_formats.errors import FormatError, PemnError

SPEC = DataSpec("digits", 10, 1, (8, 8), ("0.305",), ("0.376",), tuple("0123456789"))
INPUT = {"data": "digits", "channels": 1, "size": [8, 8], "classes": 10, "mean": ["0.305"], "std": ["0.376"]}


def test_input_is_the_manifests():
    assert SPEC.to_input() == INPUT
    assert DataSpec.from_input(INPUT) == dataclasses.replace(SPEC, class_names=())


def test_a_folders_path_stays_on_the_machine():
    assert dataclasses.replace(SPEC, name="folder:/home/ada/pictures").to_input()["data"] == "folder"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "classes is 0"),
        ({"classes": True}, "classes is True"),
        ({"channels": 2}, r"mean is \('0.305',\); expected one decimal string per channel \(2\)"),
        ({"size": [8]}, r"image size is \(8,\)"),
        ({"size": [8, -8]}, "image side is -8"),
        ({"size": 8}, "size is a int; expected a list"),
        ({"mean": ["nan"]}, "mean holds 'nan'"),
        ({"mean": ["1e9"]}, "mean holds '1e9'"),
        ({"mean": ["0.3\n"]}, "mean holds '0.3"),
        ({"mean": [0.3]}, "mean holds 0.3; expected a decimal string"),
        ({"std": ["0.0"]}, "std is 0.0; expected numbers above 0"),
        ({"std": ["-1"]}, "std is -1"),
        ({"data": ""}, "data name is ''"),
        ({"data": 3}, "data name is 3"),
        ({"more": 1}, "not an object with exactly data, channels"),
    ],
)
def test_hostile_inputs_are_format_errors(change, message):
    with pytest.raises(FormatError, match=message):
        DataSpec.from_input(INPUT | change)


@pytest.mark.parametrize("found", [None, [], "digits", {}])
def test_inputs_that_are_no_objects_are_format_errors(found):
    with pytest.raises(FormatError, match="not an object"):
        DataSpec.from_input(found)


def test_class_names_must_match_the_classes():
    with pytest.raises(PemnError, match="2 class names for 10 classes"):
        dataclasses.replace(SPEC, class_names=("a", "b"))


def test_mean_and_deviation_agree_with_numpy():
    images = np.random.default_rng(0).integers(0, 256, (1500, 3, 4, 5), dtype=np.uint8)
    images[:, 2] //= 3
    mean, std = mean_and_std(images)
    wanted = images / 255
    assert [float(m) for m in mean] == pytest.approx(wanted.mean((0, 2, 3)), abs=5.1e-5)
    assert [float(s) for s in std] == pytest.approx(wanted.std((0, 2, 3)), abs=5.1e-5)


def test_a_constant_channel_has_deviation_one():
    assert mean_and_std(np.full((2, 1, 3, 3), 51, dtype=np.uint8)) == (("0.2000",), ("1.0000",))


def test_image_set_length_and_subset():
    images = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    every = ImageSet(images, torch.arange(6))
    chosen = every.subset([4, 1])
    assert (len(every), len(chosen)) == (6, 2)
    assert chosen.labels.tolist() == [4, 1]
    assert torch.equal(chosen.images, images[[4, 1]])
    assert len(every.subset([])) == 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), "images are torch.float32"),
        (
            torch.zeros(2, 2, 2, dtype=torch.uint8),
            torch.zeros(2, dtype=torch.int64),
            r"images are torch.uint8 \(2, 2, 2\)",
        ),
        (
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
            torch.zeros(3, dtype=torch.int64),
            r"labels are torch.int64 \(3,\)",
        ),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2), "labels are torch.float32"),
    ],
)
def test_image_sets_of_the_wrong_kind_are_refused(images, labels, message):
    with pytest.raises(PemnError, match=message):
        ImageSet(images, labels)
