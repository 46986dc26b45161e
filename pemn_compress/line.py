"""The one line that every masked weight is: select(code, scale * base), in torch."""

from __future__ import annotations

import torch

__all__ = ["broadcast_scale", "select"]

_SIGN_BIT = -(1 << 31)


def broadcast_scale(scale: torch.Tensor, dims: int) -> torch.Tensor:
    """Return a scale of shape () or (channels,) so that it multiplies along dimension 0 of a tensor of `dims` axes."""
    return scale.reshape(-1, *(1,) * (dims - 1)) if scale.dim() else scale


def select(code: torch.Tensor, value: torch.Tensor, alphabet: str) -> torch.Tensor:
    """Return the weights of float32 values, in their shape, without a gradient.

    `code` is bool for `keep` (value or +0.0) and `sign` (value or its negative), int8 for `ternary`. It works on the
    bits of the values: a product with the code would turn zeros into negative zeros, and `torch.where` on the CPU
    branches at every weight, which random codes make ten times slower.
    """
    bits = value.view(torch.int32)
    if alphabet == "keep":
        bits = bits & _all_ones(code)
    elif alphabet == "sign":
        bits = bits ^ (_all_ones(~code) & _SIGN_BIT)
    else:
        bits = (bits ^ (_all_ones(code < 0) & _SIGN_BIT)) & _all_ones(code != 0)
    return bits.view(torch.float32)


def _all_ones(condition: torch.Tensor) -> torch.Tensor:
    """Return int32 with every bit set where the condition holds, and none elsewhere."""
    return -condition.to(torch.int32)
