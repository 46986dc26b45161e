"""Many small tensors at a time: what takes torch several calls for each, in one call of the compiled loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from pemn_compress.learners import Learner
from pemn_compress.learners.comparison import Comparison
from pemn_compress.plain import addresses, eager, has_storage
from pemn_formats.native import Loops, compiled

__all__ = ["score_gradient", "score_gradients", "small_place", "weights"]

_MOST = 1 << 15  # scores of a tensor, beyond which torch makes use of its threads

Tensors = Sequence[torch.Tensor]


def small_place(score: torch.Tensor, value: torch.Tensor) -> tuple[int, ...]:
    """Return the `addresses` of a pair and the number of its scores, if the loops are to choose; else ()."""
    size = score.numel()
    ends = addresses(score, value) if size <= _MOST else ()
    return (*ends, size) if ends else ()


def weights(
    learners: Sequence[Learner],
    scores: Tensors,
    values: Iterable[torch.Tensor],
    *,
    places: Sequence[tuple[int, ...]] | None = None,
    wanted: Sequence[bool] | None = None,
) -> tuple[list[torch.Tensor], list[Comparison | None]]:
    """Return `learner.select(score, value)` of each, and for `score_gradients` how those here were compared.

    There is at least one, and all learners are of one class. `places` are the `small_place` of each, if known; where a
    gradient is `wanted` the weight is a leaf of autograd.
    """
    made: list[torch.Tensor] = []
    rows: list[float] = []
    held: list[torch.Tensor] = []  # whose addresses are among the rows
    loops = _loops()
    compared = type(learners[0]).comparisons(learners, scores)
    for number, (learner, score, value, comparison) in enumerate(zip(learners, scores, values, compared, strict=True)):
        leaf = wanted is not None and wanted[number]
        if comparison is None:
            made.append(learner.select(score, value).requires_grad_(leaf))
        elif loops is not None and (place := small_place(score, value) if places is None else places[number]):
            weight = torch.empty_like(value, requires_grad=leaf)
            rows += weight.data_ptr(), *place, comparison.rule, comparison.margin
            made.append(weight)
            held.append(value)
        else:
            made.append(comparison.select(score, value).requires_grad_(leaf))
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
    straight: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    loops = None if torch.is_grad_enabled() else _loops()
    for learner, score, value, grad, comparison in zip(learners, scores, values, grads, compared, strict=True):
        if grad is None:
            made.append(None)
        elif loops is None or comparison is None or (size := score.numel()) > _MOST or not has_storage(grad):
            made.append(score_gradient(learner, score, value, grad))
        elif not comparison.by_sign:
            straight.append((len(made), value, grad))
            made.append(None)
        elif ends := addresses(grad, value, score):
            to_score = torch.empty_like(value)
            rows += to_score.data_ptr(), *ends, size
            made.append(to_score)
            held.append(value)
        else:
            made.append(score_gradient(learner, score, value, grad))
    if loops is not None and rows:
        loops.carry(tuple(rows))
    if straight:
        numbers, factors, arrived = zip(*straight, strict=True)
        for number, to_score in zip(numbers, torch._foreach_mul(factors, arrived), strict=True):
            made[number] = to_score
    return made


def score_gradient(learner: Learner, score: torch.Tensor, value: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Return value * grad, times the learner's direction where it has one."""
    to_score = value * grad
    direction = learner.direction(score)
    return to_score if direction is None else to_score.mul_(direction)


def _loops() -> Loops | None:
    return compiled() if eager() else None
