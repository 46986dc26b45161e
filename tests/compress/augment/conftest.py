"""Images to change, and torchvision's draws to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pemn_formats.philox import words

Draw = Callable[[int], Tensor]


@pytest.fixture
def draw() -> Callable[[int, int], Tensor]:
    """int64 words (n, columns), as an augmentation gets them."""

    def make(count: int, columns: int) -> Tensor:
        return torch.from_numpy(words(3, 1, 0, count * columns).astype(np.int64)).reshape(count, columns)

    return make


@pytest.fixture(params=["colour", "grey", "wide"])
def pictures(request: pytest.FixtureRequest) -> Tensor:
    """Images with smooth parts, edges, noise, and channels of one value; the wide ones are not square."""
    generator = torch.Generator().manual_seed(1)
    size = (20, 32) if request.param == "wide" else (32, 32)
    coarse = torch.rand(20, 3, 4, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    images = smooth.mul(255).clamp(0, 255).to(torch.uint8)
    images[4] = torch.randint(0, 256, images[4].shape, generator=generator, dtype=torch.uint8)
    images[5] = 7
    images[6, :, 5:9, 3:20] = 255
    images[7, 1] = images[7, 0]
    return images[:, :1] if request.param == "grey" else images
