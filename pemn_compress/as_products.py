"""Small weights whose gradient is torch's own: recorded as products of scores and values, then overwritten.

What goes straight through to a score is the gradient of the weight times the value: what a product hands back too. So
autograd goes back without Python, which in small nets takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import parametrize

from pemn_compress.learners import Learner
from pemn_compress.plain import addresses, eager
from pemn_formats.native import compiled

__all__ = ["LARGEST", "products"]

LARGEST = 1 << 16
"""Scores of a tensor, beyond which a product takes longer than the calls that it saves."""

Tensors = Sequence[torch.Tensor]


def products(learners: Sequence[Learner], scores: Tensors, values: Tensors) -> Tensors | None:
    """Return `learner.select(score, value)` of each with the gradients of `StraightThrough`, or None.

    Served are tensors in the CPU's memory whose weights a comparison gives; gradients have to pass as they are. Each
    weight serves one backward pass, as all that torch records, and as long as nobody keeps it for longer. It does not
    need its scores for that: they may change meanwhile.
    """
    loops = compiled() if eager() and not (_saving_is_watched() or parametrize._cache_enabled) else None
    if loops is None:
        return None
    places = [addresses(score, value) for score, value in zip(scores, values, strict=True)]
    if not all(places):
        return None
    compared = [found for found in type(learners[0]).comparisons(learners, scores) if found is not None]
    if len(compared) < len(scores):
        return None
    weights: list[torch.Tensor] = []
    rows: list[float] = []
    for score, value, place, comparison in zip(scores, values, places, compared, strict=True):
        weight = score * value  # lies as they do, in memory of its own
        weights.append(weight)
        rows += weight.data_ptr(), *place, score.numel(), comparison.rule, comparison.margin
    loops.choose(tuple(rows))
    return weights


def _saving_is_watched() -> bool:
    """Whether someone counts or moves what autograd saves: recomputed weights, made one by one, save nothing."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
