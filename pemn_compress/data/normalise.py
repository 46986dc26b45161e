"""Pixels to what a net sees."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from pemn_compress.data.spec import DataSpec

__all__ = ["normalise"]


def normalise(images: Tensor, spec: DataSpec) -> Tensor:
    """Map uint8 images [n, channels, h, w] to float32 `(pixel / 255 - mean) / std`, on the images' device."""

    pixels = images.to(torch.float32, copy=True).div_(255)
    return pixels.sub_(_column(spec.mean, images.device)).div_(_column(spec.std, images.device))


@lru_cache(maxsize=64)
def _column(values: tuple[str, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([float(v) for v in values], device=device).view(1, -1, 1, 1)
