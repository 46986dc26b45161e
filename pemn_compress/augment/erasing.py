"""Random erasing (Zhong et al. 2020): a rectangle of the image takes one colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pemn_compress.augment.draws import below, first_fit, unit

__all__ = ["ERASING_WORDS", "erase", "erased_boxes"]

_ATTEMPTS = 10
_AREA = (0.02, 0.33)
_RATIO = (math.log(0.3), math.log(3.3))
ERASING_WORDS = 3 + _ATTEMPTS
"""Words an image takes: whether, the place twice, then area and shape of each attempt in one."""


def erased_boxes(words: Tensor, size: tuple[int, int], probability: float) -> Tensor:
    """Draw boxes as torchvision's `RandomErasing(probability)` does.

    Args:
        words: int64 (n, ERASING_WORDS).
        size: height and width of the images.
        probability: that an image loses a box at all.

    Returns:
        int64 (n, 4): top, left, height, width; all 0 where nothing is erased.
    """
    height, width = size
    attempts = words[:, 3:]
    area = height * width * _between(*_AREA, attempts >> 16)
    ratio = _between(*_RATIO, attempts & 0xFFFF).exp()
    tall, wide = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    tall, wide, fitted = first_fit(tall, wide, (tall < height) & (wide < width))
    top, left = below(words[:, 1], height - tall + 1), below(words[:, 2], width - wide + 1)
    erased = fitted & (unit(words[:, 0]) < probability)
    return torch.stack((top, left, tall, wide), 1) * erased[:, None]


def erase(images: Tensor, boxes: Tensor, colour: Sequence[int]) -> Tensor:
    """Give the box of each uint8 image, int64 (n, 4) as of `erased_boxes`, the colour, one value a channel."""
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.to(images.device, non_blocking=True)[:, :, None].unbind(1)
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows, columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    inside = (rows[:, None, :, None] & columns[:, None, None, :]).view(torch.uint8)
    value = torch.tensor(list(colour), dtype=torch.uint8).to(images.device, non_blocking=True).view(1, -1, 1, 1)
    return images * (1 - inside) + inside * value  # on a CPU much faster than torch.where


def _between(least: float, most: float, halves: Tensor) -> Tensor:
    """Map 16-bit integers to the middles of as many equal parts of a range."""
    return least + (most - least) * ((halves.double() + 0.5) * 2.0**-16)
