"""Random words to numbers, and images sorted by what was drawn for them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["below", "first_fit", "same", "unit"]


def unit(words: Tensor) -> Tensor:
    """Map int64 words in [0, 2^32) to float64 strictly between 0 and 1."""
    return (words.double() + 0.5) * 2.0**-32


def below(words: Tensor, count: Tensor | int) -> Tensor:
    """Map int64 words in [0, 2^32) to int64 from 0 to count - 1, each as likely as the next to one part in 2^32."""
    return words * count >> 32


def same(kinds: Tensor, count: int) -> list[Tensor]:
    """Return, for each kind from 0 to `count` - 1, the ascending indices where `kinds`, int64 on the CPU, has it."""
    sizes = torch.bincount(kinds, minlength=count).tolist()
    return list(torch.split(kinds.argsort(stable=True), sizes))


def first_fit(heights: Tensor, widths: Tensor, fits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the first attempt that fits, as torchvision does in a loop.

    All three have shape (n, attempts). Returns heights, widths and whether any attempt fitted, each of shape (n,).
    """
    chosen = fits.int().argmax(1, keepdim=True)
    return heights.gather(1, chosen)[:, 0], widths.gather(1, chosen)[:, 0], fits.any(1)
