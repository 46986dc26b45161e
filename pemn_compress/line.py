"""The one line that every masked weight is: select(code, scale * base), in torch."""

from __future__ import annotations

import torch

__all__ = ["SIGN_BIT", "broadcast_scale", "keep_beyond", "select", "with_sign_of"]

SIGN_BIT = -(1 << 31)
"""The sign of a float32 among the bits of an int32."""


def broadcast_scale(scale: torch.Tensor, dims: int) -> torch.Tensor:
    """Return a scale of shape () or (channels,) so that it multiplies along dimension 0 of a tensor of `dims` axes."""
    return scale.reshape(-1, *(1,) * (dims - 1)) if scale.dim() else scale


def select(code: torch.Tensor, value: torch.Tensor, alphabet: str) -> torch.Tensor:
    """Return the weights of float32 values, in their shape, without a gradient.

    `code` is bool for `keep` (value or +0.0) and `sign` (value or its negative), int8 for `ternary`. It works on the
    bits of the values: a product with the code would turn zeros into negative zeros, and `torch.where` on the CPU
    branches at every weight, which random codes make ten times slower.
    """
    bits, mask = value.view(torch.int32), code.to(torch.int32)
    if alphabet == "keep":
        mask = mask.neg_().bitwise_and_(bits)
    elif alphabet == "sign":
        mask = mask.sub_(1).bitwise_and_(SIGN_BIT).bitwise_xor_(bits)
    else:
        signed = (mask & SIGN_BIT).bitwise_xor_(bits)
        mask = mask.bitwise_and_(1).neg_().bitwise_and_(signed)
    return mask.view(torch.float32)


def keep_beyond(margin: float, score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the value where abs(score) > margin >= 0, +0.0 elsewhere: the backward of hardshrink, in one pass."""
    if torch.compiler.is_compiling():  # which fuses passes by itself, and cannot trace that one for all shapes
        return torch.where(score.abs() > margin, value, 0.0)
    weight: torch.Tensor = torch.ops.aten.hardshrink_backward.default(value, score, margin)
    return weight


def with_sign_of(score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the value, negated where the sign bit of the score is set."""
    return (score.view(torch.int32) & SIGN_BIT).bitwise_xor_(value.view(torch.int32)).view(torch.float32)
