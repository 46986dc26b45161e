"""The whole of an augmentation: what it depends on, and its statistics beside torchvision's on the same images."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from pemn_compress.augment import BatchAugment
from pemn_compress.train.augment import ImageAugment
from pemn_compress.train.config import TrainConfig
from pemn_formats.errors import PemnError

MEAN = (0.49, 0.48, 0.44)
EVERYTHING = TrainConfig(crop_scale=0.5, shift=2, flip=True, randaugment_n=2, randaugment_m=12, jitter=0.2, erasing=0.5)


def augmented(images: Tensor, config: TrainConfig, epoch: int = 0, only: Tensor | None = None) -> Tensor:
    augment = BatchAugment(config, (images.shape[2], images.shape[3]), MEAN[: images.shape[1]])
    index = torch.arange(len(images)) if only is None else only
    return augment(images[index], augment.words(epoch, len(images))[index])


def test_an_image_does_not_depend_on_the_others_of_its_batch(pictures: Tensor) -> None:
    whole = augmented(pictures, EVERYTHING)
    assert whole.dtype == torch.uint8
    assert whole.shape == pictures.shape
    for index in (torch.tensor([3]), torch.tensor([19, 0, 7]), torch.randperm(20)):
        assert augmented(pictures, EVERYTHING, only=index).equal(whole[index])


def test_images_are_a_function_of_seed_and_epoch(pictures: Tensor) -> None:
    first = augmented(pictures, EVERYTHING)
    assert augmented(pictures, EVERYTHING).equal(first)
    assert not augmented(pictures, EVERYTHING, epoch=1).equal(first)
    assert not augmented(pictures, dataclasses.replace(EVERYTHING, seed=1)).equal(first)


def test_an_option_leaves_the_numbers_of_the_others_alone(pictures: Tensor) -> None:
    flipped = augmented(pictures, TrainConfig(flip=True))
    both = augmented(pictures, TrainConfig(flip=True, erasing=0.5))
    erased = (both != flipped).flatten(1).any(1)
    assert 3 < int(erased.sum()) < 17
    assert both[~erased].equal(flipped[~erased])


def test_nothing_asked_for_changes_nothing(pictures: Tensor) -> None:
    assert augmented(pictures, TrainConfig()).equal(pictures)
    words = BatchAugment(TrainConfig(), (32, 32), MEAN).words(0, 20)
    assert words.shape == (20, 0)


def test_torchs_own_random_state_is_left_alone(pictures: Tensor) -> None:
    before = torch.get_rng_state()
    augmented(pictures, EVERYTHING)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    "options",
    [
        {"crop_scale": 0.4},
        {"shift": 3},
        {"flip": True},
        {"randaugment_n": 2, "randaugment_m": 12},
        {"jitter": 0.4},
        {"erasing": 0.5},
    ],
)
def test_changed_images_have_the_mean_and_spread_of_torchvisions(options: dict[str, float]) -> None:
    # A lopsided picture, so that every option moves its mean somewhere.
    across = torch.linspace(0, 1, 12).view(1, 1, 12) * torch.linspace(0.2, 1, 12).view(1, 12, 1)
    picture = (torch.stack([0.9 * across[0], across[0] ** 2, 1 - across[0]]) * 255).to(torch.uint8)
    count = 2000
    config = TrainConfig(**options)  # type: ignore[arg-type]
    alone = ImageAugment(config, (12, 12), MEAN)
    theirs = torch.stack([alone(picture, seed) for seed in range(count)]).double()
    ours = augmented(picture.expand(count, -1, -1, -1).contiguous(), config).double()
    # 432 pixels: five standard errors are passed in one test of 4,000. Levels differ by rounding: 0.3 of 255.
    for power in (1, 2):
        left, right = (ours / 255) ** power, (theirs / 255) ** power
        error = ((left.var(0) + right.var(0)) / count).sqrt()
        assert ((left.mean(0) - right.mean(0)).abs() <= 5 * error + 0.3 / 255 * power).all()
    assert math.isclose(float(ours.var(0).mean()), float(theirs.var(0).mean()), rel_tol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_changes_images_as_the_cpu_does(pictures: Tensor) -> None:
    many = pictures.repeat(50, 1, 1, 1)
    exact = dataclasses.replace(EVERYTHING, crop_scale=1.0, randaugment_n=0, jitter=0.0)
    for config in (exact, EVERYTHING):
        augment = BatchAugment(config, (many.shape[2], many.shape[3]), MEAN[: many.shape[1]])
        words = augment.words(0, len(many))
        here, there = augment(many.clone(), words), augment(many.cuda(), words).cpu()
        # Blends and crops may round the other way, and another operation may then stretch a level of difference.
        assert (here != there).double().mean() <= (0.0 if config is exact else 0.05)


def test_a_shift_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(PemnError, match="shift must be below the image size 8, found 8"):
        BatchAugment(TrainConfig(shift=8), (8, 9), MEAN)


def test_colours_of_other_channels_are_refused() -> None:
    with pytest.raises(PemnError, match="randaugment and jitter need images of 1 or 3 channels, found 4"):
        BatchAugment(TrainConfig(jitter=0.1), (8, 8), (0.5,) * 4)
    BatchAugment(TrainConfig(erasing=0.1), (8, 8), (0.5,) * 4)
