"""The rate term: what the masks would cost after entropy coding, as something to differentiate."""

from __future__ import annotations

import torch
from torch import nn

from pemn_compress.masking import masked_weights
from pemn_formats.errors import PemnError

__all__ = ["penalty"]

_EDGE = 1e-6  # keeps the logarithm's slope finite where every bit agrees


def penalty(model: nn.Module, *, temperature: float = 0.5) -> torch.Tensor:
    """Return the estimated bits of all masks, a float32 scalar that can be differentiated.

    The sum over masked tensors of n * H(p), where p is the mean of sigmoid(score / temperature) and H the binary
    entropy; a `ternary` mask adds one sign bit for each weight that is not 0. Add it to the loss times bits' price.
    Raises `PemnError` when nothing is masked or the learner fixes its density.

    >>> import torch, pemn_compress as pemn
    >>> model = pemn.mask_(torch.nn.Linear(8, 4))
    >>> bool(pemn.penalty(model) <= 32)
    True
    """
    if not temperature > 0:
        raise PemnError(f"temperature must be greater than 0, found {temperature}")
    masked = masked_weights(model)
    if not masked:
        raise PemnError("penalty needs masked weights, found none; call mask_ first")
    bits = [
        score.numel() * _rate(weight.learner.probability(score, temperature).mean(), weight.alphabet)
        for _, weight, score in masked
    ]
    return torch.stack(bits).sum()


def _rate(probability: torch.Tensor, alphabet: str) -> torch.Tensor:
    """Return bits per weight."""
    p = probability.clamp(_EDGE, 1.0 - _EDGE)
    entropy = -(p * p.log2() + (1.0 - p) * (1.0 - p).log2())
    return entropy + p if alphabet == "ternary" else entropy
