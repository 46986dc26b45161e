"""Many small tensors at a time: what takes torch several calls for each, in one call of the compiled loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from pemn_compress.learners import Learner
from pemn_compress.learners.comparison import Comparison
from pemn_compress.plain import addresses, eager
from pemn_formats.native import Loops, compiled

__all__ = ["score_gradient", "score_gradients", "weights"]

_MOST = 1 << 15  # scores of a tensor, beyond which torch makes use of its threads

Tensors = Sequence[torch.Tensor]


def weights(
    learners: Sequence[Learner], scores: Tensors, values: Iterable[torch.Tensor]
) -> tuple[list[torch.Tensor], list[Comparison | None]]:
    """Return `learner.select(score, value)` of each, and for `score_gradients` how those here were compared.

    There is at least one, and all learners are of one class.
    """
    made: list[torch.Tensor] = []
    rows: list[float] = []
    held: list[torch.Tensor] = []  # whose addresses are among the rows
    loops = _loops()
    compared = type(learners[0]).comparisons(learners, scores)
    for learner, score, value, comparison in zip(learners, scores, values, compared, strict=True):
        if comparison is None:
            made.append(learner.select(score, value))
            continue
        if loops is not None and (size := score.numel()) <= _MOST and (places := addresses(score, value)):
            weight = torch.empty_like(value)
            rows += weight.data_ptr(), *places, size, comparison.rule, comparison.margin
            made.append(weight)
            held.append(value)
            continue
        made.append(comparison.select(score, value))
    if loops is not None and rows:
        loops.choose(tuple(rows))
    return made, compared


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
        elif comparison is None:
            made.append(score_gradient(learner, score, value, grad))
        elif not comparison.by_sign:
            made.append(value * grad)
        elif loops is not None and (size := score.numel()) <= _MOST and (places := addresses(grad, value, score)):
            to_score = torch.empty_like(value)
            rows += to_score.data_ptr(), *places, size
            made.append(to_score)
            held.append(value)
        else:
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
