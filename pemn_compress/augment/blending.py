"""Brightness, contrast, saturation and sharpness: each image by its own factor, as torchvision blends tensors.

Pixels are whole numbers from 0 to 255 in float32 (n, channels, height, width), on any device; factors are float64 (n,),
at least 0. The functions work in place and return their first argument.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["brightness_", "contrast_", "saturation_", "sharpness_"]

_GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue in ITU-R BT.601, as torchvision rounds them


def brightness_(pixels: Tensor, factors: Tensor) -> Tensor:
    """Multiply by the factor: 0 is black, 1 changes nothing."""
    return _whole_(pixels.mul_(_per_image(factors, pixels.device)))


def contrast_(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move each pixel from the mean of the grey image: 0 is grey, 1 changes nothing."""
    return _blend_(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), factors)


def saturation_(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move each pixel from its grey: 0 is grey, 1 changes nothing. Images of one channel stay as they are."""
    return pixels if pixels.shape[1] == 1 else _blend_(pixels, _grey(pixels), factors)


def sharpness_(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move each pixel from the blurred image: 0 is blurred, 1 changes nothing. The edges stay as they are."""
    if min(pixels.shape[2:]) <= 2:
        return pixels
    # The blur weighs the middle 5 and its eight neighbours 1; whole numbers below 2^24 add up exactly.
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1]
    rows += pixels[:, :, 2:]
    blurred = rows[:, :, :, :-2] + rows[:, :, :, 1:-1]
    blurred += rows[:, :, :, 2:]
    inner = pixels[:, :, 1:-1, 1:-1]
    blurred.add_(inner, alpha=4.0).div_(13.0).round_()
    inner.add_(blurred.sub_(inner).mul_(_per_image(1.0 - factors, pixels.device)))
    return _whole_(pixels)


def _grey(pixels: Tensor) -> Tensor:
    """The grey image, (n, 1, height, width), cut to whole numbers."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2]).floor_()


def _blend_(pixels: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """`factors` parts of the pixels, the rest of `other`."""
    rest = other * _per_image(1.0 - factors, pixels.device)
    return _whole_(pixels.mul_(_per_image(factors, pixels.device)).add_(rest))


def _whole_(pixels: Tensor) -> Tensor:
    return pixels.clamp_(0.0, 255.0).floor_()


def _per_image(values: Tensor, device: torch.device) -> Tensor:
    return values.to(device, torch.float32, non_blocking=True).view(-1, 1, 1, 1)
