"""The line in training: weights forward, and backward as if every code were its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from pemn_compress.learners import Learner
from pemn_compress.line import broadcast_scale
from pemn_compress.tiling import fold, tile

__all__ = ["StraightThrough", "scaled_value"]


class StraightThrough(torch.autograd.Function):
    """select(code, scale * base) of scores (Bengio et al. 2013 for the gradient).

    The gradient of the score is that of the weight times the value, times the learner's direction where it has one:
    for `sign` too, whose codes differ by 2, the factor 1 is taken. Those of a learned scale and of learned values are
    the true ones. Saved are tensors that exist anyway: what else is needed is computed again, which costs less than
    memory for it.

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
        ctx.save_for_backward(score, scale, source)
        return learner.select(score, scaled_value(score.shape, scale, source, constant))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        grad, learner = grads[0], ctx.learner
        score, scale, source = ctx.saved_tensors
        to_score = to_scale = to_source = None
        if ctx.needs_input_grad[0]:
            to_score = scaled_value(score.shape, scale, source, ctx.constant) * grad
            direction = learner.direction(score)
            if direction is not None:
                to_score.mul_(direction)
        if ctx.needs_input_grad[1]:
            effect = learner.select(score, _base(score.shape, source, ctx.constant), again=True).mul_(grad)
            to_scale = effect.reshape(len(effect), -1).sum(1)
        if ctx.needs_input_grad[2]:
            factor = torch.empty_like(score)
            factor = (
                factor.copy_(broadcast_scale(scale, score.dim())) if scale is not None else factor.fill_(ctx.constant)
            )
            to_source = fold(learner.select(score, factor, again=True).mul_(grad), len(source))
        return to_score, to_scale, to_source, None, None


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
