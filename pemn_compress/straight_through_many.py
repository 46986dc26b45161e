"""The line in training for many tensors in one call of autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from pemn_compress.at_once import score_gradients, weights
from pemn_compress.learners import Learner
from pemn_compress.straight_through import check_unchanged, learned_gradients, scaled_value, versions
from pemn_compress.tiling import tile

__all__ = ["Ingredients", "StraightThroughFixed", "StraightThroughMany"]


class Ingredients(NamedTuple):
    """What a weight is made of beside its scores; see `StraightThrough`."""

    learner: Learner
    scale: torch.Tensor | None
    source: torch.Tensor
    constant: float | None


class StraightThroughFixed(torch.autograd.Function):
    """`StraightThrough` of many tensors whose scores are all that is learned.

    What the others below need besides would take its time in every step of a small net.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, learners: Sequence[Learner], values: Sequence[torch.Tensor], *scores: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        made, compared = weights(learners, scores, values)
        ctx.kept, ctx.versions = (learners, scores, values, compared), versions(*scores, *values)
        _mark_frozen(ctx, made, ctx.needs_input_grad[2:])
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        learners, scores, values, compared = ctx.kept
        check_unchanged(ctx.versions, *scores, *values)
        wanted = [grad if need else None for grad, need in zip(grads, ctx.needs_input_grad[2:], strict=True)]
        return None, None, *score_gradients(learners, scores, values, wanted, compared)


class StraightThroughMany(torch.autograd.Function):
    """`StraightThrough` of many tensors: their ingredients, their scores, and then once each what else is learned."""

    @staticmethod
    def forward(ctx: Any, parts: Sequence[Ingredients], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: D102
        ctx.set_materialize_grads(False)
        ctx.parts, ctx.tensors, ctx.versions = parts, tensors, versions(*tensors)
        learners, scores = [part.learner for part in parts], tensors[: len(parts)]
        made, ctx.compared = weights(learners, scores, _values(scores, parts))
        more = len(tensors) > len(parts)
        ctx.found = [learner.found() if more else None for learner in learners]
        needed = ctx.needs_input_grad[1:]
        if not all(needed):
            learning = {id(tensor) for tensor, need in zip(tensors, needed, strict=True) if need}
            takes_part = [
                need or not learning.isdisjoint((id(part.scale), id(part.source)))
                for part, need in zip(parts, needed[: len(parts)], strict=True)
            ]
            _mark_frozen(ctx, made, takes_part)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        check_unchanged(ctx.versions, *ctx.tensors)
        parts, count = ctx.parts, len(ctx.parts)
        scores, learned, needed = ctx.tensors[:count], ctx.tensors[count:], ctx.needs_input_grad[1:]
        wanted = [grad if need else None for grad, need in zip(grads, needed[:count], strict=True)]
        learners = [part.learner for part in parts]
        to_scores = score_gradients(learners, scores, _values(scores, parts), wanted, ctx.compared)
        learning = (tensor for tensor, need in zip(learned, needed[count:], strict=True) if need)
        sums: dict[int, torch.Tensor | None] = {id(tensor): None for tensor in learning}
        return None, *to_scores, *_to_learned(ctx, grads, sums, learned)


def _mark_frozen(ctx: Any, made: Sequence[torch.Tensor], needed: Sequence[bool]) -> None:
    """Have weights without a gradient where nothing that they are made of needs one, as each by itself would be."""
    if not all(needed):
        ctx.mark_non_differentiable(*(weight for weight, need in zip(made, needed, strict=True) if not need))


def _to_learned(
    ctx: Any,
    grads: Sequence[torch.Tensor | None],
    sums: dict[int, torch.Tensor | None],
    learned: Sequence[torch.Tensor],
) -> Iterator[torch.Tensor | None]:
    """Yield the gradient of each."""
    places = reversed(range(len(ctx.parts))) if sums else ()  # autograd goes back so to what shares a vector
    for place in places:
        part, score, grad, comparison = ctx.parts[place], ctx.tensors[place], grads[place], ctx.compared[place]
        if grad is None:
            continue
        if comparison is None:
            chosen = partial(part.learner.select, score, again=ctx.found[place])
        else:
            chosen = partial(comparison.select, score)
        pair = part.scale, part.source
        needed = [id(each) in sums for each in pair]
        gradients = learned_gradients(chosen, score, *pair, part.constant, grad, needed)
        for tensor, gradient in zip(pair, gradients, strict=True):
            if gradient is not None:
                before = sums[id(tensor)]
                sums[id(tensor)] = gradient if before is None else before + gradient
    for tensor in learned:
        yield sums.get(id(tensor))


def _values(scores: Sequence[torch.Tensor], parts: Sequence[Ingredients]) -> Iterator[torch.Tensor]:
    """Yield the values that the scores choose among, each made when it is asked for."""
    tiled: dict[int, torch.Tensor] = {}
    for score, (_, scale, source, constant) in zip(scores, parts, strict=True):
        if constant is not None:  # what is tiled over the largest tensor begins as over every other
            if id(source) not in tiled:
                tiled[id(source)] = tile(source, max(each.numel() for each in scores))
            yield scaled_value(score.shape, scale, tiled[id(source)], constant)
        else:
            yield source if scale is None else scaled_value(score.shape, scale, source, None)
