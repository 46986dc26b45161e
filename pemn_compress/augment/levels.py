"""Posterize, solarize, autocontrast and equalize: every value of a channel to another, as torchvision does on tensors.

Images are uint8 (n, channels, height, width), on any device; each function gives new ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["autocontrast", "equalize", "posterize", "solarize"]


def posterize(images: Tensor, bits: int) -> Tensor:
    """Keep the top `bits` of each value's eight."""
    return images & (0xFF00 >> bits & 0xFF)


def solarize(images: Tensor, threshold: float) -> Tensor:
    """Invert the values at and above `threshold`."""
    inverted = (images >= threshold).view(torch.uint8) * 255  # on a CPU much faster than torch.where
    return inverted.bitwise_xor_(images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a channel of one value stays as it is."""
    least = images.amin((2, 3), keepdim=True).float()
    most = images.amax((2, 3), keepdim=True).float()
    flat = most == least
    step = ((most - least) * (1.0 / 255.0)).masked_fill_(flat, 1.0)
    pixels = images.float().sub_(least.masked_fill_(flat, 0.0)).div_(step)
    return pixels.clamp_(0.0, 255.0).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Spread each channel's values evenly, by PIL's rule: value v becomes (pixels below v + step // 2) // step.

    `step` is the number of pixels below the greatest value // 255; a channel where that is 0 stays as it is.
    """
    count, channels, height, width = images.shape
    index = images.reshape(count, channels, -1).to(torch.int64)
    histogram = torch.zeros(count, channels, 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, index, histogram.new_ones(1).expand_as(index))
    below = histogram.cumsum(2, dtype=torch.int32) - histogram
    most = images.amax((2, 3)).to(torch.int64)[:, :, None]
    step = below.gather(2, most) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    unchanged = torch.arange(256, dtype=torch.int32, device=images.device)
    table = torch.where(step > 0, table, unchanged).to(torch.uint8)
    return table.gather(2, index).view(count, channels, height, width)
