"""Pixels to what a net sees."""

from __future__ import annotations

import torch
from torch import Tensor

from pemn_compress.data.spec import DataSpec

__all__ = ["normalise"]


def normalise(images: Tensor, spec: DataSpec) -> Tensor:
    """Map uint8 images [n, channels, h, w] to float32 `(pixel / 255 - mean) / std`, on the images' device."""

    def column(values: tuple[str, ...]) -> Tensor:
        return torch.tensor([float(v) for v in values], device=images.device).view(1, -1, 1, 1)

    return (images.to(torch.float32) / 255 - column(spec.mean)) / column(spec.std)
