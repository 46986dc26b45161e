"""Whole recipes of augmentation beside the reference's input: the same operations in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.reference.data import train_loader
from pemn_compress.augment import BatchAugment
from pemn_compress.data import DataSpec, ImageSet, normalise
from pemn_compress.data.downloads import DOWNLOADS
from pemn_compress.train.augment import ImageAugment
from pemn_compress.train.config import TrainConfig

SPEC = DataSpec("cifar10", 10, 3, (12, 12), *DOWNLOADS["cifar10"].constants or ((), ()))
MEAN, STD = (torch.tensor([float(value) for value in values]) for values in (SPEC.mean, SPEC.std))
COUNT = 1500
# Two samples of one distribution are further apart than this once in 10,000 tests (Kolmogorov and Smirnov).
FAR = 2.23 * math.sqrt(2 / COUNT)
RECIPES = {
    "the paper's": {"randaugment_n": 2, "randaugment_m": 12, "jitter": 0.2, "erasing": 0.2},
    "strong": {"randaugment_n": 2, "randaugment_m": 12, "jitter": 1.0, "erasing": 1.0},
}


def picture() -> Tensor:
    """A lopsided picture of low contrast, so that every operation shows."""
    across = torch.linspace(0, 1, 12).view(1, 12) * torch.linspace(0.2, 1, 12).view(12, 1)
    return (torch.stack([0.9 * across, across**2, 1 - across]) * 150 + 40).to(torch.uint8)


def in_batches(config: TrainConfig) -> Tensor:
    augment = BatchAugment(config, SPEC.size, MEAN.tolist())
    return augment(picture().expand(COUNT, -1, -1, -1).contiguous(), augment.words(0, COUNT))


def by_workers(config: TrainConfig) -> Tensor:
    augment, image = ImageAugment(config, SPEC.size, MEAN.tolist()), picture()
    return torch.stack([augment(image, seed) for seed in range(COUNT)])


def references(config: TrainConfig) -> Tensor:
    images = ImageSet(picture().expand(COUNT, -1, -1, -1), torch.zeros(COUNT, dtype=torch.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.cat([pixels for pixels, _ in train_loader(images, SPEC, config, 0)])


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return {name: references(recipe(name)) for name in RECIPES}


def recipe(name: str) -> TrainConfig:
    return TrainConfig(flip=True, **RECIPES[name])  # type: ignore[arg-type]


def figures(images: Tensor) -> dict[str, Tensor]:
    """One number an image; the parts of the mean colour tell what happened after erasing."""
    half_a_level = (0.5001 / 255 / STD).view(1, -1, 1, 1)
    return {
        "erased": (images.abs() <= half_a_level).all(1).double().mean((1, 2)),
        "brightness": images.mean((1, 2, 3)),
        "spread": images.std((1, 2, 3)),
        "colour": (images.amax(1) - images.amin(1)).mean((1, 2)),
        "range": (images.amax((2, 3)) - images.amin((2, 3))).amin(1),
    }


def distance(left: Tensor, right: Tensor, slack: float = 0.03) -> float:
    """How far the two empirical distribution functions are apart, where not by rounding: two levels of 255."""
    left, right = left.sort().values, right.sort().values
    apart = [
        torch.searchsorted(some, some, right=True) - torch.searchsorted(others, some + slack, right=True)
        for some, others in ((left, right), (right, left))
    ]
    return float(torch.cat(apart).max()) / len(left)


@pytest.mark.parametrize("way", [in_batches, by_workers])
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_of_an_image_what_the_references_input_makes_of_it(
    name: str, way: Callable[[TrainConfig], Tensor], expected: dict[str, Tensor]
) -> None:
    ours, theirs = normalise(way(recipe(name)), SPEC).double(), expected[name].double()
    # 432 pixels: five standard errors are passed in one test of 4,000. Levels differ by rounding: 0.3 of 255.
    for power in (1, 2):
        left, right = ours**power, theirs**power
        error = ((left.var(0) + right.var(0)) / COUNT).sqrt()
        level = 0.3 / 255 / STD.view(-1, 1, 1) * power * 2
        assert ((left.mean(0) - right.mean(0)).abs() <= 5 * error + level).all()
    for each, found in figures(ours).items():
        assert distance(found, figures(theirs)[each]) < FAR, each
