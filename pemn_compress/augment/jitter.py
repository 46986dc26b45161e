"""Colour jitter: brightness, contrast and saturation by random factors in a random order."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from pemn_compress.augment.blending import brightness_, contrast_, saturation_
from pemn_compress.augment.draws import below, same, unit

__all__ = ["JITTER_WORDS", "ORDERS", "jitter", "jitter_factors"]

_CHANGES = (brightness_, contrast_, saturation_)
ORDERS = tuple(permutations(range(3)))
"""The orders in which brightness (0), contrast (1) and saturation (2) come."""

JITTER_WORDS = 4
"""Words an image takes: the order, then a factor each."""


def jitter_factors(words: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Draw as torchvision's `ColorJitter(strength, strength, strength)` does.

    Args:
        words: int64 (n, JITTER_WORDS).
        strength: largest change.

    Returns:
        The place of each image's order in ORDERS, int64 (n,), and its factors, float64 (n, 3), uniform from
        1 - strength (at least 0) to 1 + strength.
    """
    least = max(0.0, 1.0 - strength)
    return below(words[:, 0], len(ORDERS)), least + (1.0 + strength - least) * unit(words[:, 1:])


def jitter(images: Tensor, orders: Tensor, factors: Tensor) -> Tensor:
    """Change uint8 images of 1 or 3 channels in place and return them; `orders` and `factors` are on the CPU."""
    for members, order in zip(same(orders, len(ORDERS)), ORDERS, strict=True):
        if len(members):
            index = members.to(images.device, non_blocking=True)
            pixels, own = images.index_select(0, index).float(), factors[members]
            for change in order:
                _CHANGES[change](pixels, own[:, change])
            images.index_copy_(0, index, pixels.to(torch.uint8))
    return images
