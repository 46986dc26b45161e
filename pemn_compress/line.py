"""The one line that every masked weight is: select(code, scale * base), in torch."""

from __future__ import annotations

import torch

__all__ = ["broadcast_scale", "select"]


def broadcast_scale(scale: torch.Tensor, dims: int) -> torch.Tensor:
    """Return a scale of shape () or (channels,) so that it multiplies along dimension 0 of a tensor of `dims` axes."""
    return scale.reshape(-1, *(1,) * (dims - 1)) if scale.dim() else scale


def select(code: torch.Tensor, value: torch.Tensor, alphabet: str) -> torch.Tensor:
    """Return the weights of float32 values, in their shape.

    `code` is bool for `keep` (value or +0.0) and `sign` (value or its negative), int8 for `ternary`. It selects and is
    never multiplied: a product would turn zeros into negative zeros.
    """
    if alphabet == "keep":
        return torch.where(code, value, 0.0)
    if alphabet == "sign":
        return torch.where(code, value, -value)
    return torch.where(code == 0, 0.0, torch.where(code < 0, -value, value))
