"""Cropping a square at random and resizing it to the whole image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from pemn_compress.augment.draws import below, first_fit, unit

__all__ = ["CROP_WORDS", "crop_boxes", "resized_crop"]

_ATTEMPTS = 10
CROP_WORDS = _ATTEMPTS + 2
"""Words an image takes: the area of each attempt, then the place."""


def crop_boxes(words: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Draw boxes as torchvision's `RandomResizedCrop(size, (scale, 1), ratio=(1, 1))` does.

    Args:
        words: int64 (n, CROP_WORDS).
        size: height and width of the images.
        scale: least part of the area.

    Returns:
        int64 (n, 4): top, left, height, width. Ten squares that do not fit give the central one of the shorter side.
    """
    height, width = size
    area = height * width * (scale + (1.0 - scale) * unit(words[:, :_ATTEMPTS]))
    side = area.sqrt().round().long()
    _, drawn, fitted = first_fit(side, side, (side > 0) & (side <= min(size)))
    side = torch.where(fitted, drawn, min(size))
    top = torch.where(fitted, below(words[:, _ATTEMPTS], height - side + 1), (height - side) // 2)
    left = torch.where(fitted, below(words[:, _ATTEMPTS + 1], width - side + 1), (width - side) // 2)
    return torch.stack((top, left, side, side), 1)


def resized_crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Enlarge the box of each uint8 image to the whole image, bilinearly; boxes are int64 (n, 4) as `crop_boxes`."""
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.to(images.device, torch.float32, non_blocking=True).unbind(1)
    rows = _places(top, tall, height)
    columns = _places(left, wide, width)
    grid = torch.stack((columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)), 3)
    found = grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.round_().to(torch.uint8)


def _places(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where each pixel of an axis looks, (n, size), in units of half the axis from its middle; inside its box."""
    step = (length / size)[:, None]
    middle = (torch.arange(size, device=start.device) + 0.5) * step - 0.5
    inside = torch.minimum(middle.clamp(min=0.0), length[:, None] - 1.0) + start[:, None]
    return (2.0 * inside + 1.0) / size - 1.0
