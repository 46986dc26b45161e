"""The last resort of a run with a budget: leave out the least sure of the kept weights until the file fits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pemn_compress.masking import masked_weights

__all__ = ["trim_"]

_MOST = 0.5  # of the kept weights; a net that must lose more has not learned to be small
_HALVINGS = 9


@torch.no_grad()
def trim_(model: nn.Module, fits: Callable[[], bool]) -> bool:
    """Take weights out of the masks of a model with threshold masks until it fits; whether it does then.

    The weights that go are those whose scores are the smallest beside the mean of their tensor; their scores change
    sign. As few go as nine halvings of half of the kept ones find; where half is too little, none does.

    Args:
        model: the model, whose masks are one bit a weight.
        fits: whether it is small enough as it is now.
    """
    scores = [score for _, _, score in masked_weights(model)]
    before = [score.detach().clone() for score in scores]
    sure = [score / (score.abs().mean() or 1.0) for score in before]
    kept = torch.cat([each[each > 0].flatten() for each in sure]).sort().values

    def fits_without(count: int) -> bool:
        least = kept[count - 1] if count else kept.new_zeros(())
        for score, own, each in zip(scores, before, sure, strict=True):
            score.copy_(torch.where((each > 0) & (each <= least), -own, own))
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
