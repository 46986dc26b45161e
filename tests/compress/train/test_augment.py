from __future__ import annotations

import pytest
import torch

from pemn_compress.data import ImageSet
from pemn_compress.train.augment import ImageAugment
from pemn_compress.train.config import TrainConfig

EVERYTHING = TrainConfig(crop_scale=0.5, shift=1, flip=True, randaugment_n=2, randaugment_m=12, jitter=0.2, erasing=1.0)


def test_an_image_is_a_function_of_its_seed(images: ImageSet) -> None:
    augment = ImageAugment(EVERYTHING, (8, 8), (0.5, 0.4, 0.3))
    image = images.images[0]
    first = [augment(image, seed) for seed in range(8)]
    again = [augment(image, seed) for seed in range(8)]
    assert all(left.equal(right) for left, right in zip(first, again, strict=True))
    assert len({left.numpy().tobytes() for left in first}) > 4
    assert all(left.shape == (3, 8, 8) and left.dtype == torch.uint8 for left in first)


def test_torchs_own_random_state_is_left_alone(images: ImageSet) -> None:
    before = torch.get_rng_state()
    ImageAugment(EVERYTHING, (8, 8), (0.5, 0.4, 0.3))(images.images[0], 1)
    assert torch.get_rng_state().equal(before)


def test_an_erased_rectangle_takes_the_mean(images: ImageSet) -> None:
    config = TrainConfig(erasing=1.0)
    changed = ImageAugment(config, (8, 8), (0.5, 0.4, 0.3))(torch.zeros(3, 8, 8, dtype=torch.uint8), 3)
    erased = changed.flatten(1)[:, changed.flatten(1).sum(0) > 0]
    assert erased.shape[1] > 0
    assert erased.unique(dim=1).flatten().tolist() == [128, 102, 76]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_images_go_through_everything(channels: int) -> None:
    image = torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8)
    augment = ImageAugment(EVERYTHING, (8, 8), (0.5,) * channels)
    for seed in range(40):
        assert augment(image, seed).shape == image.shape
