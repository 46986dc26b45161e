"""The line in training: weights forward, and backward as if every code were its score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch

from pemn_compress.at_once import score_gradient
from pemn_compress.learners import Learner
from pemn_compress.line import broadcast_scale
from pemn_compress.tiling import fold, tile

__all__ = [
    "StraightThrough",
    "check_unchanged",
    "learned_gradients",
    "scaled_value",
    "transformed_weight",
    "versions",
]


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
            ctx.kept, ctx.versions = (score, scale, source), versions(score, scale, source)
        weight = learner.select(score, scaled_value(score.shape, scale, source, constant))
        ctx.found = None if ctx.compiled else learner.found()
        return weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        grad, learner = grads[0], ctx.learner
        if not ctx.compiled:
            check_unchanged(ctx.versions, *ctx.kept)
        score, scale, source = ctx.saved_tensors if ctx.compiled else ctx.kept
        again = learner.found() if ctx.compiled else ctx.found
        to_score = None
        if ctx.needs_input_grad[0]:
            # Not given a name, the scaled values are gone when the effect of the scale below takes their place.
            to_score = score_gradient(learner, score, scaled_value(score.shape, scale, source, ctx.constant), grad)
        chosen = partial(learner.select, score, again=again)
        learned = learned_gradients(chosen, score, scale, source, ctx.constant, grad, ctx.needs_input_grad[1:3])
        return to_score, *learned, None, None


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


def learned_gradients(
    chosen: Callable[[torch.Tensor], torch.Tensor],
    score: torch.Tensor,
    scale: torch.Tensor | None,
    source: torch.Tensor,
    constant: float | None,
    grad: torch.Tensor,
    wanted: Sequence[bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the gradients of a learned scale and of learned values, as far as they are wanted.

    `chosen` selects among other values as the forward did.
    """
    to_scale = to_source = None
    if wanted[0]:
        effect = chosen(_base(score.shape, source, constant)).mul_(grad)
        to_scale = effect.reshape(len(effect), -1).sum(1)
    if wanted[1]:
        factor = torch.empty_like(score)
        if scale is not None:
            factor.copy_(broadcast_scale(scale, score.dim()))
        else:
            factor.fill_(cast(float, constant))
        to_source = fold(chosen(factor).mul_(grad), len(source))
    return to_scale, to_source


def versions(*tensors: torch.Tensor | None) -> list[int]:
    """Return how often each tensor was changed in place."""
    return [0 if tensor is None else tensor._version for tensor in tensors]


def check_unchanged(before: list[int], *tensors: torch.Tensor | None) -> None:
    """Raise `RuntimeError` where versions are others than before."""
    if versions(*tensors) != before:
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
