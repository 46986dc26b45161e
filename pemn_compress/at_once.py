"""Many small tensors at a time: what takes torch several calls for each, in one call of the compiled loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from pemn_compress.learners import Learner
from pemn_compress.learners.comparison import BRIEF, Comparison
from pemn_compress.plain import address, eager, memory_order
from pemn_formats.native import Loops, compiled

__all__ = ["score_gradient", "score_gradients", "weights"]

_MOST = 1 << 15  # scores of a tensor, beyond which torch makes use of its threads

Tensors = Sequence[torch.Tensor]


def weights(
    learners: Sequence[Learner], scores: Tensors, values: Iterable[torch.Tensor]
) -> tuple[list[torch.Tensor], list[Comparison | None]]:
    """Return `learner.select(score, value)` of each, and for `score_gradients` how those here were compared."""
    made: list[torch.Tensor] = []
    found: list[Comparison | None] = []
    rows: list[float] = []
    held: list[torch.Tensor] = []  # whose addresses are among the rows
    loops = _loops()
    for learner, score, value in zip(learners, scores, values, strict=True):
        comparison = learner.comparison(score)
        found.append(comparison)
        if comparison is None:
            made.append(learner.select(score, value))
            continue
        if loops is not None and comparison.rule not in BRIEF and (size := score.numel()) <= _MOST:
            order = memory_order(value)
            here, there = address(score, size, order), address(value, size, order)
            if here and there:
                weight = torch.empty_like(value)
                rows += weight.data_ptr(), here, there, size, comparison.rule, comparison.margin
                made.append(weight)
                held.append(value)
                continue
        made.append(comparison.select(score, value))
    if loops is not None and rows:
        loops.choose(tuple(rows))
    return made, found


def score_gradients(
    learners: Sequence[Learner],
    scores: Tensors,
    values: Iterable[torch.Tensor],
    grads: Sequence[torch.Tensor | None],
    compared: Sequence[Comparison | None],
) -> list[torch.Tensor | None]:
    """Return `score_gradient` of each; None where there is no gradient."""
    made: list[torch.Tensor | None] = []
    rows: list[int] = []
    held: list[torch.Tensor] = []
    loops = None if torch.is_grad_enabled() else _loops()
    for learner, score, value, grad, comparison in zip(learners, scores, values, grads, compared, strict=True):
        if grad is None:
            made.append(None)
            continue
        if comparison is not None and not comparison.by_sign:
            made.append(value * grad)
            continue
        if loops is not None and comparison is not None and (size := score.numel()) <= _MOST:
            order = memory_order(value)
            places = address(grad, size, order), address(value, size, order), address(score, size, order)
            if all(places):
                to_score = torch.empty_like(value)
                rows += to_score.data_ptr(), *places, size
                made.append(to_score)
                held.append(value)
                continue
        made.append(score_gradient(learner, score, value, grad))
    if loops is not None and rows:
        loops.carry(tuple(rows))
    return made


def score_gradient(learner: Learner, score: torch.Tensor, value: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Return value * grad, times the learner's direction where it has one."""
    to_score = value * grad
    direction = learner.direction(score)
    return to_score if direction is None else to_score.mul_(direction)


def _loops() -> Loops | None:
    return compiled() if eager() else None
