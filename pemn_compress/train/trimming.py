"""The last resort of a run with a budget: leave out the least sure of the kept weights until the file fits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pemn_compress.learners.threshold import Threshold
from pemn_compress.masked_weight import MaskedWeight
from pemn_compress.masking import masked_weights

__all__ = ["trim_"]

_MOST = 0.5  # of the kept weights; a net that must lose more has not learned to be small
_HALVINGS = 9


@torch.no_grad()
def trim_(model: nn.Module, fits: Callable[[], bool]) -> bool:
    """Take weights out of the masks of a model with threshold masks until it fits; whether it does then.

    The weights that go are those whose scores lie the least above the threshold, beside the mean of their tensor; of
    equal ones the first go first. Their scores change sign, or for ternary masks come down to the threshold. As few go
    as nine halvings of half of the kept ones find; where half is too little, none does.

    Args:
        model: the model, whose learner is `threshold`.
        fits: whether it is small enough as it is now.
    """
    scores = [score for _, _, score in masked_weights(model)]
    margins = [_margin(weight) for _, weight, _ in masked_weights(model)]
    before = [score.detach().clone() for score in scores]
    sure = torch.cat([_above(score, margin).flatten() for score, margin in zip(before, margins, strict=True)])
    kept = (sure > 0).nonzero().flatten()
    kept = kept[sure[kept].argsort(stable=True)]

    def fits_without(count: int) -> bool:
        gone = torch.zeros_like(sure, dtype=torch.bool)
        gone[kept[:count]] = True
        parts = torch.split(gone, [score.numel() for score in scores])
        for score, own, part, margin in zip(scores, before, parts, margins, strict=True):
            without = -own if margin is None else own.clamp(-margin, margin)
            score.copy_(torch.where(part.view(own.shape), without, own))
        return fits()

    low, high = 0, int(_MOST * len(kept))
    if not high or not fits_without(high):
        for score, own in zip(scores, before, strict=True):
            score.copy_(own)
        return False
    for _ in range(_HALVINGS):
        if high - low < 2:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if fits_without(middle) else (middle, high)
    return fits_without(high)


def _margin(weight: MaskedWeight) -> float | None:
    """The magnitude up to which a ternary code is 0; None for codes of two values."""
    return weight.learner.margin if weight.alphabet == "ternary" and isinstance(weight.learner, Threshold) else None


def _above(score: torch.Tensor, margin: float | None) -> torch.Tensor:
    """How far scores lie above the threshold, beside the mean magnitude of their tensor."""
    return (score if margin is None else score.abs() - margin) / (score.abs().mean() or 1.0)
