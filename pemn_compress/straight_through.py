"""The line in training: weights forward, and backward as if every code were its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from pemn_compress.at_once import score_gradient, score_gradients, weights
from pemn_compress.learners import Learner
from pemn_compress.line import broadcast_scale
from pemn_compress.tiling import fold, tile

__all__ = ["StraightThrough", "StraightThroughMany", "scaled_value", "transformed_weight"]


class StraightThrough(torch.autograd.Function):
    """select(code, scale * base) of scores (Bengio et al. 2013 for the gradient).

    The gradient of the score is that of the weight times the value, times the learner's direction where it has one:
    for `sign` too, whose codes differ by 2, the factor 1 is taken. Those of a learned scale and of learned values are
    the true ones. Kept are tensors that exist anyway, parameters and fixed values: what else is needed is computed
    again, which costs less than memory for it. They are not saved through autograd, which would count them: activation
    checkpointing then finds the same number whether a weight was made for itself or with the others.

    `scale` is a learned one along dimension 0, or None. `source` holds the values in the scores' shape, times the
    scale where that is fixed; or, with a `constant`, the vector that is tiled and multiplied by it.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        score: torch.Tensor,
        scale: torch.Tensor | None,
        source: torch.Tensor,
        constant: float | None,
        learner: Learner,
    ) -> torch.Tensor:
        # The other style, with `setup_context`, takes three times as long to call.
        ctx.constant, ctx.learner = constant, learner
        ctx.compiled = torch.compiler.is_compiling()
        if ctx.compiled:
            ctx.save_for_backward(score, scale, source)
        else:
            ctx.kept, ctx.versions = (score, scale, source), _versions(score, scale, source)
        weight = learner.select(score, scaled_value(score.shape, scale, source, constant))
        ctx.found = None if ctx.compiled else learner.found()
        return weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        grad, learner = grads[0], ctx.learner
        if not ctx.compiled:
            _check_unchanged(ctx.versions, *ctx.kept)
        score, scale, source = ctx.saved_tensors if ctx.compiled else ctx.kept
        again = learner.found() if ctx.compiled else ctx.found
        to_score = to_scale = to_source = None
        if ctx.needs_input_grad[0]:
            # Not given a name, the scaled values are gone when the effect of the scale below takes their place.
            to_score = score_gradient(learner, score, scaled_value(score.shape, scale, source, ctx.constant), grad)
        if ctx.needs_input_grad[1]:
            effect = learner.select(score, _base(score.shape, source, ctx.constant), again=again).mul_(grad)
            to_scale = effect.reshape(len(effect), -1).sum(1)
        if ctx.needs_input_grad[2]:
            factor = torch.empty_like(score)
            factor = (
                factor.copy_(broadcast_scale(scale, score.dim())) if scale is not None else factor.fill_(ctx.constant)
            )
            to_source = fold(learner.select(score, factor, again=again).mul_(grad), len(source))
        return to_score, to_scale, to_source, None, None


class StraightThroughMany(torch.autograd.Function):
    """The same of many tensors with fixed scales and values: `learners`, values in the scores' shapes, then scores."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, learners: Sequence[Learner], values: Sequence[torch.Tensor], *scores: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.learners, ctx.values, ctx.scores, ctx.versions = learners, values, scores, _versions(*scores)
        made, ctx.compared = weights(learners, scores, values)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        _check_unchanged(ctx.versions, *ctx.scores)
        wanted = [grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad[2:], strict=True)]
        return None, None, *score_gradients(ctx.learners, ctx.scores, ctx.values, wanted, ctx.compared)


def transformed_weight(
    score: torch.Tensor, scale: torch.Tensor | None, source: torch.Tensor, constant: float | None, learner: Learner
) -> torch.Tensor:
    """Return what `StraightThrough` returns, with the same gradients, in operations that `torch.func` knows.

    A zero whose derivative is 1 carries the gradient; it takes several times as long.
    """
    fixed = score.detach()
    code, direction = learner.select(fixed, torch.ones_like(fixed)), learner.direction(fixed)
    zero = score - fixed
    value = scaled_value(score.shape, scale, source, constant)
    return torch.where(code != 0, code * value, 0.0) + value * (zero if direction is None else direction * zero)


def _versions(*tensors: torch.Tensor | None) -> list[int]:
    return [0 if tensor is None else tensor._version for tensor in tensors]


def _check_unchanged(versions: list[int], *tensors: torch.Tensor | None) -> None:
    if _versions(*tensors) != versions:
        raise RuntimeError("scores, scales or values of a mask were changed in place between forward and backward")


def scaled_value(
    shape: Sequence[int], scale: torch.Tensor | None, source: torch.Tensor, constant: float | None
) -> torch.Tensor:
    """Return scale * base in a tensor's shape; may be `source` itself."""
    base = _base(shape, source, constant)
    if scale is not None:
        return broadcast_scale(scale, base.dim()) * base
    return base if constant is None else base * constant


def _base(shape: Sequence[int], source: torch.Tensor, constant: float | None) -> torch.Tensor:
    return source if constant is None else tile(source, math.prod(shape)).reshape(shape)
